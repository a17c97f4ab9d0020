"""What each anchor should say: the boxes of a whole batch matched to its anchors at once.

B batch, M boxes padded to the batch's largest, A anchors, S blocks of anchors
"""

import torch
from torch import Tensor

from effdet_lab.detection.boxes import encode, iou_NM
from effdet_lab.records import Targets

MATCH_THRESHOLD = 0.5  # IoU of a positive; below is background, nothing is ignored. Source: google/automl efficientdet
# Overlaps held at a time: on a processor a block stays in its cache (twice as fast), elsewhere it bounds the memory.
CPU_BLOCK = 2**19
DEVICE_BLOCK = 2**26


@torch.no_grad()
def assign(
    anchors_A4: Tensor, boxes_BM4: Tensor, labels_BM: Tensor, *, match_threshold: float = MATCH_THRESHOLD
) -> Targets:
    """Each anchor takes the box it overlaps most, from the threshold on; each box also claims its best anchor.

    A claim outranks every overlap, however small; of several boxes claiming one anchor the first gets it, and of
    anchors or boxes that overlap equally the first is the best.

    Source: google/automl efficientdet/object_detection/argmax_matcher.py (force_match_for_each_row).
    Shapes: (A, 4), (B, M, 4) and (B, M), where the label -1 marks padding.
    """
    batch_size, num_boxes = labels_BM.shape
    num_anchors = len(anchors_A4)
    if num_boxes == 0:
        labels_BA = labels_BM.new_full((batch_size, num_anchors), -1)
        return Targets(labels_BA, boxes_BM4.new_zeros(batch_size, num_anchors, 4))

    real_BM = labels_BM >= 0
    boxes_BM4 = boxes_BM4 * real_BM.unsqueeze(-1)  # without area, padding overlaps nothing
    iou_BA, box_BA, claimed_BM = _best_of_each(anchors_A4, boxes_BM4)

    number_M = torch.arange(num_boxes, device=labels_BM.device)
    claimant_BM = torch.where(real_BM, number_M, num_boxes)
    claimant_BA = torch.full_like(box_BA, num_boxes).scatter_reduce_(1, claimed_BM, claimant_BM, "amin")
    is_claimed_BA = claimant_BA < num_boxes
    box_BA = torch.where(is_claimed_BA, claimant_BA, box_BA)
    positive_BA = is_claimed_BA | (iou_BA >= match_threshold)

    labels_BA = labels_BM.gather(1, box_BA).masked_fill_(~positive_BA, -1)
    matched_BA4 = boxes_BM4.gather(1, box_BA.unsqueeze(-1).expand(-1, -1, 4))
    deltas_BA4 = encode(matched_BA4, anchors_A4).masked_fill_(~positive_BA.unsqueeze(-1), 0)
    return Targets(labels_BA, deltas_BA4)


def _best_of_each(anchors_A4: Tensor, boxes_BM4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best overlap and box of each anchor (B, A), and the best anchor of each box (B, M)."""
    batch_size, num_boxes, _ = boxes_BM4.shape
    block_size = CPU_BLOCK if boxes_BM4.device.type == "cpu" else DEVICE_BLOCK
    step = max(1, block_size // (batch_size * num_boxes))
    ious, boxes, claim_ious, claims = [], [], [], []
    for start in range(0, len(anchors_A4), step):
        iou_BMA = iou_NM(boxes_BM4, anchors_A4[start : start + step])
        iou_BA, box_BA = iou_BMA.max(dim=1)
        claim_iou_BM, claim_BM = iou_BMA.max(dim=2)
        ious.append(iou_BA)
        boxes.append(box_BA)
        claim_ious.append(claim_iou_BM)
        claims.append(claim_BM + start)
    best_block_1BM = torch.stack(claim_ious).argmax(dim=0, keepdim=True)
    claimed_BM = torch.stack(claims).gather(0, best_block_1BM).squeeze(0)
    return torch.cat(ious, dim=1), torch.cat(boxes, dim=1), claimed_BM
