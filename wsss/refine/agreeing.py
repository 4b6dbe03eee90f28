"""The threshold of saliency that agrees best with class activation maps, which looks at no mask.

How high saliency is depends on how long and on how much its network was trained; so a constant that is right for a
thousand photos may lose half of the objects with fifty. The maps of the tags are wrong about borders, but not about how
much of the images is an object. A threshold is therefore chosen for all images together: the one at which most pixels
have the same answer from both, an object or not. Above it a pixel is more often foreground of the maps than not: it is
where saliency, read as a probability of that foreground, passes one half. The rule is this project's.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from wsss.refine.thresholds import otsu_of_each

STEPS = 100
"""Thresholds that are tried: 0, 0.01, ..., 0.99."""


def salient_counts(saliency: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Shares of an image's pixels by saliency and by what its maps say, float64 (2, STEPS + 1): in row 0 those that
    exceed no map's threshold, in row 1 those that exceed one, Otsu's of each map; column k holds the pixels that exceed
    k of the thresholds 0, 0.01, ...

    ``saliency``: float32 (H, W); ``maps``: float32 (n, H, W) in [0, 1], n >= 1.

    Examples:
        >>> counts = salient_counts(np.float32([[0.0, 0.005, 0.995, 1.0]]), np.float32([[[0.0, 0.1, 0.9, 0.2]]]))
        >>> counts[:, [0, 1, 100]]
        array([[0.25, 0.25, 0.25],
               [0.  , 0.  , 0.25]])
    """
    thresholds = (np.arange(STEPS) / STEPS).astype(np.float32)
    exceeded = np.searchsorted(thresholds, saliency.ravel(), side="left")
    found = (maps > otsu_of_each(maps)[:, None, None]).any(axis=0).ravel()
    counts = [np.bincount(exceeded[found == answer], minlength=STEPS + 1) for answer in (False, True)]
    return np.stack(counts) / saliency.size


def agreeing_threshold(counts: Iterable[np.ndarray]) -> float:
    """The threshold at which most pixels have the same answer, each image counting alike; of equal ones the lowest.

    ``counts``: of each image, see ``salient_counts``. Raises ``ValueError`` where there is none.

    Examples:
        >>> images = [salient_counts(np.float32([[0.1, 0.4, 0.6, 0.7]]), np.float32([[[0.1, 0.2, 0.9, 0.8]]]))]
        >>> agreeing_threshold(images)
        0.4
    """
    images = list(counts)
    if not images:
        raise ValueError("no image to choose a threshold on")
    nothing, found = np.sum(images, axis=0)
    same = np.cumsum(nothing)[:-1] + np.cumsum(found[::-1])[::-1][1:]
    return int(np.argmax(same > same.max() - 1e-9)) / STEPS
