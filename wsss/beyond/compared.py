"""Maps of explainers brought to a form in which they can be compared, and how much two of them are alike.

A map is not negative, on a grid of fixed size, and adds up to 1; one that is zero everywhere stays so, and is counted
where it is reported, never left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

TOP = 0.1
"""Share of the cells that count as the highest."""


def unit_maps(maps: torch.Tensor, channels: str | None, grid: int, leak: float = 0.0) -> torch.Tensor:
    """Raw maps (R, h, w) or (R, 3, h, w) as fp32 (R, grid, grid) that add up to 1.

    Gradients of pixels: sizes added up over channels (Dombrowski et al. 2019); methods whose channels are to be added
    up (gradient x input): that sum, rectified; others: rectified. Then bilinear to the grid, anti-aliased where that
    is coarser: otherwise a map of 224 pixels would be judged by two per cent of them, and an attack could hide in the
    rest.

    Args:
        channels: How the explainer would have its channels reduced (``Explainer.channels``).
        leak: What negative values are multiplied with in place of being cut off, for attacks: where a map is cut off it
            has no derivative, and cannot be raised. What is positive still adds up to 1.
    """
    if maps.ndim == 4:
        maps = F.leaky_relu(maps.float().sum(1), leak) if channels == "sum" else maps.float().abs().sum(1)
    else:
        maps = F.leaky_relu(maps.float(), leak)
    maps = F.interpolate(maps[:, None], size=(grid, grid), mode="bilinear", align_corners=False, antialias=True)[:, 0]
    total = maps.relu().sum((1, 2), keepdim=True)
    return maps / torch.where(total > 0, total, 1)


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine of two maps of one shape; 0 where one is zero everywhere. Has derivatives."""
    x, y = a.flatten(), b.flatten()
    length = (x.square().sum() * y.square().sum()).clamp(min=1e-30).sqrt()
    return (x @ y) / length


def centre(a: torch.Tensor) -> torch.Tensor:
    """Centre of mass (y, x) of a map (h, w), in cells from 0; the middle for a map that is zero everywhere."""
    total = a.sum()
    even = torch.full_like(a, 1 / a.numel())
    shares = torch.where(total > 0, a / torch.where(total > 0, total, 1), even)
    y, x = (torch.arange(n, dtype=a.dtype, device=a.device) for n in a.shape)
    return torch.stack([(shares.sum(1) * y).sum(), (shares.sum(0) * x).sum()])


def top(a: torch.Tensor, share: float = TOP, count: int | None = None) -> torch.Tensor:
    """The highest cells of a map (h, w), bool (h, w): ``count``, or a share of all (at least one); of equal ones the
    first."""
    flat = a.flatten()
    order = flat.argsort(descending=True, stable=True)
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept[order[: count or max(1, round(share * len(flat)))]] = True
    return kept.view(a.shape)


def top_kept(a: torch.Tensor, b: torch.Tensor, share: float = TOP, count: int | None = None) -> float:
    """Share of the highest cells of one map that are among the highest of another.

    Examples:
        >>> a, b = torch.tensor([[4.0, 3], [2, 1]]), torch.tensor([[1.0, 2], [3, 4]])
        >>> top_kept(a, b, count=2)
        0.0
    """
    first, second = top(a, share, count), top(b, share, count)
    return float((first & second).sum() / first.sum())


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks float64 (n,) from 1, equal values sharing the mean of theirs."""
    _, inverse, amounts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(amounts)
    found: np.ndarray = (last - (amounts - 1) / 2)[inverse]
    return found


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of the ranks of two maps' cells; 1 where both are constant, 0 where one is.

    Examples:
        >>> round(spearman(torch.tensor([4.0, 3, 2, 1]), torch.tensor([1.0, 2, 3, 4])), 6)
        -1.0
    """
    x, y = (ranks(each.detach().cpu().numpy().ravel()) for each in (a, b))
    x, y = x - x.mean(), y - y.mean()
    length = float(np.sqrt((x @ x) * (y @ y)))
    if length == 0:
        return float(not (x @ x) and not (y @ y))
    return float(x @ y) / length


def against(found: torch.Tensor, clean: torch.Tensor, target: torch.Tensor | None) -> dict[str, Any]:
    """A map (h, w) beside that of the clean image and what it was to become (None where there is no such map):
    cosines, rank correlation, share of the clean top kept, shift of the centre in shares of the diagonal."""
    diagonal = float(np.hypot(*clean.shape))
    return {
        "cosine_clean": float(cosine(found, clean)),
        "cosine_target": None if target is None else float(cosine(found, target)),
        "spearman": spearman(found, clean),
        "top_kept": top_kept(clean, found),
        "shift": float((centre(found) - centre(clean)).norm()) / diagonal,
        "zero_map": bool(not found.any()),
    }
