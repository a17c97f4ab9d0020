"""What is trained, how fast, and what decays."""

import difflib
import math
import re
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from effdet_lab.errors import ConfigError
from effdet_lab.spec import OptimSpec
from effdet_lab.weights.parts import backbone_keys

WARMUP_FROM = 0.1  # of the full rate. Source: google/automl hparams_config.py, lr_warmup_init / learning_rate
# TensorFlow's RMSProp as both papers used it. Source: tensorflow/tpu efficientnet/utils.py, build_optimizer.
RMSPROP_ALPHA = 0.9
RMSPROP_EPS = 1e-3
ADAM_SECOND_BETA = 0.999


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Takes every parameter whose name one of the regular expressions finds out of the training.

    Raises: ConfigError for an expression that is malformed or finds nothing, and if nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    problems = []
    for pattern in patterns:
        try:
            found = [name for name in parameters if re.search(pattern, name)]
        except re.error as error:
            problems.append(f"optim.freeze={pattern}: not a regular expression ({error}).")
            continue
        if not found:
            problems.append(f"optim.freeze={pattern}: no parameter has such a name. {_nearest(pattern, parameters)}")
        for name in found:
            parameters[name].requires_grad_(False)
    if not problems and not any(parameter.requires_grad for parameter in parameters.values()):
        problems.append(f"optim.freeze={list(patterns)}: nothing is left to train. Freeze less, or use task=evaluate.")
    if problems:
        raise ConfigError(problems)


def frozen_norms(model: nn.Module) -> tuple[nn.Module, ...]:
    """Batch norms that are not trained; their statistics must rest too, or the frozen layers would drift."""
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return tuple(norm for norm in norms if _is_frozen(norm))


def build_optimiser(model: nn.Module, optim: OptimSpec) -> Optimizer:
    """The optimiser over `parameter_groups`."""
    groups = parameter_groups(model, optim)
    match optim.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=optim.learning_rate, momentum=optim.momentum)
        case "adamw":
            return torch.optim.AdamW(groups, lr=optim.learning_rate, betas=(optim.momentum, ADAM_SECOND_BETA))
        case "rmsproptf":
            from timm.optim import RMSpropTF  # timm takes seconds to import

            return RMSpropTF(
                groups, lr=optim.learning_rate, alpha=RMSPROP_ALPHA, momentum=optim.momentum, eps=RMSPROP_EPS
            )


def parameter_groups(model: nn.Module, optim: OptimSpec) -> list[dict]:
    """The trained parameters, by learning rate and decay; the full learning rate comes first.

    Only kernels decay: tensors of more than one dimension, so neither biases, norms nor fusion weights.
    Source: google/automl det_model_fn.py, reg_l2_loss.
    """
    backbone = backbone_keys(model)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_slowed = name in backbone and optim.backbone_rate != 1
            groups.setdefault((is_slowed, parameter.ndim <= 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": optim.learning_rate * (optim.backbone_rate if is_slowed else 1),
            "weight_decay": 0.0 if is_spared else optim.weight_decay,
        }
        for (is_slowed, is_spared), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def build_schedule(optimiser: Optimizer, optim: OptimSpec, steps_per_epoch: int, total_steps: int) -> LambdaLR:
    """The learning rate of each step."""
    warmup_steps = round(optim.warmup_epochs * steps_per_epoch)
    factor = partial(rate_factor, schedule=optim.schedule, warmup_steps=warmup_steps, total_steps=total_steps)
    return LambdaLR(optimiser, factor)


def rate_factor(step: int, *, schedule: str, warmup_steps: int, total_steps: int) -> float:
    """The share of the full learning rate at a step, from 0.

    A straight line from a tenth, then a cosine that ends at 0 after the last step, or no change.
    Source: google/automl det_model_fn.py, whose cosine counts the warm-up steps twice and so ends one epoch early.
    """
    if step < warmup_steps:
        return WARMUP_FROM + (1 - WARMUP_FROM) * step / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """The parts and parameters whose names come closest."""
    parts = {".".join(name.split(".")[: depth + 1]): None for name in names for depth in range(name.count(".") + 1)}
    close = difflib.get_close_matches(pattern, parts, n=3, cutoff=0.5)
    tops = list(dict.fromkeys(name.split(".")[0] for name in names))
    return f"Did you mean {' or '.join(close)}?" if close else f"The model's parts are {', '.join(tops)}."
