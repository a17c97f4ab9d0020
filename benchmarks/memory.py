"""What a training step takes from the system on the CPU, beside what task=plan says it takes.

python benchmarks/memory.py [--steps 10]
Writes benchmarks/results/memory.md. Each configuration trains in a process of its own, as run.py trains: measured is
the most memory that was ever resident (VmHWM), less what was resident (VmRSS) before the model was built.
"""

import argparse
import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import effdet_lab
from effdet_lab.run.memory import keep_freed_memory
from effdet_lab.run.pricing import HEAP, pictures_of_device, training_memory
from effdet_lab.run.rehearsal import random_batch
from effdet_lab.tasks.build import build_task
from effdet_lab.tasks.optim import build_optimiser

CONFIGURATIONS = (
    ("EfficientNet-B0, 224 px", ("model=efficientnet", "phi=0", "data.batch_size=16")),
    ("EfficientDet-D0, 512 px", ("phi=0", "data=coco", "data.batch_size=4")),
    ("ResNet-50, 224 px", ("model=efficientnet", "backbone=resnet50", "model.image_size=224", "data.batch_size=16")),
)
RESULTS = Path(__file__).parent / "results" / "memory.md"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--train", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train, options.steps)))
        return
    rows = []
    for name, overrides in CONFIGURATIONS:
        spec = effdet_lab.compose(*overrides)
        memory = training_memory(spec)
        command = [sys.executable, __file__, "--steps", str(options.steps), "--train", *overrides]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        measured = json.loads(answer.splitlines()[-1])
        difference = f"{memory.peak / measured - 1:+.1%}".replace("%", " %")
        tensors = memory.peak - memory.heap
        sizes = [f"{size / 1e6:,.0f}" for size in (tensors, memory.peak, measured)]
        rows.append((name, str(spec.data.batch_size), *sizes, difference))
    header = ("network", "batch", "tensors, MB", "predicted, MB", "measured, MB", "predicted - measured")
    table = Table(title="Memory of a training step on the CPU")
    for column in header:
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
    RESULTS.write_text(report(header, rows, options.steps), encoding="utf-8")


def report(header: tuple[str, ...], rows: list[tuple[str, ...]], steps: int) -> str:
    """The table as Markdown, with what it was measured on."""
    lines = [f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows)]
    threads = torch.get_num_threads()
    return f"""# Memory of a training step, predicted and measured

Command: `python benchmarks/memory.py --steps {steps}`. Device: {platform.machine()} CPU, float32, {threads} threads, \
torch {torch.__version__}. Date: {datetime.datetime.now().date()}.
Each network trains on random pictures in a process of its own; measured is the largest resident set less what was
resident before the model was built.

{chr(10).join(lines)}

"Tensors" are what lives at once: weights, gradients, optimiser states, the running average, what the backward pass
keeps and what comes and goes besides. They are followed storage by storage through a step on the meta device. The
prediction adds the holes of the processor's heap: freed blocks stay in it (`effdet_lab/run/memory.py`), and the next
ones do not quite fit them. What comes of activations is multiplied by {HEAP}, one number for all networks
(`HEAP` in `effdet_lab/run/pricing.py`).
"""


def train(overrides: list[str], steps: int) -> int:
    """Bytes that some steps of the experiment took."""
    keep_freed_memory()
    spec = effdet_lab.compose(*overrides)
    before = resident("VmRSS")
    task = build_task(spec, effdet_lab.build_model(spec), None).train()
    optimiser = build_optimiser(task.model, spec.optim)
    average = torch.optim.swa_utils.AveragedModel(task)
    for _ in range(steps):
        batch = random_batch(spec, pictures_of_device(spec), spec.model.input.image_size)
        loss = task.losses(task(batch.images_BCHW), batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update_parameters(task)
    return resident("VmHWM") - before


def resident(what: str) -> int:
    """Bytes, of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


if __name__ == "__main__":
    main()
