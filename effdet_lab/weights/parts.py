"""Which of a model's tensors are its backbone, and which its head."""

from torch import nn

BACKBONE = "backbone."


def backbone_keys(model: nn.Module) -> frozenset[str]:
    """Names in the state dict: what lies below `backbone`, or all but the last linear layer of a classifier."""
    keys = model.state_dict().keys()
    if hasattr(model, "backbone"):
        return frozenset(key for key in keys if key.startswith(BACKBONE))
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head = f"{linear[-1]}." if linear else None
    return frozenset(key for key in keys if head is None or not key.startswith(head))
