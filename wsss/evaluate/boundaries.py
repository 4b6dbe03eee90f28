"""Boundary IoU: how well masks agree near the contours of a class (Cheng, Girshick, Dollar, Berg and Kirillov, CVPR
2021)."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from wsss.data.palette import IGNORE

WIDTH = 0.02
"""Width of the band along a contour, as a share of the image's diagonal (published: 2 %)."""


def band(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a region that are at most ``width`` from its outside, in steps to one of 8 neighbours; what is
    beyond the image counts as outside. bool (H, W) of bool (H, W).

    Examples:
        >>> band(np.ones((3, 5), bool), 1).astype(int)
        array([[1, 1, 1, 1, 1],
               [1, 0, 0, 0, 1],
               [1, 1, 1, 1, 1]])
    """
    steps = ndimage.distance_transform_cdt(np.pad(region, 1), "chessboard")[1:-1, 1:-1]
    found: np.ndarray = region & (steps <= width)
    return found


def count_boundaries(truth: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """Intersection and union of the bands of truth and mask of each object class in one image, in pixels.

    The width is ``WIDTH`` of the diagonal, at least 1 pixel. Pixels whose truth is 255 do not count.

    Args:
        truth, mask: Integers (H, W), 0 background, c + 1 object class c, 255 unknown.
        classes: Number of object classes C.

    Returns:
        int64 (C, 2), to be added up over images; boundary IoU is the one over the other.
    """
    known, width = truth != IGNORE, max(1, round(WIDTH * math.hypot(*truth.shape)))
    counts = np.zeros((classes, 2), np.int64)
    for label in np.union1d(truth, mask).tolist():
        if 1 <= label <= classes:
            true, given = (band(of == label, width) & known for of in (truth, mask))
            counts[label - 1] = (true & given).sum(), (true | given).sum()
    return counts


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """Boundary IoU of each object class from the sums of ``count_boundaries``, int64 (C, 2): float64 (C,), fractions,
    NaN for a class that occurs neither in the truth nor in the masks.

    Examples:
        >>> boundary_iou(np.array([[3, 12], [0, 0]]))
        array([0.25,  nan])
    """
    with np.errstate(invalid="ignore"):
        shares: np.ndarray = counts[:, 0] / counts[:, 1]
    return shares
