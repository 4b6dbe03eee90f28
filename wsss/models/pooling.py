"""Average pooling to a grid of any size."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def average_pool(features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``F.adaptive_avg_pool2d``: means over ``size`` windows, which overlap where a side is no multiple.

    Under ``torch.use_deterministic_algorithms`` as products with two matrices, P_h A P_w^T, equal but for rounding: its
    own way back adds up in any order on a GPU.

    Args:
        features: (B, D, h, w).
        size: (rows, columns) of the grid.

    Examples:
        >>> average_pool(torch.tensor([[[[1.0, 2.0, 3.0]]]]), (1, 2))  # the middle belongs to both
        tensor([[[[1.5000, 2.5000]]]])
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.adaptive_avg_pool2d(features, size)
    of_rows, of_columns = (_shares(n, cells, features) for n, cells in zip(features.shape[-2:], size, strict=True))
    return of_rows @ features @ of_columns.T


def _shares(length: int, cells: int, like: torch.Tensor) -> torch.Tensor:
    """(cells, length): the share of each of ``length`` values in each mean."""
    place, cell = torch.arange(length, device=like.device), torch.arange(cells, device=like.device)[:, None]
    inside = (place >= cell * length // cells) & (place < -(-(cell + 1) * length // cells))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
