"""Which of a model's tensors are its backbone, and which its head."""

from torch import nn

BACKBONE = "backbone."


def backbone_keys(model: nn.Module) -> frozenset[str]:
    """Names in the state dict: what lies below `backbone`, or all but the last linear layer of a classifier."""
    keys = model.state_dict().keys()
    if hasattr(model, "backbone"):
        return frozenset(key for key in keys if key.startswith(BACKBONE))
    head = head_name(model)
    return frozenset(key for key in keys if head is None or not key.startswith(f"{head}."))


def head_name(model: nn.Module) -> str | None:
    """The last linear layer of a classifier; a detector has none."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear and not hasattr(model, "backbone") else None
