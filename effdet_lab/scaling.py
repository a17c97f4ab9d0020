"""The compound coefficient phi becomes numbers, here and nowhere else.

At whole numbers `published` is the printed table, which the papers' own formulas do not reproduce (D2, D4..D7 and
B4..B8 differ). Between two rows numbers are interpolated; below the first row the formulas carry on, so that small
machines have small networks. Networks without a table follow the formulas everywhere.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from effdet_lab.stages import Family, round_channels

Scaling = Literal["published", "formula", "depth", "width", "resolution"]
Fusion = Literal["fast", "softmax", "sum"]
Axis = Literal["depth", "width", "resolution", "backbone", "bifpn_width", "bifpn_depth", "heads"]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Coefficients:
    """How much one step of phi multiplies depth, width and resolution; alpha * beta^2 * gamma^2 is near 2.

    Source: EfficientNet, section 3.3 (grid search on B0).
    """

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    @property
    def cost(self) -> float:
        """The factor on multiply-adds of one step of phi."""
        return self.alpha * self.beta**2 * self.gamma**2

    def multipliers(self, phi: float, scaling: Scaling) -> tuple[float, float, float]:
        """Depth, width and resolution; one dimension alone spends the same multiply-adds as all three together."""
        match scaling:
            case "depth":
                return self.cost**phi, 1.0, 1.0
            case "width":
                return 1.0, self.cost ** (phi / 2), 1.0
            case "resolution":
                return 1.0, 1.0, self.cost ** (phi / 2)
            case _:
                return self.alpha**phi, self.beta**phi, self.gamma**phi


@dataclass(frozen=True)
class Base:
    """What the network at phi=0 is against the published one: small studies start from small networks."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0


PAPERS_COEFFICIENTS = Coefficients()
PUBLISHED_BASE = Base()


@dataclass(frozen=True)
class BackboneScale:
    """One member of a classifier family."""

    width: float
    depth: float
    image_size: int  # pixels, of a classifier
    dropout: float  # before the classifier's last layer


@dataclass(frozen=True)
class DetectorScale:
    """One member of the detector family."""

    backbone_phi: float
    image_size: int  # pixels
    bifpn_channels: int
    bifpn_repeats: int
    head_repeats: int
    fusion: Fusion
    anchor_scale: float  # side of the smallest anchor, in strides


