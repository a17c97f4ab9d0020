"""The small parts every network here shares.

B batch, C channels, H W feature size

Initialisers follow TensorFlow's counting, because the published recipes were tuned with it.
"""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("silu", "relu6")
PADDINGS = ("same", "symmetric")
# The standard deviation of a unit normal cut at two standard deviations.
TRUNCATED_NORMAL_STD = 0.87962566103423978


def activation(name: str) -> nn.Module:
    """SiLU, or ReLU6 for the Lite networks."""
    assert name in ACTIVATIONS, name
    # SiLU in place would copy its input for the backward pass; ReLU6 needs only its output.
    return nn.SiLU() if name == "silu" else nn.ReLU6(inplace=True)


def norm(channels: int, eps: float, momentum: float) -> nn.BatchNorm2d:
    """Batch norm; momentum is torch's, the share of the new batch (TensorFlow's 0.99 is 0.01 here)."""
    return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)


def same_padding(extent: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis, before and after; an odd pixel goes after.

    >>> same_padding(224, 3, 2), same_padding(225, 3, 2), same_padding(224, 5, 2)
    ((0, 1), (1, 1), (1, 2))
    """
    total = max((math.ceil(extent / stride) - 1) * stride + kernel_size - extent, 0)
    return total // 2, total - total // 2


class StridedConv2d(nn.Conv2d):
    """A strided convolution: padded alike on all sides, or like TensorFlow's SAME, from the size it meets."""

    padding_rule = "same"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.padding_rule == "symmetric":
            return super().forward(x_BCHW)
        top, bottom = same_padding(x_BCHW.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x_BCHW.shape[3], self.kernel_size[1], self.stride[1])
        if (top, left) != (bottom, right):
            # Only the surplus pixel needs a padded copy: the convolution brings the symmetric rest.
            x_BCHW = F.pad(x_BCHW, (0, right - left, 0, bottom - top))
        return F.conv2d(x_BCHW, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    padding: str = "same",
) -> nn.Conv2d:
    """A convolution whose output extent is ceil(extent / stride); padding is "same" or "symmetric"."""
    assert kernel_size % 2 == 1, kernel_size
    assert padding in PADDINGS, padding
    # Both paddings agree at stride 1, where a plain convolution is the fastest.
    kind = StridedConv2d if stride > 1 else nn.Conv2d
    conv = kind(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups, bias=bias
    )
    if isinstance(conv, StridedConv2d):
        conv.padding_rule = padding
    return conv


def max_pool(x_BCHW: Tensor, padding: str = "same", stride: int = 2) -> Tensor:
    """Max-pooling by an even stride, its kernel a pixel larger, padded by minus infinity: (e - 1) // stride + 1.

    SAME padding: what an extent lacks at its end, ceil_mode supplies; the padding is what it lacks before. Symmetric
    padding by a stride above 2 leaves the last pixels of an extent that the stride divides out.
    """
    kernel_size = stride + 1
    if padding == "symmetric":
        return F.max_pool2d(x_BCHW, kernel_size, stride, padding=stride // 2)
    top, left = (same_padding(extent, kernel_size, stride)[0] for extent in x_BCHW.shape[2:])
    return F.max_pool2d(x_BCHW, kernel_size, stride, padding=(top, left), ceil_mode=True)


class SqueezeExcite(nn.Module):
    """Each channel times a gate between 0 and 1, read from all channels' means.

    Source: Hu et al., Squeeze-and-Excitation Networks (CVPR 2018), section 3.
    """

    def __init__(self, channels: int, reduced_channels: int, activation_name: str) -> None:
        super().__init__()
        self.conv_reduce = conv2d(channels, reduced_channels, 1, bias=True)
        self.act = activation(activation_name)
        self.conv_expand = conv2d(reduced_channels, channels, 1, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC11 = x_BCHW.mean((2, 3), keepdim=True)
        return x_BCHW * self.conv_expand(self.act(self.conv_reduce(mean_BC11))).sigmoid()


class DropPath(nn.Module):
    """While training, drops a whole branch for a share `rate` of the samples and scales the others up.

    Source: Huang et al., Deep Networks with Stochastic Depth (ECCV 2016); tensorflow/tpu utils.py, drop_connect.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        assert 0 <= rate < 1, rate
        self.rate = rate

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x_BCHW
        keep = 1 - self.rate
        return x_BCHW * x_BCHW.new_empty(x_BCHW.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


class SeparableConv(nn.Sequential):
    """A depthwise 3x3 convolution, then a pointwise one that carries the only bias."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv_dw = conv2d(in_channels, in_channels, 3, groups=in_channels)
        self.conv_pw = conv2d(in_channels, out_channels, 1, bias=bias)


def set_padding(model: nn.Module, rule: str) -> None:
    """How every layer below the model that strides pads its input: "same" or "symmetric"."""
    assert rule in PADDINGS, rule
    for module in model.modules():
        if hasattr(module, "padding_rule"):
            module.padding_rule = rule


def set_norm_eps(model: nn.Module, eps: float) -> None:
    """The constant under the root of every batch norm below the model."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = eps


def init_convs(module: nn.Module, init_weight: Callable[[nn.Conv2d], object]) -> None:
    """Initialises every convolution below the module; biases start at 0."""
    for conv in module.modules():
        # Weights on the meta device hold no numbers, and torch would import its compiler, for seconds, to draw none.
        if isinstance(conv, nn.Conv2d) and not conv.weight.is_meta:
            init_weight(conv)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def fan_out_normal(conv: nn.Conv2d) -> None:
    """Source: tensorflow/tpu efficientnet_model.py, conv_kernel_initializer."""
    _, fan_out = tensorflow_fans(conv)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))


def glorot_uniform(conv: nn.Conv2d) -> None:
    """TensorFlow's default, which google/automl leaves to the BiFPN."""
    limit = math.sqrt(6 / sum(tensorflow_fans(conv)))
    nn.init.uniform_(conv.weight, -limit, limit)


def fan_in_truncated_normal(conv: nn.Conv2d) -> None:
    """TensorFlow's VarianceScaling(), which google/automl gives to the heads."""
    fan_in, _ = tensorflow_fans(conv)
    std = math.sqrt(1 / fan_in) / TRUNCATED_NORMAL_STD
    nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)


def dense_uniform(linear: nn.Linear) -> None:
    """Source: tensorflow/tpu efficientnet_model.py, dense_kernel_initializer."""
    limit = 1 / math.sqrt(linear.out_features)
    nn.init.uniform_(linear.weight, -limit, limit)
    nn.init.zeros_(linear.bias)


def tensorflow_fans(conv: nn.Conv2d) -> tuple[int, int]:
    """Fan in and fan out; a depthwise kernel is stored as (height, width, channels, 1) there and counted that way."""
    area = math.prod(conv.kernel_size)
    if conv.groups == 1:
        return area * conv.in_channels, area * conv.out_channels
    return area * conv.in_channels, area * conv.out_channels // conv.groups
