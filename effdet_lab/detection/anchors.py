"""Anchors of a feature pyramid, for pictures of any height and width.

A anchors, S anchor shapes of a cell, Y X cells of a level
"""

import torch
from torch import Tensor

from effdet_lab.topology import feature_sizes

# Width and height in base sizes. Source: rwightman/efficientdet-pytorch; google/automl says sqrt(2) and sqrt(1/2).
ASPECT_RATIOS = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))


def anchors_A4(
    image_size: tuple[int, int],
    min_level: int,
    max_level: int,
    *,
    anchor_scale: float,
    octaves: int = 3,
    aspect_ratios: tuple[tuple[float, float], ...] = ASPECT_RATIOS,
) -> Tensor:
    """Anchors ordered level, y, x, octave, aspect; they may reach beyond the picture.

    Every level halves the extent rounding up, and a cell is as wide as the picture divided by the level's extent:
    320 pixels leave 3 cells on level 7, each 106.67 wide.

    Source: Tan et al., EfficientDet (2020); google/automl efficientdet/tf2/anchors.py.
    Shapes: (A, 4) float32.
    Units: image_size is (height, width) in pixels; anchor_scale is the side of the smallest square in cells.
    """
    growths = [2 ** (octave / octaves) for octave in range(octaves)]
    shapes_S2 = torch.tensor([(g * width, g * height) for g in growths for width, height in aspect_ratios]).double()
    levels = []
    for rows, columns in feature_sizes(*image_size, min_level, max_level):
        cell_2 = torch.tensor([image_size[1] / columns, image_size[0] / rows], dtype=torch.float64)
        index_YX2 = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), dim=-1)
        centre_YX12 = ((index_YX2 + 0.5) * cell_2).unsqueeze(-2)
        half_S2 = anchor_scale * cell_2 * shapes_S2 / 2
        levels.append(torch.cat([centre_YX12 - half_S2, centre_YX12 + half_S2], dim=-1).reshape(-1, 4))
    return torch.cat(levels).float()