# EfficientNet B0..B8. Source: tensorflow/tpu efficientnet_builder.py, efficientnet_params.
EFFICIENTNET = (
    BackboneScale(1.0, 1.0, 224, 0.2),
    BackboneScale(1.0, 1.1, 240, 0.2),
    BackboneScale(1.1, 1.2, 260, 0.3),
    BackboneScale(1.2, 1.4, 300, 0.3),
    BackboneScale(1.4, 1.8, 380, 0.4),
    BackboneScale(1.6, 2.2, 456, 0.4),
    BackboneScale(1.8, 2.6, 528, 0.5),
    BackboneScale(2.0, 3.1, 600, 0.5),
    BackboneScale(2.2, 3.6, 672, 0.5),
)
# EfficientNet-Lite 0..4. Source: tensorflow/tpu efficientnet/lite/efficientnet_lite_builder.py.
EFFICIENTNET_LITE = (
    BackboneScale(1.0, 1.0, 224, 0.2),
    BackboneScale(1.0, 1.1, 240, 0.2),
    BackboneScale(1.1, 1.2, 260, 0.3),
    BackboneScale(1.2, 1.4, 280, 0.3),
    BackboneScale(1.4, 1.8, 300, 0.3),
)
# EfficientDet D0..D7. Source: Tan et al. 2020, table 1; google/automl efficientdet/hparams_config.py.
# Not the equations 1-3: they give other numbers for phi 2, 4, 5, 6 and 7.
EFFICIENTDET = (
    DetectorScale(0, 512, 64, 3, 3, "fast", 4.0),
    DetectorScale(1, 640, 88, 4, 3, "fast", 4.0),
    DetectorScale(2, 768, 112, 5, 3, "fast", 4.0),
    DetectorScale(3, 896, 160, 6, 4, "fast", 4.0),
    DetectorScale(4, 1024, 224, 7, 4, "fast", 4.0),
    DetectorScale(5, 1280, 288, 7, 4, "fast", 4.0),
    DetectorScale(6, 1280, 384, 8, 5, "sum", 4.0),
    DetectorScale(6, 1536, 384, 8, 5, "sum", 5.0),
)
# EfficientDet-Lite 0..4. Source: google/automl efficientdet/hparams_config.py.
EFFICIENTDET_LITE = (
    DetectorScale(0, 320, 64, 3, 3, "sum", 3.0),
    DetectorScale(1, 384, 88, 4, 3, "sum", 3.0),
    DetectorScale(2, 448, 112, 5, 3, "sum", 3.0),
    DetectorScale(3, 512, 160, 6, 4, "sum", 4.0),
    DetectorScale(4, 640, 224, 7, 4, "sum", 4.0),
)
# Networks whose papers scale nothing: what they see and drop. Sources: as in stages.py; ResNets drop nothing.
BASES: dict[Family, BackboneScale] = {
    "mobilenet_v1": BackboneScale(1.0, 1.0, 224, 0.0),
    "mobilenet_v2": BackboneScale(1.0, 1.0, 224, 0.2),
    "staged": BackboneScale(1.0, 1.0, 224, 0.2),
    "resnet": BackboneScale(1.0, 1.0, 224, 0.0),
}
BIFPN_WIDTH_BASE = 1.35  # EfficientDet, equation 1
# Pixels per phi: equation 3, and the first rows of the Lite table.
DETECTOR_SIZE_STEP, LITE_DETECTOR_SIZE_STEP = 128, 64
# What each exponent of its own moves, by the names of the records above.
AXES: dict[Axis, str] = {
    "depth": "depth",
    "width": "width",
    "resolution": "image_size",
    "backbone": "backbone_phi",
    "bifpn_width": "bifpn_channels",
    "bifpn_depth": "bifpn_repeats",
    "heads": "head_repeats",
}
SMALLEST_DETECTOR = 64  # pixels
DETECTOR_SIZE_MULTIPLE = 8  # pixels, between the rows: the stride of the finest map
SMALLEST_CLASSIFIER = 32  # pixels
CLASSIFIER_SIZE_MULTIPLE = 4  # pixels
LOWEST_PHI = {"classifier": -6.0, "detector": -4.0}
HIGHEST_FORMULA_PHI = 10.0


def backbone_table(family: Family) -> tuple[BackboneScale, ...]:
    """The printed rows, phi 0 first; one row where nothing is printed."""
    match family:
        case "efficientnet":
            return EFFICIENTNET
        case "efficientnet_lite":
            return EFFICIENTNET_LITE
        case _:
            return (BASES[family],)


def detector_table(family: Family) -> tuple[DetectorScale, ...]:
    """The printed rows for a backbone of this family, phi 0 first."""
    return EFFICIENTDET_LITE if family == "efficientnet_lite" else EFFICIENTDET


def phi_range(family: Family, kind: Literal["classifier", "detector"], scaling: Scaling) -> tuple[float, float]:
    """The legal phi, ends included."""
    table = backbone_table(family) if kind == "classifier" else detector_table(family)
    return LOWEST_PHI[kind], float(len(table) - 1) if _is_read(table, phi=0, scaling=scaling) else HIGHEST_FORMULA_PHI


def from_base(member: Row, base: Base) -> Row:
    """The member, had its family begun with a smaller or larger network; a detector's base is its backbone's.

    >>> from_base(backbone_scale(2, scaling="formula"), Base(depth=0.5, resolution=0.25)).image_size
    76
    """
    scaled: Any = member
    if isinstance(scaled, BackboneScale):
        scaled = replace(scaled, depth=scaled.depth * base.depth, width=scaled.width * base.width)
        smallest, multiple = SMALLEST_CLASSIFIER, CLASSIFIER_SIZE_MULTIPLE
    else:
        smallest, multiple = SMALLEST_DETECTOR, DETECTOR_SIZE_MULTIPLE
    if base.resolution == 1:
        return scaled
    return replace(scaled, image_size=max(smallest, _multiple(scaled.image_size * base.resolution, multiple)))


def along(member_at: Callable[[float], Row], phi: float, exponents: Mapping[Axis, float]) -> Row:
    """The member at phi, but each axis that has an exponent of its own is read there.

    >>> along(backbone_scale, 0, {"resolution": 4})
    BackboneScale(width=1.0, depth=1.0, image_size=380, dropout=0.2)
    """
    member: Any = member_at(phi)
    moved = {AXES[axis]: exponent for axis, exponent in exponents.items() if hasattr(member, AXES[axis])}
    return replace(member, **{name: getattr(member_at(exponent), name) for name, exponent in moved.items()})


