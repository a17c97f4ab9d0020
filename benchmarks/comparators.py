"""Counts every network that the EfficientNet paper compares with, and writes docs/comparators.md.

python benchmarks/comparators.py [--check]
With --check it writes nothing and fails where the document is out of date. No weights are made: it takes a minute.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch

import effdet_lab
from effdet_lab.models.build import build_classifier
from effdet_lab.models.counting import Count, count

DOCUMENT = Path(__file__).parents[1] / "docs" / "comparators.md"
TOLERANCE = 2.0  # per cent; what differs by more has a note
M, B = 1e6, 1e9
SCALED = (
    "The paper does not say which layers it scales, nor how it rounds channels, repeats and pixels. Here every stage "
    "and the stem are scaled, repeats round up, and 1.3 times 224 pixels are 291."
)

INTRODUCTION = """\
# The networks EfficientNet is compared with

Type the words after `model=efficientnet`. With `model=efficientdet` they carry a detector, too, all but those whose
maps are smaller than a pyramid's: Inception-v3, Inception-v4, Inception-ResNet-v2, PolyNet and SqueezeNet.

Parameters are the trainable ones with 1000 classes, multiply-adds those of convolutions and matrix products for one
picture. Papers round, and each counts in its own way: a difference beyond 2 % has a note.

`python benchmarks/comparators.py` counts them all and writes this page.
"""


class Row(NamedTuple):
    """A network, the words that build it, and what its paper prints."""

    name: str
    words: str
    pixels: int
    parameters: float | None
    multiply_adds: float | None
    note: str = ""


def library(name: str, of: str, architecture: str, pixels: int, *figures, note: str = "") -> Row:
    """A row whose network another library has."""
    return Row(name, f"backbone={of} backbone.architecture={architecture}", pixels, *figures, note=note)


TABLES = {
    "Table 2 of Tan & Le, EfficientNet (ICML 2019)": (
        library("ResNet-50", "timm", "resnet50", 224, 26 * M, 4.1 * B),
        library(
            "DenseNet-169",
            "torchvision",
            "densenet169",
            224,
            14 * M,
            3.5 * B,
            note="The DenseNet paper plots its multiply-adds and prints none; the layers of its table 1 have 3.36B.",
        ),
        library(
            "ResNet-152",
            "timm",
            "resnet152",
            224,
            60 * M,
            11 * B,
            note="He et al. (CVPR 2016), table 1, print 11.3B: their bottlenecks stride in the first convolution, "
            "which makes 11.28B. Libraries stride in the second one.",
        ),
        library(
            "DenseNet-264",
            "torchvision",
            "densenet264",
            224,
            34 * M,
            6.0 * B,
            note="torchvision has none; this is its class with the blocks of the paper's table 1: (6, 12, 64, 48) at a "
            "growth of 32. timm's densenet264d is another network: a growth of 48 and 72.7M parameters.",
        ),
        library("Inception-v3", "timm", "inception_v3", 299, 24 * M, 5.7 * B),
        library("Xception", "timm", "legacy_xception", 299, 23 * M, 8.4 * B),
        library(
            "Inception-v4",
            "timm",
            "inception_v4",
            299,
            48 * M,
            13 * B,
            note="The published network has 42.7M without the auxiliary head it is trained with, 46.0M with "
            "TensorFlow-slim's. Szegedy et al. (AAAI 2017) print neither figure; where 48M and 13B come from is not "
            "known.",
        ),
        library("Inception-ResNet-v2", "timm", "inception_resnet_v2", 299, 56 * M, 13 * B),
        library("ResNeXt-101 (64x4d)", "timm", "resnext101_64x4d", 320, 84 * M, 32 * B),
        Row(
            "PolyNet",
            "backbone=polynet",
            331,
            92 * M,
            35 * B,
            note="The network that its authors published has 95,366,600 parameters, in every port.",
        ),
        library(
            "SENet",
            "timm",
            "legacy_senet154",
            320,
            146 * M,
            42 * B,
            note="It is SENet-154, whose multiply-adds agree. The network that its authors published has 115.1M "
            "parameters, in every port.",
        ),
        library("NASNet-A", "timm", "nasnetalarge", 331, 89 * M, 24 * B),
        Row("AmoebaNet-A", "backbone=amoebanet", 331, 87 * M, 23 * B),
        library(
            "PNASNet",
            "timm",
            "pnasnet5large",
            331,
            86 * M,
            23 * B,
            note="Its own paper, Liu et al. (ECCV 2018), prints 25.0B.",
        ),
        Row(
            "AmoebaNet-C",
            "backbone=amoebanet backbone.cell=c backbone.filters=228",
            331,
            155 * M,
            41 * B,
        ),
        Row(
            "GPipe",
            "backbone=amoebanet backbone.cell=b backbone.filters=512",
            480,
            557 * M,
            None,
            note="Its (18, 512) counts the cells of all three stacks, here 6 each.",
        ),
    ),
    "Table 3 of the same, single networks scaled": (
        Row("MobileNetV1", "backbone=mobilenet_v1", 224, None, 0.6 * B, note="0.57B in its own paper."),
        Row("MobileNetV1, width 2", "backbone=mobilenet_v1 backbone.width=2", 224, None, 2.2 * B),
        Row(
            "MobileNetV1, resolution 2", "backbone=mobilenet_v1", 448, None, 2.2 * B, note="Four times 0.57B are 2.27B."
        ),
        Row(
            "MobileNetV1, compound",
            "backbone=mobilenet_v1 backbone.width=1.2 backbone.depth=1.4",
            291,
            None,
            2.3 * B,
            note=SCALED,
        ),
        Row("MobileNetV2", "backbone=mobilenet_v2", 224, None, 0.3 * B),
        Row("MobileNetV2, depth 4", "backbone=mobilenet_v2 backbone.depth=4", 224, None, 1.2 * B),
        Row("MobileNetV2, width 2", "backbone=mobilenet_v2 backbone.width=2", 224, None, 1.1 * B, note=SCALED),
        Row("MobileNetV2, resolution 2", "backbone=mobilenet_v2", 448, None, 1.2 * B),
        Row(
            "MobileNetV2, compound",
            "backbone=mobilenet_v2 backbone.width=1.2 backbone.depth=1.4",
            291,
            None,
            1.3 * B,
            note=SCALED,
        ),
        Row("ResNet-50", "backbone=resnet50", 224, None, 4.1 * B),
        Row("ResNet-50, depth 4", "backbone=resnet50 backbone.depth=4", 224, None, 16.2 * B, note=SCALED),
        Row("ResNet-50, width 2", "backbone=resnet50 backbone.width=2", 224, None, 14.7 * B, note=SCALED),
        Row("ResNet-50, resolution 2", "backbone=resnet50", 448, None, 16.4 * B),
        Row(
            "ResNet-50, compound",
            "backbone=resnet50 backbone.width=1.2 backbone.depth=1.4",
            291,
            None,
            16.7 * B,
            note=SCALED,
        ),
    ),
    "Small networks, by their own papers": (
        Row("MobileNetV1 (Howard et al. 2017)", "backbone=mobilenet_v1", 224, 4.2 * M, 569 * M),
        Row(
            "MobileNetV2 (Sandler et al. 2018)",
            "backbone=mobilenet_v2",
            224,
            3.4 * M,
            300 * M,
            note="timm's and torchvision's have 3.5M as well.",
        ),
        library("MobileNetV3 large (Howard et al. 2019)", "timm", "mobilenetv3_large_100", 224, 5.4 * M, 219 * M),
        library("MobileNetV3 small", "timm", "mobilenetv3_small_100", 224, 2.5 * M, 56 * M),
        Row("MnasNet-A1 (Tan et al. 2019)", "backbone=mnasnet_a1", 224, 3.9 * M, 312 * M),
        Row(
            "ShuffleNet V1, 3 groups (megvii-model/ShuffleNet-Series)",
            "backbone=shufflenet_v1",
            224,
            1.9 * M,
            138 * M,
        ),
        library("ShuffleNet V2 1x (Ma et al. 2018)", "torchvision", "shufflenet_v2_x1_0", 224, 2.3 * M, 146 * M),
        library("SqueezeNet 1.0 (Iandola et al. 2016)", "torchvision", "squeezenet1_0", 224, 1.25 * M, None),
        library("Wide ResNet-50-2 (Zagoruyko & Komodakis 2016)", "timm", "wide_resnet50_2", 224, 68.9 * M, None),
        library(
            "EfficientNetV2-S (Tan & Le 2021)",
            "timm",
            "efficientnetv2_s",
            384,
            22 * M,
            8.8 * B,
            note="torchvision's has 21.5M and 8.37B as well.",
        ),
        Row(
            "EfficientNet-Lite0 (tensorflow/tpu, lite/README.md)",
            "backbone=efficientnet_lite",
            224,
            4.7 * M,
            407 * M,
            note="Other ports count 385M as well; what the authors counted along is not known.",
        ),
    ),
}


def main() -> None:
    """Count, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = document()
    if not options.check:
        DOCUMENT.write_text(text, encoding="utf-8")
    elif DOCUMENT.read_text(encoding="utf-8") != text:
        sys.exit(f"{DOCUMENT.name} is out of date. Run python benchmarks/comparators.py.")


