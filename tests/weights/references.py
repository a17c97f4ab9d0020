"""Networks of other codes with random weights and statistics, and how ours compare with them."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "models"))
from published import build_efficientdet, build_efficientnet, randomise, relative_difference

__all__ = ["build_efficientdet", "build_efficientnet", "randomise", "relative_difference"]
OUTPUTS, GRADIENTS = 1e-5, 1e-4  # what rounding may do


def timm_classifier(name: str, num_classes: int = 1000) -> nn.Module:
    timm = pytest.importorskip("timm")
    return randomise(timm.create_model(name, num_classes=num_classes)).eval()


def torchvision_classifier(member: str) -> nn.Module:
    models = pytest.importorskip("torchvision.models")
    build = getattr(models, f"efficientnet_{member}")
    return randomise(build(dropout=0.0, stochastic_depth_prob=0.0)).eval()


def lukemelas_classifier(member: str, side: int) -> nn.Module:
    package = pytest.importorskip("efficientnet_pytorch")
    overrides = {"image_size": side, "dropout_rate": 0.0, "drop_connect_rate": 0.0}
    return randomise(package.EfficientNet.from_name(f"efficientnet-{member}", **overrides)).eval()


def effdet_detector(name: str, image_size: tuple[int, int], **settings: object) -> nn.Module:
    effdet = pytest.importorskip("effdet")
    config = effdet.get_efficientdet_config(name)
    config.image_size, config.backbone_args = image_size, {"drop_path_rate": 0.0}
    for setting, value in settings.items():
        config[setting] = value
    return randomise(effdet.EfficientDet(config, pretrained_backbone=False)).eval()


def saved(model: nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def answers(model: nn.Module, images_BCHW: Tensor) -> list[Tensor]:
    """The logits, or the flat outputs of a detector, ours or effdet's."""
    answer = model(images_BCHW)
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer[0], Tensor):
        return [part.flatten(1) for part in answer]
    return [
        torch.cat([map_BCHW.permute(0, 2, 3, 1).flatten(1) for map_BCHW in maps_BCHW], dim=1) for maps_BCHW in answer
    ]


def farthest_output(ours: nn.Module, theirs: nn.Module, images_BCHW: Tensor) -> float:
    """The largest relative difference of the outputs in evaluation."""
    with torch.no_grad():
        pairs = zip(answers(ours.eval(), images_BCHW), answers(theirs.eval(), images_BCHW), strict=True)
        return max(relative_difference(mine, other) for mine, other in pairs)


def farthest_gradient(
    ours: nn.Module,
    theirs: nn.Module,
    images_BCHW: Tensor,
    our_name: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float64,
) -> float:
    """The largest difference of any parameter's gradient in one training step, relative to that gradient.

    In double precision where the two take their sums in another order: deep networks under batch norms of eight values
    magnify float32's rounding a thousandfold, and a bias before a norm has no gradient but what rounding leaves.
    """
    gradients = []
    for model in (ours, theirs):
        model.to(dtype).train().zero_grad()
        sum(answer.square().mean() for answer in answers(model, images_BCHW.to(dtype))).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    mine, other = gradients
    floor = 1e-6 * max(gradient.abs().max() for gradient in other.values())
    named = {name: (our_name or {}).get(name, name) for name in other}
    return max(
        ((mine[ours] - other[name]).abs().max() / other[name].abs().max().clamp(min=floor)).item()
        for name, ours in named.items()
        if ours in mine
    )
