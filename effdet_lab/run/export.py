"""task=export: trained weights as files that others can load."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from effdet_lab.run.folder import write_text
from effdet_lab.run.say import log
from effdet_lab.spec import ClassifierSpec, EfficientNetSpec, ExperimentSpec, ResNetSpec, TimmSpec, is_detector
from effdet_lab.weights.header import header_of
from effdet_lab.weights.hub import push
from effdet_lab.weights.identity import identity_of
from effdet_lab.weights.published import CONFIG, HUB, WEIGHTS
from effdet_lab.weights.save import named_for, save_weights

CARD = "README.md"
TENSORFLOW_STYLE, TORCH_STYLE = ("same", 1e-3), ("symmetric", 1e-5)


def export(spec: ExperimentSpec, folder: Path, model: nn.Module) -> None:
    """model.safetensors, a model card, and timm's config.json where timm can build the network; pushed where asked."""
    grammar = spec.export.grammar
    save_weights(folder / WEIGHTS, named_for(model, grammar), header_of(spec))
    files = [WEIGHTS, CARD]
    if grammar == "timm":
        config = _timm_config(spec)
        if config["architecture"]:
            write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
            files.append(CONFIG)
    usage = _usage(spec, folder)
    write_text(folder / CARD, _card(spec, _usage(spec, None)))
    log.info(f"{', '.join(files)} are in {folder}. Load it: {usage}")
    if spec.export.hub:
        log.info(f"Pushed to {push(folder, spec.export.hub, files)}.")


def reference_name(spec: ExperimentSpec) -> str:
    """What timm or effdet call this network; empty where they cannot build it."""
    backbone = spec.model.backbone
    identity = identity_of(spec.model)
    if isinstance(backbone, TimmSpec | ResNetSpec):
        is_scaled = isinstance(backbone, ResNetSpec) and (backbone.width, backbone.depth) != (1, 1)
        return "" if is_detector(spec) or is_scaled else backbone.architecture
    members = identity.members() if identity else []
    if not members:
        return ""
    style = (backbone.style.padding, backbone.style.norm_eps)
    if style not in (TENSORFLOW_STYLE, TORCH_STYLE):
        return ""
    prefix = "tf_" if style == TENSORFLOW_STYLE else ""
    return f"{prefix}{members[0].name.lower().replace('-', '_')}"


def _timm_config(spec: ExperimentSpec) -> dict[str, Any]:
    """As timm writes it. Source: timm models/_hub.py, save_config_for_hf."""
    model, data = spec.model, spec.data
    height, width = model.input.image_size
    config: dict[str, Any] = {
        "architecture": reference_name(spec),
        "num_classes": data.num_classes,
        "pretrained_cfg": {
            "num_classes": data.num_classes,
            "input_size": [3, height, width],
            "mean": list(model.input.mean),
            "std": list(model.input.std),
            "crop_pct": data.crop_fraction,
            "interpolation": data.interpolation,
        },
        "label_names": list(data.classes),
    }
    if isinstance(model.backbone, EfficientNetSpec):
        config["num_features"] = model.backbone.head_channels
        config["pretrained_cfg"] |= {"first_conv": "conv_stem", "classifier": "classifier"}
    return config


def _usage(spec: ExperimentSpec, folder: Path | None) -> str:
    """A line of Python; of a folder, or of the repository it will be in."""
    name, hub = reference_name(spec), spec.export.hub or "OWNER/NAME"
    match spec.export.grammar:
        case "timm" if name:
            place = f"local-dir:{folder}" if folder else f"hf_hub:{hub}"
            return f'timm.create_model("{place}", pretrained=True)'
        case "effdet" if name:
            file = folder / WEIGHTS if folder else WEIGHTS
            classes = spec.data.num_classes
            return f'effdet.create_model("{name}", num_classes={classes}, checkpoint_path="{file}")'
        case "own":
            return f'effdet_lab.load("{folder / WEIGHTS if folder else f"{HUB}{hub}"}")'
        case grammar:
            return f"its tensors have {grammar}'s names, though {grammar} has no network of this size or style"


def _card(spec: ExperimentSpec, usage: str) -> str:
    """What a visitor of the repository reads first."""
    task = "object-detection" if is_detector(spec) else "image-classification"
    library = "timm" if spec.export.grammar == "timm" and reference_name(spec) else "effdet_lab"
    height, width = spec.model.input.image_size
    mean, std = (
        " ".join(f"{value:.4g}" for value in colour) for colour in (spec.model.input.mean, spec.model.input.std)
    )
    classes = ", ".join(spec.data.classes[:20]) + (", ..." if len(spec.data.classes) > 20 else "")
    kind = "classifies" if isinstance(spec.model, ClassifierSpec) else "draws boxes of"
    return f"""---
library_name: {library}
pipeline_tag: {task}
tags: [efficientnet, {task}]
---
# {spec.name}

Trained with effdet_lab on `{spec.data.name}`; it {kind} {spec.data.num_classes} classes: {classes}.

It reads RGB pixels of {height} x {width}, as fractions, less {mean}, divided by {std}.

    {usage}
"""
