"""Views of class activation maps: small native maps of several scales become one map at stride 4 or at image size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F

LOW_STRIDE = 4
EPSILON = 1e-5


def _summed(maps: Sequence[np.ndarray], size: tuple[int, int]) -> torch.Tensor:
    """Sum over scales of the bilinear resizes (corners not aligned) to ``size``; float32 (n, h, w)."""
    views = (
        F.interpolate(torch.from_numpy(array)[None], size=size, mode="bilinear", align_corners=False)[0]
        for array in maps
    )
    return reduce(torch.add, views)


def _normalised(total: torch.Tensor) -> np.ndarray:
    """Each map divided by (its maximum + 1e-5); all values end below 1, an empty map stays 0."""
    return (total / (total.amax(dim=(1, 2), keepdim=True) + EPSILON)).numpy()


def decode_low(maps: Sequence[np.ndarray], size: tuple[int, int], relative: bool = True) -> np.ndarray:
    """View at stride 4: float32 (n, (H-1)//4+1, (W-1)//4+1) of native ``maps``; ``size`` is (H, W).

    ``relative``: each map over its own maximum, in [0, 1); else the mean over scales, in the unit of the maps.
    """
    height, width = size
    low = (height - 1) // LOW_STRIDE + 1, (width - 1) // LOW_STRIDE + 1
    if not len(maps[0]):
        return np.zeros((0, *low), np.float32)
    total = _summed(maps, low)
    return _normalised(total) if relative else (total / len(maps)).numpy()


def decode_full(
    maps: Sequence[np.ndarray], size: tuple[int, int], round_to: int = 16, relative: bool = True
) -> np.ndarray:
    """View at image size: float32 (n, H, W) of native ``maps``; ``relative`` as in :func:`decode_low`.

    The maps are stretched to (H, W) rounded up to a multiple of ``round_to`` and then cropped: a cell of a stride-16
    network covers 16 pixels, and the last one reaches over the border (as in IRN, Ahn et al. 2019, and those after it).
    ``round_to=1`` stretches to exactly (H, W).
    """
    height, width = size
    if not len(maps[0]):
        return np.zeros((0, height, width), np.float32)
    padded = -(-height // round_to) * round_to, -(-width // round_to) * round_to
    total = _summed(maps, padded)[:, :height, :width]
    return _normalised(total) if relative else (total / len(maps)).numpy()
