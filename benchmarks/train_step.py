"""One training step of EfficientDet, ours beside effdet's: the same pictures and boxes, in turn, in one process.

python benchmarks/train_step.py [--phi 0] [--family efficientnet_lite] [--batch 8] [--pairs 5]
Needs effdet (pip install '.[test]'). Writes a table; the ratio is of the pairs, the medians are of each alone.
"""

import argparse
import statistics
import time

import torch
from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
from rich.console import Console
from rich.table import Table

import effdet_lab
from effdet_lab.records import DetectionBatch
from effdet_lab.settings.network import IMAGENET_MEAN, IMAGENET_STD
from effdet_lab.tasks.build import build_task

NAMES = {"efficientnet": "tf_efficientdet_d{}", "efficientnet_lite": "tf_efficientdet_lite{}"}
BOXES = 12  # a picture


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phi", type=int, default=0)
    parser.add_argument("--family", choices=NAMES, default="efficientnet_lite")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    spec = effdet_lab.compose("data=coco", f"backbone={options.family}", f"phi={options.phi}")
    side = spec.model.input.image_size[0]
    images_BCHW = torch.randint(0, 256, (options.batch, 3, side, side), dtype=torch.uint8)
    corners_BM2 = torch.rand(options.batch, BOXES, 2) * 0.7 * side
    boxes_BM4 = torch.cat([corners_BM2, corners_BM2 + 16 + torch.rand(options.batch, BOXES, 2) * 0.25 * side], dim=2)
    labels_BM = torch.randint(0, 90, (options.batch, BOXES))
    steps = {
        "effdet_lab": our_step(spec, images_BCHW, boxes_BM4, labels_BM),
        "effdet": their_step(NAMES[options.family].format(options.phi), images_BCHW, boxes_BM4, labels_BM),
    }
    seconds = {name: [] for name in steps}
    for pair in range(options.pairs + 1):  # the first one warms up
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if pair:
                seconds[name].append(time.perf_counter() - start)
    ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    table = Table(title=f"{spec.name}, {side} px, batch {options.batch}, {torch.get_num_threads()} threads")
    for column in ("", "median s", "min s", "max s", "pictures/s"):
        table.add_column(column, justify="right")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        table.add_row(name, f"{median:.2f}", f"{min(taken):.2f}", f"{max(taken):.2f}", f"{options.batch / median:.1f}")
    Console().print(table)
    print(f"effdet takes {statistics.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f}).")


def our_step(spec, images_BCHW, boxes_BM4, labels_BM):
    """Normalise, forward, targets, losses, backward, update."""
    task = build_task(spec, effdet_lab.build_model(spec), None).train()
    optimiser = torch.optim.SGD(task.parameters(), lr=1e-4, momentum=0.9)
    count = len(images_BCHW)
    batch = DetectionBatch(
        images_BCHW,
        boxes_BM4,
        labels_BM,
        torch.arange(count),
        torch.ones(count),
        torch.zeros(count, 2, dtype=torch.int64),
    )

    def step():
        optimiser.zero_grad()
        task.losses(task(batch.images_BCHW), batch)["loss"].backward()
        optimiser.step()

    return step


def their_step(name, images_BCHW, boxes_BM4, labels_BM):
    """The same with effdet's model, labeler and loss."""
    config = get_efficientdet_config(name)
    bench = DetBenchTrain(EfficientDet(config, pretrained_backbone=False), create_labeler=True).train()
    optimiser = torch.optim.SGD(bench.parameters(), lr=1e-4, momentum=0.9)
    colours = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
    mean_C11, std_C11 = (torch.tensor(colour).view(-1, 1, 1) for colour in colours)
    target = {"bbox": boxes_BM4[..., [1, 0, 3, 2]], "cls": (labels_BM + 1).float()}

    def step():
        optimiser.zero_grad()
        bench((images_BCHW.float() / 255 - mean_C11) / std_C11, target)["loss"].backward()
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
