"""Other libraries' networks behind this package's contracts, through one door."""

from effdet_lab.models.from_timm import TimmBackbone, timm_classifier
from effdet_lab.models.from_torchvision import TorchvisionBackbone, torchvision_classifier

__all__ = ["TimmBackbone", "TorchvisionBackbone", "timm_classifier", "torchvision_classifier"]
