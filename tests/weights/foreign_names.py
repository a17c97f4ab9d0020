"""Our tensors under the names that zylo117 and google/automl give them, written down network part by part.

The other direction of what the package reads, from the structure and not from its rules.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
TF_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def blocks_of(network: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """Blocks counted through."""
    yield from enumerate(block for stage in network.blocks for block in stage)


def layers_of(block: nn.Module) -> dict[str, nn.Module]:
    """A block's layers by what they do."""
    children = dict(block.named_children())
    expanded = "conv_pwl" in children
    names = (
        ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
        if expanded
        else ("", "", "conv_dw", "bn1", "conv_pw", "bn2")
    )
    roles = ("expand", "expand_norm", "depthwise", "depthwise_norm", "project", "project_norm")
    layers = {role: children[name] for role, name in zip(roles, names, strict=True) if name}
    if hasattr(block.se, "conv_reduce"):
        layers |= {"squeeze": block.se.conv_reduce, "excite": block.se.conv_expand}
    return layers


def zylo_names(detector: nn.Module, max_level: int = 7) -> dict[str, Tensor]:
    """Source: zylo117/Yet-Another-EfficientDet-Pytorch, efficientdet/model.py and efficientnet/model.py."""
    found: dict[str, Tensor] = {}

    def conv(name: str, layer: nn.Module) -> None:
        found[f"{name}.conv.weight"] = layer.weight
        if layer.bias is not None:
            found[f"{name}.conv.bias"] = layer.bias

    def norm(name: str, layer: nn.Module) -> None:
        for tail in NORM:
            found[f"{name}.{tail}"] = getattr(layer, tail)

    def separable(name: str, layer: nn.Module) -> None:
        conv(f"{name}.depthwise_conv", layer.conv_dw)
        conv(f"{name}.pointwise_conv", layer.conv_pw)

    trunk = "backbone_net.model"
    conv(f"{trunk}._conv_stem", detector.backbone.conv_stem)
    norm(f"{trunk}._bn0", detector.backbone.bn1)
    theirs = {
        "expand": "_expand_conv",
        "expand_norm": "_bn0",
        "depthwise": "_depthwise_conv",
        "depthwise_norm": "_bn1",
        "squeeze": "_se_reduce",
        "excite": "_se_expand",
        "project": "_project_conv",
        "project_norm": "_bn2",
    }
    for number, block in blocks_of(detector.backbone):
        for role, layer in layers_of(block).items():
            write = norm if role.endswith("norm") else conv
            write(f"{trunk}._blocks.{number}.{theirs[role]}", layer)

    up = [f"conv{level}_up" for level in range(max_level - 1, 2, -1)]
    down = [f"conv{level}_down" for level in range(4, max_level + 1)]
    weights = [f"p{level}_w1" for level in range(max_level - 1, 2, -1)]
    weights += [f"p{level}_w2" for level in range(4, max_level + 1)]
    for number, cell in enumerate(detector.fpn.cell):
        for node, conv_name, weight_name in zip(cell.fnode, up + down, weights, strict=True):
            separable(f"bifpn.{number}.{conv_name}", node.after_combine.conv)
            norm(f"bifpn.{number}.{conv_name}.bn", node.after_combine.conv.bn)
            unused = torch.ones(len(node.combine.resample))
            edges = node.combine.edge_weights
            found[f"bifpn.{number}.{weight_name}"] = unused if edges is None else edges
    first = detector.fpn.cell[0].fnode
    top = max_level - 1  # the level of node 0
    laterals = {
        "p5_down_channel": (top - 5, "2"),
        "p4_down_channel": (top - 4, "1"),
        "p3_down_channel": (top - 3, "0"),
        "p4_down_channel_2": (top - 2, "1"),
        "p5_down_channel_2": (top - 1, "2"),
    }
    for name, (node, edge) in laterals.items():
        conv(f"bifpn.0.{name}.0", first[node].combine.resample[edge].conv.conv)
        norm(f"bifpn.0.{name}.1", first[node].combine.resample[edge].conv.bn)
    conv("bifpn.0.p5_to_p6.0", detector.fpn.resample["3"].conv.conv)
    norm("bifpn.0.p5_to_p6.1", detector.fpn.resample["3"].conv.bn)

    for name, head in (("classifier", detector.class_net), ("regressor", detector.box_net)):
        for repeat, layer in enumerate(head.conv_rep):
            separable(f"{name}.conv_list.{repeat}", layer)
        for repeat, levels in enumerate(head.bn_rep):
            for level, layer in enumerate(levels):
                norm(f"{name}.bn_list.{level}.{repeat}", layer.bn)
        separable(f"{name}.header", head.predict)
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def tensorflow_names(network: nn.Module, member: str, max_level: int = 7) -> dict[str, Tensor]:
    """Variables of a classifier or a detector in TensorFlow's layout. Source: tensorflow/tpu; google/automl."""
    found: dict[str, Tensor] = {}

    def conv(name: str, layer: nn.Module, kernel: str = "kernel") -> None:
        found[f"{name}/{kernel}"] = layer.weight.permute(2, 3, 1, 0)
        if layer.bias is not None:
            found[f"{name}/bias"] = layer.bias

    def depthwise(name: str, layer: nn.Module) -> None:
        found[f"{name}/depthwise_kernel"] = layer.weight.permute(2, 3, 0, 1)

    def norm(name: str, layer: nn.Module) -> None:
        for tail, variable in TF_NORM.items():
            found[f"{name}/{variable}"] = getattr(layer, tail)

    def separable(name: str, layer: nn.Module) -> None:
        depthwise(name, layer.conv_dw)
        conv(name, layer.conv_pw, "pointwise_kernel")

    is_detector = hasattr(network, "fpn")
    trunk, root = (network.backbone if is_detector else network), f"efficientnet-{member}"
    conv(f"{root}/stem/conv2d", trunk.conv_stem)
    norm(f"{root}/stem/tpu_batch_normalization", trunk.bn1)
    for number, block in blocks_of(trunk):
        convs = norms = 0
        place = f"{root}/blocks_{number}"
        for role, layer in layers_of(block).items():  # squeeze and excite come last and have counters of their own
            if role.endswith("norm"):
                norm(f"{place}/tpu_batch_normalization{f'_{norms}' if norms else ''}", layer)
                norms += 1
            elif role == "depthwise":
                depthwise(f"{place}/depthwise_conv2d", layer)
            elif role in ("squeeze", "excite"):
                conv(f"{place}/se/conv2d{'_1' if role == 'excite' else ''}", layer)
            else:
                conv(f"{place}/conv2d{f'_{convs}' if convs else ''}", layer)
                convs += 1
    if not is_detector:
        conv(f"{root}/head/conv2d", trunk.conv_head)
        norm(f"{root}/head/tpu_batch_normalization", trunk.bn2)
        found[f"{root}/head/dense/kernel"] = trunk.classifier.weight.T
        found[f"{root}/head/dense/bias"] = trunk.classifier.bias
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    num_levels = max_level - 2
    conv("resample_p6/conv2d", network.fpn.resample["3"].conv.conv)
    norm("resample_p6/bn", network.fpn.resample["3"].conv.bn)
    for cell_number, cell in enumerate(network.fpn.cell):
        for number, node in enumerate(cell.fnode):
            place = f"fpn_cells/cell_{cell_number}/fnode{number}"
            after = f"{place}/op_after_combine{num_levels + number}"
            separable(f"{after}/conv", node.after_combine.conv)
            norm(f"{after}/bn", node.after_combine.conv.bn)
            for order, weight in enumerate([] if node.combine.edge_weights is None else node.combine.edge_weights):
                found[f"{place}/WSM{f'_{order}' if order else ''}"] = weight
            for order, (edge, resample) in enumerate(node.combine.resample.items()):
                if len(resample.conv):
                    lateral = f"{place}/resample_{order}_{edge}_{num_levels + number}"
                    conv(f"{lateral}/conv2d", resample.conv.conv)
                    norm(f"{lateral}/bn", resample.conv.bn)
    for kind, head in (("class", network.class_net), ("box", network.box_net)):
        for repeat, layer in enumerate(head.conv_rep):
            separable(f"{kind}_net/{kind}-{repeat}", layer)
        for repeat, levels in enumerate(head.bn_rep):
            for level, layer in enumerate(levels):
                norm(f"{kind}_net/{kind}-{repeat}-bn-{level + 3}", layer.bn)
        separable(f"{kind}_net/{kind}-predict", head.predict)
    return {name: tensor.detach().clone() for name, tensor in found.items()}
