"""Pictures with boxes, labels and probabilities drawn on them.

N boxes of one picture, x1 y1 x2 y2 in its pixels; H W size
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

# Source: Okabe and Ito, Color Universal Design (2008); neighbours in this order are told apart by all kinds of eyes.
HUES: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
TINTS = (0.0, 0.5, -0.4)  # towards white, towards black: 21 colours before the first returns
INK: Colour = (24, 24, 27)
PAPER: Colour = (255, 255, 255)
TRACK: Colour = (228, 228, 231)
RIGHT, OTHER = HUES[2], HUES[0]

SMALLEST_SIDE = 512  # pixels of the longer side below which a picture is enlarged
FONT_PER_SIDE = 1 / 50
LINE_PER_SIDE = 1 / 250
MOST_UPRIGHT = 1.5  # a caption is never narrower than its picture's height over this


def class_colour(label: int) -> Colour:
    """The colour of a class, the same in every picture."""
    hue, tint = HUES[label % len(HUES)], TINTS[label // len(HUES) % len(TINTS)]
    end = 255 if tint > 0 else 0
    red, green, blue = (round(channel + (end - channel) * abs(tint)) for channel in hue)
    return red, green, blue


def draw_boxes(
    image: Image.Image | NDArray[np.uint8],
    boxes: ArrayLike,
    scores: ArrayLike | None,
    labels: ArrayLike,
    names: Sequence[str],
    ground_truth: ArrayLike | None = None,
    min_score: float = 0.3,
) -> Image.Image:
    """The picture with its detections, best on top, and the ground truth's boxes as thin dashes.

    Without scores the boxes are facts: all are drawn, and none has a number.

    Shapes: image (H, W, 3) or a PIL picture; boxes and ground_truth (N, 4); scores and labels (N,).
    """
    picture, scale = _enlarged(image)
    boxes_N4 = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale
    labels_N = np.asarray(labels, dtype=np.int64).ravel()
    scores_N = np.ones(len(labels_N)) if scores is None else np.asarray(scores, dtype=np.float64).ravel()
    best_first = [index for index in np.argsort(-scores_N, kind="stable") if scores_N[index] >= min_score]
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) * LINE_PER_SIDE))
    for index in reversed(best_first):
        _outline(draw, _inside(boxes_N4[index], picture.size), class_colour(int(labels_N[index])), line)
    if ground_truth is not None:
        for box in np.asarray(ground_truth, dtype=np.float64).reshape(-1, 4) * scale:
            _dashes(draw, _inside(box, picture.size), max(1, line // 3))

    font = _font(picture.size)
    taken: list[Rectangle] = []
    chips: list[tuple[Rectangle, str, Colour]] = []
    for index in best_first:
        label = int(labels_N[index])
        score = "" if scores is None else f" {scores_N[index]:.2f}"
        text = _shortened(names[label], font, picture.width - font.size - font.getlength(score)) + score
        box = _inside(boxes_N4[index], picture.size)
        chip = _chip_place(box, text, font, picture.size, line, taken)
        taken.append(chip)
        chips.append((chip, text, class_colour(label)))
    for chip, text, colour in reversed(chips):
        draw.rectangle(chip, fill=colour)
        centre = (chip[0] + chip[2]) / 2, (chip[1] + chip[3]) / 2
        draw.text(centre, text, fill=_readable_on(colour), font=font, anchor="mm")
    return picture


def draw_labels(
    image: Image.Image | NDArray[np.uint8], best: Sequence[tuple[str, float]], truth: str | None = None
) -> Image.Image:
    """The picture over a strip with its best classes, their probabilities and, where known, the truth.

    The truth's bar has another colour and a tick; a truth not among the best gets a line of its own.
    """
    picture, _ = _enlarged(image)
    width = max(picture.width, round(picture.height / MOST_UPRIGHT))
    font = _font(picture.size)
    row = round(font.size * 1.7)
    margin = round(font.size * 0.8)
    rows: list[tuple[str, float | None]] = list(best)
    if truth is not None and truth not in [name for name, _ in best]:
        rows.append((truth, None))
    sheet = Image.new("RGB", (width, picture.height + len(rows) * row + 2 * margin), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    number_width = font.getlength("0.000")
    bar_left, bar_right = round(width * 0.5), round(width - margin * 2 - number_width)
    tick_width = font.size * 1.1 if truth is not None else 0.0
    for index, (name, probability) in enumerate(rows):
        middle = picture.height + margin + row * (index + 0.5)
        if name == truth:
            _tick(draw, margin, middle, font.size)
        text = _shortened(name, font, bar_left - margin * 2 - tick_width)
        draw.text((margin + tick_width, middle), text, fill=INK, font=font, anchor="lm")
        if probability is None:
            draw.text((bar_left, middle), "the truth", fill=INK, font=font, anchor="lm")
            continue
        top, bottom = middle - font.size * 0.3, middle + font.size * 0.3
        draw.rectangle((bar_left, top, bar_right, bottom), fill=TRACK)
        end = bar_left + (bar_right - bar_left) * min(max(probability, 0.0), 1.0)
        draw.rectangle((bar_left, top, end, bottom), fill=RIGHT if name == truth else OTHER)
        draw.text((width - margin, middle), f"{probability:.3f}", fill=INK, font=font, anchor="rm")
    return sheet


def contact_sheet(pictures: Sequence[Image.Image], cell: int = 512) -> Image.Image:
    """All pictures on one sheet, as many columns as rows, each whole within `cell` pixels; cells are as the largest."""
    columns = max(1, math.ceil(math.sqrt(len(pictures))))
    rows = max(1, math.ceil(len(pictures) / columns))
    gap = max(4, cell // 40)
    small = [_shrunk(picture, cell) for picture in pictures]
    cell_width, cell_height = (max((picture.size[axis] for picture in small), default=cell) for axis in (0, 1))
    sheet = Image.new("RGB", (columns * (cell_width + gap) + gap, rows * (cell_height + gap) + gap), PAPER)
    for index, picture in enumerate(small):
        left = gap + index % columns * (cell_width + gap) + (cell_width - picture.width) // 2
        top = gap + index // columns * (cell_height + gap) + (cell_height - picture.height) // 2
        sheet.paste(picture, (left, top))
    return sheet


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    shrink = side / max(picture.size)
    size = max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _enlarged(image: Image.Image | NDArray[np.uint8]) -> tuple[Image.Image, float]:
    """A copy large enough to write on, and its pixels per pixel of the original."""
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))).convert("RGB")
    scale = max(1.0, SMALLEST_SIDE / max(picture.size))
    if scale == 1.0:
        return picture, scale
    size = round(picture.width * scale), round(picture.height * scale)
    return picture.resize(size, Image.Resampling.BICUBIC), scale


def _font(size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=max(13, round(max(size) * FONT_PER_SIDE)))
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _inside(box: NDArray[np.float64], size: tuple[int, int]) -> Rectangle:
    """The part of a box that can be drawn."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    right, bottom = size[0] - 1, size[1] - 1
    x1, y1 = min(max(x1, 0.0), right), min(max(y1, 0.0), bottom)
    return x1, y1, min(max(x2, x1), right), min(max(y2, y1), bottom)