def document() -> str:
    """The whole page."""
    parts, notes = [INTRODUCTION], []
    for title, rows in TABLES.items():
        lines = [
            f"## {title}\n",
            "| network | words | pixels | parameters | paper | % | multiply-adds | paper | % | note |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for row in rows:
            counted = counted_row(row)
            number = ""
            if row.note:
                notes += [] if row.note in notes else [row.note]
                number = str(notes.index(row.note) + 1)
            cells = [row.name, f"`{row.words}`", str(row.pixels)]
            for ours, theirs in zip(counted, (row.parameters, row.multiply_adds), strict=True):
                cells += [short(ours), printed(theirs), signed(difference(ours, theirs))]
            lines.append(f"| {' | '.join([*cells, number])} |")
        parts.append("\n".join(lines) + "\n")
    parts.append("## Notes\n\n" + "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1)) + "\n")
    return "\n".join(parts)


def counted_row(row: Row) -> Count:
    """The network's own count; it is made of shapes alone."""
    with torch.device("meta"):
        # The folder of the data is not looked into.
        spec = effdet_lab.compose("model=efficientnet", "data=imagenet", "data.root=.", *row.words.split())
        network = build_classifier(spec.model, 1000)
    return count(network, row.pixels)["total"]


def difference(ours: float, theirs: float | None) -> float | None:
    """Per cent of theirs."""
    return None if theirs is None else 100 * (ours / theirs - 1)


def short(figure: float) -> str:
    """In millions or billions, to a hundredth."""
    return f"{figure / B:.2f}B" if figure >= B else f"{figure / M:.{1 if figure >= 100 * M else 2}f}M"


def printed(figure: float | None) -> str:
    """As few digits as a paper gives."""
    if figure is None:
        return ""
    return f"{figure / B:g}B" if figure >= B else f"{figure / M:g}M"


def signed(per_cent: float | None) -> str:
    """With its sign, and without a negative nought."""
    return "" if per_cent is None else f"{round(per_cent, 1) + 0.0:+.1f}"


if __name__ == "__main__":
    main()
