"""What a piece of work keeps, followed storage by storage."""

import torch
from torch import nn

from effdet_lab.models.memory import MemoryTrace

NUMBER = 4  # bytes of a float32


def test_a_storage_counts_from_its_birth_to_its_death():
    with torch.device("meta"), MemoryTrace([]) as trace:
        first = torch.empty(100)
        second = first + 1
        assert (trace.live, trace.peak) == (200 * NUMBER, 200 * NUMBER)
        del first
        third = second * 2
        assert (trace.live, trace.peak) == (200 * NUMBER, 200 * NUMBER)
        del second, third
    assert (trace.live, trace.peak) == (0, 200 * NUMBER)


def test_views_and_work_in_place_take_nothing():
    given = torch.empty(10, 10, device="meta")
    with MemoryTrace([given]) as trace:
        given.view(100).t()
        given.add_(1)
        other = given.relu()
        other[2:].transpose(0, 1).mul_(3)
    assert (trace.live, trace.peak) == (100 * NUMBER, 100 * NUMBER)


def test_a_backward_pass_keeps_what_its_formulas_need():
    """A convolution keeps its input, which is given; SiLU keeps its own, the sum keeps nothing."""
    conv, images = nn.Conv2d(3, 8, 1, device="meta"), torch.empty(2, 3, 4, 4, device="meta")
    with MemoryTrace([images, *conv.parameters()]) as trace:
        loss = nn.functional.silu(conv(images)).sum()
        assert trace.live == 2 * 8 * 16 * NUMBER + NUMBER
        loss.backward()
        del loss
        gradients = sum(parameter.grad.nbytes for parameter in conv.parameters())
        assert trace.live == gradients
        for parameter in conv.parameters():
            trace.forget(parameter.grad)
    assert trace.live == 0
    assert trace.peak >= 2 * 2 * 8 * 16 * NUMBER


def test_work_in_blocks_counts_by_what_it_leaves():
    with torch.device("meta"), MemoryTrace([]) as trace:
        with trace.only_what_remains():
            kept = torch.cat([torch.empty(1000).sum(0, keepdim=True) for _ in range(3)])
        assert (trace.live, trace.peak) == (3 * NUMBER, 3 * NUMBER)
    assert len(kept) == 3


def test_a_trace_sees_the_same_on_the_processor():
    def step(device: str) -> tuple[int, int]:
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 4, 1)).to(device)
        images = torch.zeros(4, 3, 32, 32, device=device)
        with MemoryTrace([images, *model.parameters(), *model.buffers()]) as trace:
            model(images).square().mean().backward()
        return trace.live, trace.peak

    live, peak = step("meta")
    assert step("cpu") == (live, peak)
