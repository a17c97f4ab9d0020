"""How long one picture takes."""

import time

import torch
from torch import nn

from effdet_lab.run.latency import LEAST, MOST, WARM_UP, latency_ms


class Sleeper(nn.Module):
    """Takes its time, and remembers how it was asked."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.shapes, self.modes = seconds, [], set()

    def forward(self, image_BCHW):
        time.sleep(self.seconds)
        self.shapes.append(tuple(image_BCHW.shape))
        self.modes.add((self.training, torch.is_inference_mode_enabled()))
        return image_BCHW


def test_the_median_pass_is_told_in_milliseconds():
    model = Sleeper(0.01)
    assert 10 <= latency_ms(model, (24, 32), torch.device("cpu")) < 60
    assert set(model.shapes) == {(1, 3, 24, 32)}
    assert WARM_UP + LEAST <= len(model.shapes) <= WARM_UP + MOST


def test_a_model_is_measured_as_it_predicts_and_left_as_it_was():
    model = Sleeper(0.0).train()
    latency_ms(model, (8, 8), torch.device("cpu"))
    assert model.modes == {(False, True)}
    assert model.training


def test_a_slow_network_is_asked_the_fewest_times(monkeypatch):
    monkeypatch.setattr("effdet_lab.run.latency.PATIENCE", 0.0)
    model = Sleeper(0.0)
    latency_ms(model, (8, 8), torch.device("cpu"))
    assert len(model.shapes) == WARM_UP + LEAST