def backbone_scale(
    phi: float,
    family: Family = "efficientnet",
    scaling: Scaling = "published",
    coefficients: Coefficients = PAPERS_COEFFICIENTS,
) -> BackboneScale:
    """Width, depth, image size and dropout of EfficientNet at this phi.

    >>> backbone_scale(4)
    BackboneScale(width=1.4, depth=1.8, image_size=380, dropout=0.4)
    >>> backbone_scale(1, scaling="depth").width
    1.0
    """
    table = backbone_table(family)
    if _is_read(table, phi, scaling):
        low, high, share = _rows(table, phi)
        return BackboneScale(
            width=_between(low.width, high.width, share),
            depth=_between(low.depth, high.depth, share),
            image_size=_multiple(_between(low.image_size, high.image_size, share), CLASSIFIER_SIZE_MULTIPLE),
            dropout=_between(low.dropout, high.dropout, share),
        )
    depth, width, resolution = coefficients.multipliers(phi, scaling)
    low, high, share = _rows(table, min(max(phi, 0), len(table) - 1))
    return BackboneScale(
        width=width,
        depth=depth,
        image_size=max(SMALLEST_CLASSIFIER, _multiple(table[0].image_size * resolution, CLASSIFIER_SIZE_MULTIPLE)),
        dropout=_between(low.dropout, high.dropout, share),
    )


def detector_scale(
    phi: float,
    family: Family = "efficientnet",
    scaling: Scaling = "published",
    coefficients: Coefficients = PAPERS_COEFFICIENTS,
) -> DetectorScale:
    """Backbone, BiFPN, heads and input of EfficientDet at this phi.

    >>> detector_scale(4) == DetectorScale(4, 1024, 224, 7, 4, "fast", 4.0)
    True
    """
    table = detector_table(family)
    base = table[0]
    low, high, share = _rows(table, min(max(phi, 0), len(table) - 1))
    if _is_read(table, phi, scaling):
        if share == 0:
            return low
        return DetectorScale(
            backbone_phi=_between(low.backbone_phi, high.backbone_phi, share),
            image_size=_multiple(_between(low.image_size, high.image_size, share), DETECTOR_SIZE_MULTIPLE),
            bifpn_channels=_multiple(_between(low.bifpn_channels, high.bifpn_channels, share), 8),
            bifpn_repeats=_half_up(_between(low.bifpn_repeats, high.bifpn_repeats, share)),
            head_repeats=math.floor(_between(low.head_repeats, high.head_repeats, share)),
            fusion=low.fusion,
            anchor_scale=_between(low.anchor_scale, high.anchor_scale, share),
        )
    deeper = scaling in ("published", "formula", "depth")
    wider = scaling in ("published", "formula", "width")
    step = LITE_DETECTOR_SIZE_STEP if family == "efficientnet_lite" else DETECTOR_SIZE_STEP
    if scaling == "resolution":
        image_size = base.image_size * coefficients.multipliers(phi, scaling)[2]
    else:
        image_size = base.image_size + (step * phi if scaling in ("published", "formula") else 0)
    return DetectorScale(
        backbone_phi=phi,
        image_size=max(SMALLEST_DETECTOR, _multiple(image_size, DETECTOR_SIZE_MULTIPLE)),
        bifpn_channels=round_channels(base.bifpn_channels * BIFPN_WIDTH_BASE ** (phi if wider else 0)),
        bifpn_repeats=max(1, _half_up(base.bifpn_repeats + (phi if deeper else 0))),
        head_repeats=max(1, base.head_repeats + (math.floor(phi / 3) if deeper else 0)),
        fusion=low.fusion,
        anchor_scale=low.anchor_scale,
    )


def _is_read(table: tuple[Row, ...], phi: float, scaling: Scaling) -> bool:
    """Whether the numbers are the table's, not the formulas'."""
    return scaling == "published" and phi >= 0 and len(table) > 1


def _rows(table: tuple[Row, ...], phi: float) -> tuple[Row, Row, float]:
    """The rows around phi and how far between them it lies."""
    index = min(math.floor(phi), len(table) - 1)
    return table[index], table[min(index + 1, len(table) - 1)], phi - index


def _between(low: float, high: float, share: float) -> float:
    return low if share == 0 else low + (high - low) * share


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _multiple(value: float, step: int) -> int:
    return _half_up(value / step) * step
