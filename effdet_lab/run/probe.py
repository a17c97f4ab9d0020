"""How many pictures a second a training sees here: a few real steps on random pictures, for a few seconds."""

import time

import torch

from effdet_lab.models.build import build_model
from effdet_lab.run.memory import keep_freed_memory
from effdet_lab.run.pricing import Network, pictures_of_device
from effdet_lab.run.rehearsal import loss_of, normalised, prepared, random_batch
from effdet_lab.spec import ExperimentSpec, Size, with_classes
from effdet_lab.tasks.optim import build_optimiser

PATIENCE = 4.0  # seconds a job; the next larger pictures are tried while they promise to stay within
SMALLEST = 128  # pixels of the longer side, to begin with
PICTURES = {"cpu": 2, "cuda": 16}  # at most, in a step
GRAIN = 32  # pixels; the stride of the coarsest map that a backbone makes
HALF = {"bf16": torch.bfloat16, "16": torch.float16}


def pictures_per_second(spec: ExperimentSpec, network: Network, room: int) -> float | None:
    """Of all devices of the job together; None where its GPUs are elsewhere, or `room` bytes hold no step.

    Pictures that would take too long are trained on smaller, and their time is taken to grow with their pixels.
    """
    if spec.trainer.gpus and not torch.cuda.is_available():
        return None
    if not spec.trainer.gpus:
        keep_freed_memory()
    if not spec.data.num_classes:
        spec = with_classes(spec, ("class",), (1,))
    device = torch.device("cuda" if spec.trainer.gpus else "cpu")
    pictures = min(PICTURES[device.type], max(2, pictures_of_device(spec)))
    whole = spec.model.input.image_size
    step = _Step(spec, device)
    deadline = time.perf_counter() + PATIENCE
    speed = None
    for size in sizes(whole):
        share = _pixels(size) / _pixels(whole)
        if pictures * network.worst * share > room:
            break
        if speed is not None and 2 * pictures * share / speed > deadline - time.perf_counter():
            break
        seconds = step(pictures, size)  # the first one of its size still looks for its kernels and its memory
        if time.perf_counter() < deadline:
            seconds = step(pictures, size)
        speed = pictures * share / seconds
    if speed is None:
        return None
    # Processes of one processor share its cores, so that only machines and GPUs add up.
    return speed * spec.trainer.num_nodes * max(1, spec.trainer.gpus)


def sizes(whole: Size) -> list[Size]:
    """From small pictures of the same form to the real ones, each twice as wide as the last.

    >>> sizes((512, 1024))
    [(64, 128), (128, 256), (256, 512), (512, 1024)]
    """
    found = [whole]
    while max(found[0]) >= 2 * SMALLEST:
        height, width = (max(GRAIN, GRAIN * round(extent / 2 / GRAIN)) for extent in found[0])
        found.insert(0, (height, width))
    return found


class _Step:
    """A model in training; called, it takes one step and tells its seconds."""

    def __init__(self, spec: ExperimentSpec, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.model = prepared(spec, build_model(spec).to(device))
        self.optimiser = build_optimiser(self.model, spec.optim)

    def __call__(self, pictures: int, size: Size) -> float:
        precision = self.spec.trainer.precision
        with self.device:
            batch = random_batch(self.spec, pictures, size)
        start = time.perf_counter()
        with torch.autocast(self.device.type, HALF.get(precision), enabled=precision != "32"):
            loss = loss_of(self.spec, self.model(normalised(self.spec, batch.images_BCHW)), batch)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


def _pixels(size: Size) -> int:
    return size[0] * size[1]
