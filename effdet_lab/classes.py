"""Class names that are known without reading any data."""

DIGITS = tuple("0123456789")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGENET_CLASSES = 1000
COCO_CLASSES = 90  # category ids run to 90, ten of them unused; label = id - 1, as the published detectors have it
