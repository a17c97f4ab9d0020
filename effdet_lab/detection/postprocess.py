"""From what the heads say to the detections of each file.

B batch, A anchors, K classes, R anchors read, P points (the best pairs of an anchor and a class), D detections kept
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from effdet_lab.detection.boxes import clip, decode, iou_of_planes, planes_5N, to_file_frame
from effdet_lab.records import Detections, RawDetections

DEAD = -1.0  # the score of a point that is picked, suppressed or too low


@torch.no_grad()
def detections(
    raw: RawDetections,
    anchors_A4: Tensor,
    *,
    image_id_B: Tensor,
    scale_B: Tensor,
    file_size_B2: Tensor,
    input_size: tuple[int, int],
    max_points: int = 5000,
    score_threshold: float = 0.001,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    nms: Literal["hard", "soft"] = "hard",
    soft_sigma: float = 0.5,
) -> Detections:
    """The best boxes of each picture in its file's frame: picture by picture, by falling score.

    The best points are decoded, clipped to the part of the input that the picture covers and suppressed class by
    class; one anchor may speak for several classes. Soft suppression has no use for iou_threshold.

    Source: google/automl efficientdet/tf2/postprocess.py; Bodla et al., Soft-NMS (2017), equation 3.
    Units: input_size is (height, width) in pixels; scores are probabilities and must exceed their threshold.
    """
    logits_BP, anchor_BP, labels_BP = _best_points(raw.class_logits_BAK, max_points)
    scores_BP = torch.threshold(logits_BP.float().sigmoid(), score_threshold, DEAD)
    # Points come by falling score, so the living stand first: the rest is never decoded.
    alive = int((scores_BP > DEAD).sum(dim=1).max())
    scores_BP, anchor_BP, labels_BP = scores_BP[:, :alive], anchor_BP[:, :alive], labels_BP[:, :alive]

    deltas_BP4 = raw.box_deltas_BA4.gather(1, anchor_BP.unsqueeze(-1).expand(-1, -1, 4)).float()
    covered_B2 = (file_size_B2 * scale_B.unsqueeze(-1)).minimum(scale_B.new_tensor(input_size))
    height_B1, width_B1 = covered_B2.split(1, dim=-1)
    boxes_BP4 = clip(decode(deltas_BP4, anchors_A4[anchor_BP]), height_B1, width_B1)

    def hard(iou: Tensor) -> Tensor:
        return iou <= iou_threshold

    def soft(iou: Tensor) -> Tensor:
        return iou.square_().div_(-soft_sigma).exp_()

    factor = soft if nms == "soft" else hard
    point_BD, scores_BD = _suppress(boxes_BP4, scores_BP, labels_BP, factor, score_threshold, max_detections)
    picture_D, rank_D = (scores_BD > DEAD).nonzero(as_tuple=True)
    point_D = point_BD[picture_D, rank_D]
    return Detections(
        image_id_B[picture_D],
        to_file_frame(boxes_BP4[picture_D, point_D], scale_B[picture_D], file_size_B2[picture_D]),
        scores_BD[picture_D, rank_D],
        labels_BP[picture_D, point_D],
    )


def _best_points(logits_BAK: Tensor, max_points: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logit, anchor and class of each picture's best pairs, by falling logit."""
    _, num_anchors, num_classes = logits_BAK.shape
    # The best pairs lie on the anchors whose best class is best: sorting those first spares sorting every pair.
    anchor_BR = logits_BAK.amax(dim=-1).topk(min(max_points, num_anchors), dim=1, sorted=False).indices
    pairs_BRK = logits_BAK.gather(1, anchor_BR.unsqueeze(-1).expand(-1, -1, num_classes))
    num_points = min(max_points, anchor_BR.shape[1] * num_classes)
    logits_BP, pair_BP = pairs_BRK.flatten(1).topk(num_points, dim=1)
    return logits_BP, anchor_BR.gather(1, pair_BP // num_classes), pair_BP % num_classes


def _suppress(
    boxes_BP4: Tensor,
    scores_BP: Tensor,
    labels_BP: Tensor,
    factor: Callable[[Tensor], Tensor],
    score_threshold: float,
    max_detections: int,
) -> tuple[Tensor, Tensor]:
    """The points picked and their scores when picked, both (B, D) by falling score; DEAD where none was left.

    Each round picks every picture's best point and multiplies the scores of its class by factor(iou). Scores only
    fall, so max_detections rounds do, whatever is left; comparing labels parts the classes exactly, where
    shifting boxes apart, as torchvision does, rounds their corners.
    """
    planes_5BP = planes_5N(boxes_BP4)
    scores_BP = scores_BP.clone()
    points, scores = [scores_BP.new_empty(len(scores_BP), 0, dtype=torch.int64)], [scores_BP[:, :0]]
    for _ in range(min(max_detections, scores_BP.shape[1])):
        score_B1, point_B1 = scores_BP.max(dim=1, keepdim=True)
        points.append(point_B1)
        scores.append(score_B1)
        iou_BP = iou_of_planes(planes_5BP, planes_5BP.gather(2, point_B1.expand(5, -1, -1)))
        iou_BP.masked_fill_(labels_BP != labels_BP.gather(1, point_B1), 0)
        scores_BP.mul_(factor(iou_BP)).scatter_(1, point_B1, DEAD)
        torch.threshold_(scores_BP, score_threshold, DEAD)
    return torch.cat(points, dim=1), torch.cat(scores, dim=1)
