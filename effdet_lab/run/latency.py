"""How long one picture takes."""

import statistics
import time

import torch
from torch import nn

WARM_UP, LEAST, MOST = 2, 5, 50  # passes
PATIENCE = 2.0  # seconds; after them the fewest passes are enough


def latency_ms(model: nn.Module, image_size: tuple[int, int], device: torch.device) -> float:
    """The median over passes of one picture through the network, as training's device and threads compute it.

    Units: milliseconds, from tensor to logits: what comes before and after depends on the program around it.
    """
    was_training, home = model.training, next(model.parameters()).device
    model = model.to(device).eval()
    image_BCHW = torch.zeros(1, 3, *image_size, device=device)
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(image_BCHW)
        begin = time.perf_counter()
        while len(times) < LEAST or (len(times) < MOST and time.perf_counter() - begin < PATIENCE):
            _wait_for(device)
            start = time.perf_counter()
            model(image_BCHW)
            _wait_for(device)
            times.append(time.perf_counter() - start)
    model.to(home).train(was_training)
    return statistics.median(times) * 1000


def _wait_for(device: torch.device) -> None:
    """A GPU is asked, and answers later."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
