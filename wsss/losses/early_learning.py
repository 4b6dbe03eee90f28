"""When a network begins to memorise wrong masks, class by class, and how masks are corrected from then on (ADELE, Liu
et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import least_squares

from wsss.data.transforms import IGNORE
from wsss.losses.segmentation import pixel_counts
from wsss.refine.self_training import KEPT, SMALL

POINTS = 3
"""Epochs before a curve of three parameters can be fitted."""


def rise(x: np.ndarray, a: float, b: float, g: float) -> np.ndarray:
    """The curve of early learning, a (1 - exp(-x^b / g)), at the ends of epochs x >= 1 (ADELE, equation 2)."""
    found: np.ndarray = a * (1 - np.exp(-(x**b) / g))
    return found


def slope_fall(curve: Sequence[float]) -> float:
    """How much of its first slope a curve has lost, 1 - f'(n) / f'(1), with f = ``rise`` fitted to it.

    Least squares with a and b in [0, 1], g > 0 and later points weighted more (standard deviations that fall
    geometrically from 1 to 0.1, as published); f'(n) / f'(1) = n^(b-1) exp((1 - n^b) / g).

    Args:
        curve: IoU at the ends of the epochs 1 to n, in [0, 1].

    Returns:
        A number in [0, 1]; 0 where there are fewer than ``POINTS`` points, and where the last one is 0: nothing was
        learnt early.

    Examples:
        >>> import math
        >>> steep = [0.6 * (1 - math.exp(-x / 0.5)) for x in (1, 2, 3)]  # a = 0.6, b = 1, g = 0.5
        >>> round(slope_fall(steep), 3), round(1 - math.exp(-2 / 0.5), 3)
        (0.982, 0.982)
    """
    count = len(curve)
    if count < POINTS or not curve[-1] > 0:
        return 0.0
    x, deviations = np.arange(1.0, count + 1), np.geomspace(1, 0.1, count)
    fitted = least_squares(
        lambda parameters: (rise(x, *parameters) - curve) / deviations,
        (1.0, 1.0, 1.0),
        bounds=([0.0, 1e-3, 1e-3], [1.0, 1.0, np.inf]),
    )
    _, b, g = fitted.x
    return 1 - float(count ** (b - 1) * np.exp((1 - count**b) / g))


def corrected_masks(
    probabilities: torch.Tensor,
    masks: torch.Tensor,
    started: torch.Tensor,
    inside: torch.Tensor,
    sure: float,
    guard: bool,
) -> torch.Tensor:
    """Masks in which a network that is sure has overruled the labels, int64 (B, H, W).

    A pixel gets the most probable label where that has a probability above ``sure`` and stands among those that are
    corrected. 255 is overruled like any label. With ``guard`` a label that keeps less than half of its pixels in an
    image's mask, and less than 5 % of the image, gets its pixels back.

    Args:
        probabilities: float32 (B, C + 1, H, W), of the tagged classes alone.
        masks: int64 (B, H, W), 255 left out.
        started: Labels that are corrected, bool (C + 1,).
        inside: bool (B, H, W), False on the canvas around an image, which stays as it is.
        sure: In [0, 1].
        guard: See above.
    """
    most, label = probabilities.max(dim=1)
    found = torch.where(started[label] & (most > sure) & inside, label, masks)
    if not guard:
        return found
    before, after = pixel_counts(masks), pixel_counts(found)
    lost = (after < KEPT * before) & (after < SMALL * inside.flatten(1).sum(dim=1, keepdim=True))
    lost[:, 0] = lost[:, IGNORE] = False
    back = lost.gather(1, masks.flatten(1)).view_as(masks)
    return torch.where(back, masks, found)
