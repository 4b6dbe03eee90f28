"""Regions as COCO writes them, polygons and run lengths, from files that others made.

pycocotools draws polygons, and is handed only what it can draw: it trusts what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

PACKED = re.compile(r"(?:[P-o]{0,6}[0-O])*")
"""COCO's compressed run lengths: numbers of at most 7 groups of five bits, all but the last with a sign to go on."""
BEYOND = 16
"""Sides of the image by which a polygon may reach beyond it. Memory for drawing grows with the length of its edges."""


def polygons_region(polygons: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """The region, bool (H, W), of polygons ``[x1, y1, x2, y2, ...]`` in pixels, of three points or more; those of fewer
    have no area.

    Raises:
        ValueError: One is no such list, or reaches far beyond the image.
    """
    whole = [one for one in polygons if not isinstance(one, list) or len(one) >= 6]
    for one in whole:
        if not isinstance(one, list) or len(one) % 2 or not all(type(number) in (int, float) for number in one):
            raise ValueError("has a polygon that is no list of pairs of numbers")
        if not all(abs(number) <= BEYOND * max(shape) for number in one):  # also NaN
            raise ValueError("has a polygon that reaches far beyond the image")
    if not whole:
        return np.zeros(shape, bool)
    region: np.ndarray = coco.decode(coco.merge(coco.frPyObjects(whole, *shape))).astype(bool)
    return region


def runs_region(code: Any, shape: tuple[int, int]) -> np.ndarray:
    """The region, bool (H, W), of COCO's run-length encoding: ``size`` and ``counts``.

    Raises:
        ValueError: It is none, or is of an image of another size.
    """
    size = code.get("size") if isinstance(code, dict) else None
    if size != list(shape):
        raise ValueError(f"has a region of {size} pixels, the image {shape[0]} x {shape[1]}")
    return from_coco_counts(code.get("counts"), shape)


def from_coco_counts(counts: Any, shape: tuple[int, int]) -> np.ndarray:
    """The region, bool (H, W), of COCO's run lengths, column by column and first of pixels outside: numbers, or COCO's
    compressed text, in which numbers come in groups of five bits, from the third on less the number two before.

    Raises:
        ValueError: They are neither, or not those of so many pixels.

    >>> from_coco_counts([1, 3], (2, 2)).astype(int)
    array([[0, 1],
           [1, 1]])
    """
    if isinstance(counts, str) and PACKED.fullmatch(counts):
        lengths = _unpacked(counts)
    elif isinstance(counts, list) and all(type(one) is int and abs(one) < 1 << 31 for one in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise ValueError("has run lengths that are neither a list of whole numbers nor COCO's compressed text")
    if (lengths < 0).any() or lengths.sum() != shape[0] * shape[1]:
        pixels = f"{shape[0]} x {shape[1]} pixels"
        raise ValueError(f"has run lengths of {lengths.sum()} pixels, which do not add up to those of {pixels}")
    region: np.ndarray = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape[::-1]).T
    return region


def _unpacked(text: str) -> np.ndarray:
    """The numbers, int64 (N,), of a text that ``PACKED`` fits: groups of five bits, the lowest first, with the sign in
    the last."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes < 32)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((codes & 31) << 5 * place, first) if len(first) else np.zeros(0, np.int64)
    numbers -= np.where(codes[last] & 16, np.int64(1) << 5 * (last - first + 1), 0)
    for chain in (numbers[1::2], numbers[2::2]):
        np.cumsum(chain, out=chain)
    return numbers
