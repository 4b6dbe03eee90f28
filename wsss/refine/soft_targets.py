"""Probabilities of trained networks, kept small: what a student learns from beside the masks.

Of q, which sums to 1 over the background and the tags, the tags alone are kept, as means over cells of 4 x 4 pixels in
255 levels; the background is what is left to 1.

Source: soft targets are those of Hinton et al. (2015), whose student matches its teacher's probabilities. Keeping them
on a grid and in few levels is this project's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

STRIDE = 4
"""Pixels a cell."""
LEVELS = 255


def on_grid(q: np.ndarray) -> np.ndarray:
    """The probabilities of the tags on the grid, without the background.

    ``q``: float32 (|K| + 1, H, W), background first. Returns float32 (|K|, ceil(H/4), ceil(W/4)) in [0, 1]: means over
    the pixels that a cell covers when the grid is stretched to exactly (H, W).

    Examples:
        >>> on_grid(np.float32([[[0.25, 0.75]], [[0.75, 0.25]]]))
        array([[[0.5]]], dtype=float32)
    """
    height, width = q.shape[1:]
    size = -(-height // STRIDE), -(-width // STRIDE)
    tags = np.ascontiguousarray(q[1:])
    means: np.ndarray = F.adaptive_avg_pool2d(torch.from_numpy(tags), size).clamp(max=1).numpy()
    return means


def soft_levels(classes: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Levels of the background and of the tags, the tags in ascending order, uint8 (n + 1, h, w) that sum to 255 (to
    more by rounding where the background has nothing).

    ``classes``: (n,) different classes; ``maps``: their shares, float (n, h, w).

    Examples:
        >>> soft_levels(np.array([3, 1]), np.float32([[[0.2]], [[0.6]]])).ravel()
        array([ 51, 153,  51], dtype=uint8)
    """
    tags = np.rint(maps[np.argsort(classes)] * np.float32(LEVELS)).astype(np.int32)
    background = np.maximum(LEVELS - tags.sum(axis=0, keepdims=True), 0)
    return np.concatenate([background, tags]).astype(np.uint8)
