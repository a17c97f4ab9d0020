import pytest
import torch
from torch import nn

from effdet_lab.models.counting import count
from effdet_lab.models.polynet import RESIDUAL_STEP, Layer, PolyInception, PolyNet

PATHS = ((Layer(2, 1), Layer(3, (1, 3))), (Layer(2, 1),))
NORM = {"norm_eps": 1e-5, "norm_momentum": 0.1}


def test_the_published_network_has_its_published_counts():
    """Source: Cadene/pretrained-models.pytorch, polynet.py, as osmr/imgclsmob counts it; 34.7B in NASNet's paper."""
    with torch.device("meta"):
        network = PolyNet(num_classes=1000)
    counted = count(network, 331)["total"]
    assert counted.parameters == 95_366_600
    assert counted.multiply_adds == pytest.approx(34.7e9, rel=0.002)


def test_the_residuals_shrink_from_module_to_module():
    """Source: polynet.py prints the scales of the 40 modules: 1, 0.992308, ... 0.7."""
    with torch.device("meta"):
        scales = [module.scale for module in PolyNet(num_classes=2).stages if isinstance(module, PolyInception)]
    assert (len(scales), scales[0], scales[1]) == (40, 1.0, pytest.approx(0.992308, abs=1e-6))
    assert scales[-1] == pytest.approx(0.7) == 1 - 39 * RESIDUAL_STEP


def test_a_poly_module_adds_the_powers_of_one_block():
    module = PolyInception(4, PATHS, "poly-3", scale=0.5, drop_path=0.0, **NORM).eval()
    x_BCHW = torch.randn(2, 4, 5, 5)

    def power(x_BCHW, number):
        return module.projections[number](module.paths[0](x_BCHW, use=number))

    with torch.no_grad():
        first = power(x_BCHW, 0)
        second = power(first.relu(), 1)
        third = power(second.relu(), 2)
        expected = (x_BCHW + 0.5 * (first + second + third)).relu()
        assert torch.allclose(module(x_BCHW), expected, atol=1e-6)
    # The convolutions of the paths are there once, norms and projections three times.
    assert sum(isinstance(layer, nn.Conv2d) for layer in module.modules()) == 3 + 3
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()) == 3 * (3 + 1)


def test_a_two_way_module_adds_two_blocks():
    module = PolyInception(4, PATHS, "2-way", scale=0.5, drop_path=0.0, **NORM).eval()
    x_BCHW = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        blocks = [project(paths(x_BCHW)) for project, paths in zip(module.projections, module.paths, strict=True)]
        assert torch.allclose(module(x_BCHW), (x_BCHW + 0.5 * (blocks[0] + blocks[1])).relu(), atol=1e-6)


def test_a_module_whose_paths_are_dropped_is_a_rectifier():
    module = PolyInception(4, PATHS, "poly-3", scale=1.0, drop_path=1 - 1e-9, **NORM).train()
    x_BCHW = torch.randn(2, 4, 5, 5)
    assert torch.equal(module(x_BCHW), x_BCHW.relu())


@pytest.mark.slow
def test_every_parameter_of_a_classifier_learns():
    network = PolyNet(num_classes=3)
    network(torch.randn(2, 3, 107, 107)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
