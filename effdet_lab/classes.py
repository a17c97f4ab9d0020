"""Class names that are known without reading any data."""

from collections.abc import Mapping

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGENET_CLASSES = 1000
# Source: EfficientNet (Tan and Le, 2019), table 6. Their names come with the data.
TRANSFER_CLASSES = {
    "cifar100": 100, "birdsnap": 500, "stanford_cars": 196, "flowers102": 102, "fgvc_aircraft": 100,
    "oxford_pets": 37, "food101": 101,
}  # fmt: skip
COCO_CLASSES = 90  # category ids run to 90, ten of them unused; label = id - 1, as the published detectors have it
# Source: COCO, instances_val2017.json.
COCO_CATEGORIES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip


def layout_of(categories: Mapping[int, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and category ids by label: sorted ids become 0, 1, ...

    COCO's own 80 categories keep their 90 numbers, label = id - 1, as the published detectors have them.
    """
    if dict(categories) == COCO_CATEGORIES:
        ids = tuple(range(1, COCO_CLASSES + 1))
        return tuple(COCO_CATEGORIES.get(number, f"unused {number}") for number in ids), ids
    ids = tuple(sorted(categories))
    return tuple(categories[number] for number in ids), ids
