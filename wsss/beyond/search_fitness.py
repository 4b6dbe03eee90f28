"""How much two networks' maps are alike, and what a network is worth for that."""

from __future__ import annotations

import torch
from torch.nn import functional as F

LEAST = 1e-6
"""Keeps what is one over a distance finite."""


def unit_rows(maps: torch.Tensor, channels: str | None, grid: int) -> torch.Tensor:
    """Raw maps (R, h, w) or (R, 3, h, w) as vectors fp32 (R, grid x grid) of length 1; a map of zeros stays one.

    Gradients of pixels: the largest size among the channels; other maps: rectified. Then bilinear to the grid,
    anti-aliased where that is coarser.

    Args:
        channels: How the explainer would have its channels reduced (``Explainer.channels``).
    """
    maps = torch.where(maps.isfinite(), maps, 0.0).float()
    if maps.ndim == 4:
        maps = maps.sum(1).relu() if channels == "sum" else maps.abs().amax(1)
    maps = F.interpolate(maps.relu()[:, None], (grid, grid), mode="bilinear", align_corners=False, antialias=True)
    rows = maps.flatten(1)
    length = rows.norm(dim=1, keepdim=True)
    found: torch.Tensor = rows / torch.where(length > 0, length, 1.0)
    return found


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Euclidean distances of rows (R, n), fp32 (R,)."""
    found: torch.Tensor = (a - b).norm(dim=1)
    return found


def similarity(kind: str, teacher: torch.Tensor, student: torch.Tensor) -> float:
    """How alike maps are that are given as rows of length 1 (R, n), all at once; more is better.

    ``euclidean``: 1 / (1e-6 + mean d); ``published``: mean of 1 / (d + 1e-6), as in CAM-NAS; ``cosine``: mean cosine,
    0 for a map of zeros; ``pearson``: mean correlation, 0 where a map is constant.

    Examples:
        >>> a, b = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.0, 0, 0, 1]])
        >>> round(similarity("euclidean", a, b), 5), similarity("cosine", a, b)
        (0.70711, 0.0)
    """
    if kind == "euclidean":
        return float(1 / (LEAST + distances(teacher, student).double().mean()))
    if kind == "published":
        return float((1 / (distances(teacher, student).double() + LEAST)).mean())
    x, y = teacher.double(), student.double()
    if kind == "pearson":
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    length = x.norm(dim=1) * y.norm(dim=1)
    return float(((x * y).sum(1) / torch.where(length > 1e-12, length, torch.inf)).mean())
