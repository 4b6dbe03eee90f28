"""Thresholds that look at no mask: Otsu's, of every map of every image.

Otsu (1979), "A Threshold Selection Method from Gray-Level Histograms": of all thresholds take the one that parts the
values into the two classes whose means lie farthest apart, each weighted by its share of the pixels. Here the values
are those of one map, in ``BINS`` bins of [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

BINS = 64
"""Bins of [0, 1]. Their borders are exact in float32."""


class Band(NamedTuple):
    """Two background scores of every map, float32 (n,): a sure reading and a generous one."""

    foreground: np.ndarray
    background: np.ndarray


def otsu(values: np.ndarray) -> np.float32:
    """Otsu's threshold of one map: a value above it belongs to the object, one that equals it to the background.

    Bin k holds the values with k / 64 < v <= (k + 1) / 64, the first one also 0. A threshold t = k / 64 parts the
    pixels into a share w0 at or below it and a share w1 above it, with means m0 and m1 of the numbers of their bins,
    and the variance between the two is

        w0 w1 (m1 - m0)^2.

    The largest variance wins, the lowest threshold among equals. A map that lies in one bin cannot be parted: its
    threshold is the upper border of this bin, so that the map claims nothing.

    Args:
        values: float32 of any shape, not empty, in [0, 1]; what lies outside counts as 0 or 1.

    Returns:
        A multiple of 1 / 64 in [0, 1].

    Raises:
        ValueError: There is no value.

    Examples:
        >>> float(otsu(np.float32([0.0, 0.1, 0.1, 0.7, 0.8])))  # all between 0.1 and 0.7 part them alike
        0.109375
        >>> float(otsu(np.zeros(4, np.float32)))  # no value exceeds it: background everywhere
        0.015625
    """
    if not values.size:
        raise ValueError("a map without pixels has no threshold")
    bins = np.clip(np.ceil(values.ravel() * np.float32(BINS)), 1, BINS).astype(np.int64) - 1
    counts = np.bincount(bins, minlength=BINS)
    pixels, moment = counts.sum(), (counts * np.arange(BINS)).sum()
    below, moment_below = counts.cumsum()[:-1], (counts * np.arange(BINS)).cumsum()[:-1]
    above = pixels - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return np.float32((bins[0] + 1) / BINS)
    # w0 w1 (m1 - m0)^2 = (below moment - pixels moment_below)^2 / (pixels^2 below above), whole numbers up to here
    distance = (below * moment - pixels * moment_below).astype(np.float64)
    variance = np.where(parted, distance**2 / np.maximum(1, below * above), -1)
    return np.float32((variance.argmax() + 1) / BINS)


def otsu_of_each(maps: np.ndarray) -> np.ndarray:
    """Otsu's threshold of every map, float32 (n,). ``maps``: float32 (n, H, W) in [0, 1], n may be 0.

    Examples:
        >>> otsu_of_each(np.float32([[[0.0, 0.5, 1.0, 1.0]], [[0.2, 0.2, 0.2, 0.6]]]))
        array([0.5     , 0.203125], dtype=float32)
    """
    return np.array([otsu(each) for each in maps], np.float32)


def otsu_band(maps: np.ndarray) -> Band:
    """A sure and a generous background score of every map around its Otsu's threshold t: t + (1 - t) / 3 and 2 t / 3.

    The sure one lies a third of the way from t to 1, the generous one a third of the way from t to 0; t = 0.3 gives
    0.53 and 0.2. These thirds are this project's choice, no published one. A map that lies in one bin claims nothing
    surely; unless its values are near 0, all of it is unsure.

    Args:
        maps: float32 (n, H, W) in [0, 1], n may be 0.

    Examples:
        >>> band = otsu_band(np.float32([[[0.0, 0.25, 1.0, 1.0]]]))  # t is 1/4
        >>> band.foreground, band.background
        (array([0.5], dtype=float32), array([0.16666667], dtype=float32))
    """
    limits = otsu_of_each(maps)
    return Band(limits + (1 - limits) / np.float32(3), limits * np.float32(2) / np.float32(3))


def described(limits: Iterable[Iterable[float]]) -> dict[str, Any]:
    """Facts for a manifest. ``limits``: Otsu's thresholds of the maps of each image, which may have none.

    Returns:
        ``policy``; ``images`` with a map, ``maps``, and the ``mean``, standard deviation ``std``, ``lowest`` and
        ``highest`` of their thresholds; the last four are absent without a map.

    Examples:
        >>> described([[0.25, 0.5], [], [0.75]])
        {'policy': 'otsu', 'images': 2, 'maps': 3, 'mean': 0.5, 'std': 0.2041, 'lowest': 0.25, 'highest': 0.75}
    """
    images = [list(each) for each in limits]
    every = np.array([value for each in images for value in each], np.float64)
    facts: dict[str, Any] = {"policy": "otsu", "images": sum(map(bool, images)), "maps": len(every)}
    if len(every):
        numbers = {"mean": every.mean(), "std": every.std(), "lowest": every.min(), "highest": every.max()}
        facts |= {name: round(float(value), 4) for name, value in numbers.items()}
    return facts
