"""Focal loss for the classes, Huber loss for the boxes, divided by the batch's positive anchors.

B batch, A anchors, K classes, R rows (anchors of the batch)
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from effdet_lab.records import LossTerms, RawDetections, Targets

# Source: google/automl efficientdet/hparams_config.py.
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 1.5
HUBER_DELTA = 0.1

# Logits worked on at a time: a block's temporaries stay in a processor's cache, and small beside the model elsewhere.
CPU_BLOCK = 2**17
DEVICE_BLOCK = 2**24


def detection_loss(
    raw: RawDetections,
    targets: Targets,
    *,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
    label_smoothing: float = 0.0,
    delta: float = HUBER_DELTA,
) -> LossTerms:
    """Both losses of a local batch; the total is class + a weight * box.

    Source: google/automl efficientdet/det_model_fn.py: the one is added once a batch, so a batch without boxes divides.
    """
    positives = (targets.labels_BA >= 0).sum() + 1
    class_sum = focal_loss(raw.class_logits_BAK, targets.labels_BA, alpha, gamma, label_smoothing)
    box_sum = huber_loss(raw.box_deltas_BA4, targets.box_deltas_BA4, delta)
    return LossTerms(class_sum / positives, box_sum / (4 * positives))


def huber_loss(deltas_BA4: Tensor, targets_BA4: Tensor, delta: float = HUBER_DELTA) -> Tensor:
    """The sum over all coordinates whose target is not exactly zero, in float32: background says zero everywhere."""
    loss_BA4 = F.huber_loss(deltas_BA4.float(), targets_BA4, reduction="none", delta=delta)
    return loss_BA4.masked_fill(targets_BA4 == 0, 0).sum()


def focal_loss(
    logits_BAK: Tensor,
    labels_BA: Tensor,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The sum over all logits of -weight * (1 - p_t)^gamma * log p_t, in float32.

    Smoothing moves the targets of the cross entropy alone, not alpha and not the modulating factor.
    Source: Lin et al., Focal Loss for Dense Object Detection (2017), equation 5; google/automl efficientdet.
    Shapes: (B, A, K) and (B, A), where the label -1 is background -> a scalar.
    """
    num_classes = logits_BAK.shape[-1]
    return _FocalLoss.apply(logits_BAK.reshape(-1, num_classes), labels_BA.reshape(-1), alpha, gamma, label_smoothing)


class _FocalLoss(torch.autograd.Function):
    """Sum and gradient in one walk over the logits, a block at a time; only the gradient is kept.

    A positive at x is a negative at -x under another weight. So every positive logit changes its sign, all are
    negatives, and no one-hot target is ever made.
    """

    @staticmethod
    def forward(ctx, logits_RK: Tensor, labels_R: Tensor, alpha: float, gamma: float, smoothing: float) -> Tensor:
        # Half precision is widened, and so is its gradient: float16 would lose it before a gradient scaler helps.
        dtype = torch.promote_types(logits_RK.dtype, torch.float32)
        gradient_RK = torch.empty_like(logits_RK, dtype=dtype) if ctx.needs_input_grad[0] else None
        total = logits_RK.new_zeros((), dtype=dtype)
        block_size = CPU_BLOCK if logits_RK.device.type == "cpu" else DEVICE_BLOCK
        step = max(1, block_size // logits_RK.shape[1])
        for start in range(0, len(logits_RK), step):
            block = slice(start, start + step)
            is_positive_R1 = labels_R[block].unsqueeze(1) >= 0
            column_R1 = labels_R[block].unsqueeze(1).clamp(min=0)
            sign_R1 = torch.where(is_positive_R1, -1.0, 1.0).to(dtype)
            weight_R1 = torch.where(is_positive_R1, alpha, 1 - alpha).to(dtype)

            block_RK = logits_RK[block].to(dtype)
            block_RK = block_RK.scatter(1, column_R1, block_RK.gather(1, column_R1) * sign_R1)
            loss_RK, slope_RK = _negatives_(block_RK, gamma, smoothing, with_slope=gradient_RK is not None)
            # All under the negatives' weight, then the difference for the positives.
            total += (1 - alpha) * loss_RK.sum()
            total += ((weight_R1 - (1 - alpha)) * loss_RK.gather(1, column_R1)).sum()
            if gradient_RK is not None and slope_RK is not None:
                own_slope_R1 = slope_RK.gather(1, column_R1) * sign_R1 * weight_R1
                gradient_RK[block] = slope_RK.mul_(1 - alpha).scatter_(1, column_R1, own_slope_R1)
        if gradient_RK is not None:
            ctx.save_for_backward(gradient_RK)
        ctx.dtype = logits_RK.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, scale: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient_RK,) = ctx.saved_tensors
        return (gradient_RK * scale).to(ctx.dtype), None, None, None, None


def _negatives_(logits: Tensor, gamma: float, smoothing: float, *, with_slope: bool) -> tuple[Tensor, Tensor | None]:
    """p^gamma * (cross entropy of p against smoothing / 2), unweighted, and its slope; consumes the logits."""
    softplus = _softplus(logits)
    entropy = softplus.sub(logits, alpha=smoothing / 2) if smoothing else softplus
    p = logits.sigmoid() if with_slope else None
    log_p = logits.sub_(softplus)
    modulator = log_p.mul_(gamma).exp_()
    loss = modulator * entropy
    if p is None:
        return loss, None
    # (p^g e)' = p^g (g (1 - p) e + p - s / 2), as p' = p (1 - p) and e' = p - s / 2
    slope = entropy.mul_(gamma).mul_(1 - p).add_(p).sub_(smoothing / 2)
    return loss, slope.mul_(modulator)


def _softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) to float's last digits.

    Torch's own rests on log1p, whose speed on a processor was measured to vary tenfold between runs; log's is steady.
    """
    power = x.abs().neg_().exp_()
    rounded = power + 1
    # The sum dropped power - (rounded - 1); the logarithm's slope gives it back.
    dropped = power.sub_(rounded - 1)
    return rounded.log().add_(dropped.div_(rounded)).add_(x.clamp(min=0))
