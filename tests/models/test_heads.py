import pytest
import torch

from effdet_lab.models.heads import CLASS_PRIOR_LOGIT, Head


def head(**arguments: object) -> Head:
    defaults = {"channels": 8, "repeats": 2, "num_levels": 3, "num_anchors": 9, "num_outputs": 4}
    return Head(**(defaults | arguments))


def test_outputs_are_ordered_level_y_x_anchor():
    net = head(repeats=0, num_levels=2, num_anchors=2, num_outputs=3).eval()
    maps = [torch.randn(2, 8, 3, 4), torch.randn(2, 8, 2, 2)]
    outputs_BAK = net(maps)
    assert outputs_BAK.shape == (2, 2 * (12 + 4), 3)
    for level, y, x, anchor, row in [(0, 0, 1, 0, 2), (0, 2, 3, 1, 23), (1, 0, 0, 0, 24), (1, 1, 0, 1, 29)]:
        expected_BK = net.predict(maps[level])[:, 3 * anchor : 3 * anchor + 3, y, x]
        torch.testing.assert_close(outputs_BAK[:, row], expected_BK)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_changes_no_order(memory_format):
    net = head().eval()
    maps = [torch.randn(2, 8, size, size) for size in (4, 2, 1)]
    expected_BAK = net(maps)
    found_BAK = net.to(memory_format=memory_format)([map_BCHW.to(memory_format=memory_format) for map_BCHW in maps])
    torch.testing.assert_close(found_BAK, expected_BAK)


def test_levels_share_convolutions_and_keep_norms_of_their_own():
    net = head().train()
    assert len(net.conv_rep) == 2
    assert [len(norms) for norms in net.bn_rep] == [3, 3]
    net([torch.randn(4, 8, 4, 4) * scale for scale in (1, 2, 3)])
    means = [norms["bn"].running_var for norms in net.bn_rep[0]]
    assert not torch.allclose(means[0], means[1])
    assert not torch.allclose(means[1], means[2])
    assert {name for name in net.state_dict() if name.endswith("bn.weight")} == {
        f"bn_rep.{repeat}.{level}.bn.weight" for repeat in range(2) for level in range(3)
    }


def test_every_class_starts_at_one_percent():
    net = head(num_outputs=5, output_bias=CLASS_PRIOR_LOGIT)
    assert torch.tensor(CLASS_PRIOR_LOGIT).sigmoid().item() == pytest.approx(0.01)
    assert pytest.approx(-4.59511985) == CLASS_PRIOR_LOGIT
    assert (net.predict.conv_pw.bias == CLASS_PRIOR_LOGIT).all()
    assert all((conv.conv_pw.bias == 0).all() for conv in net.conv_rep)


def test_without_redundant_biases_only_the_prediction_has_one():
    assert [name for name, _ in head(redundant_bias=False).named_parameters() if name.endswith("conv_pw.bias")] == [
        "predict.conv_pw.bias"
    ]