def _outline(draw: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, line: int) -> None:
    """A frame with a dark rim, to be seen on snow as on coal."""
    rim = max(1, line // 3)
    x1, y1, x2, y2 = box
    draw.rectangle((x1 - rim, y1 - rim, x2 + rim, y2 + rim), outline=INK, width=line + 2 * rim)
    draw.rectangle(box, outline=colour, width=line)


def _dashes(draw: ImageDraw.ImageDraw, box: Rectangle, line: int) -> None:
    """A frame that alternates black and white."""
    x1, y1, x2, y2 = box
    dash = 4 * line
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    for start, end in pairwise(corners):
        length = math.dist(start, end)
        for number in range(math.ceil(length / dash)):
            near, far = number * dash / length, min(1.0, (number + 1) * dash / length)
            ends = [
                (start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part) for part in (near, far)
            ]
            draw.line(ends, fill=INK if number % 2 else PAPER, width=line)


def _tick(draw: ImageDraw.ImageDraw, left: float, middle: float, size: float) -> None:
    points = ((0.0, 0.05), (0.25, 0.3), (0.75, -0.3))
    draw.line([(left + x * size, middle + y * size) for x, y in points], fill=RIGHT, width=max(2, round(size / 7)))


def _chip_place(
    box: Rectangle, text: str, font: ImageFont.FreeTypeFont, size: tuple[int, int], line: int, taken: list[Rectangle]
) -> Rectangle:
    """Where a label goes: the first corner of the box where it hides no other, else where it hides least."""
    width, height = font.getlength(text) + font.size * 0.7, font.size * 1.35

    def hidden(chip: Rectangle) -> float:
        return sum(_overlap(chip, other) for other in taken)

    places = [
        (x, y, x + width, y + height)
        for x, y in _corners(box, width, height, line)
        if y >= 0 and y + height <= size[1] - 1
    ]
    inside = [_pushed_inside(place, size) for place in places]
    return min(inside or [_pushed_inside((box[0], box[1], box[0] + width, box[1] + height), size)], key=hidden)


def _corners(box: Rectangle, width: float, height: float, line: int) -> Iterator[tuple[float, float]]:
    """Top left corners for a chip: above the box, inside its top, below it, inside its bottom; then beside it."""
    x1, y1, x2, y2 = box
    lefts = (x1, x2 - width, x2, x1 - width)
    tops = (y1 - height, y1 + line, y2, y2 - height - line)
    return chain.from_iterable(((x, y) for x in lefts) for y in tops)


def _pushed_inside(place: Rectangle, size: tuple[int, int]) -> Rectangle:
    x1, y1, x2, y2 = place
    shift_x = min(max(x1, 0.0), max(0.0, size[0] - 1 - (x2 - x1))) - x1
    shift_y = min(max(y1, 0.0), max(0.0, size[1] - 1 - (y2 - y1))) - y1
    return x1 + shift_x, y1 + shift_y, x2 + shift_x, y2 + shift_y


def _overlap(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of it as fits before three dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _readable_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out more. Source: WCAG 2.2, relative luminance."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in colour)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else PAPER
