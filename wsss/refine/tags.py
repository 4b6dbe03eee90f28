"""Masks and maps made elsewhere, judged by the tags: what is of a class that the image is not tagged with, what becomes
of it, and which tags nothing speaks for.

This project's own: whoever segments without tags (a promptable network, a detector with boxes) names classes that are
not there, and the tags of an image say so at no cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from wsss.data.index import Item
from wsss.data.palette import IGNORE

COLUMNS = ("image", "class", "finding", "pixels")
"""Of ``tags.csv``: a row for each class of an image that was taken out, and for each tag without a pixel or a map."""
UNTAGGED, WITHOUT = "not tagged", "tagged but absent"


class Judged(NamedTuple):
    """What the tags say of an image: (class from 0, pixels) of each class that is there untagged, and the tags that
    are not there. Pixels are 0 for maps."""

    untagged: list[tuple[int, int]]
    absent: list[int]


def judge(mask: np.ndarray, labels: Sequence[int]) -> Judged:
    """Compare a mask with the tags of its image.

    Args:
        mask: uint8 (H, W): 0 background, c + 1 object class c, 255 ignore.
        labels: The tags, classes from 0.

    Examples:
        >>> judge(np.array([[0, 1, 1, 3, 255]], np.uint8), labels=(0, 1))  # tagged 0 and 1; there are 0 and 2
        Judged(untagged=[(2, 1)], absent=[1])
    """
    pixels = np.bincount(mask.ravel(), minlength=256)
    there = [value - 1 for value in np.flatnonzero(pixels).tolist() if 0 < value < IGNORE]
    untagged = [(c, int(pixels[c + 1])) for c in there if c not in labels]
    return Judged(untagged, [c for c in labels if c not in there])


def without_untagged(mask: np.ndarray, judged: Judged, become: Literal["background", "ignore"]) -> np.ndarray:
    """The mask with every pixel of an untagged class as background (0) or left out (255); uint8 (H, W).

    Examples:
        >>> mask = np.array([[0, 1, 3, 255]], np.uint8)
        >>> without_untagged(mask, judge(mask, labels=(0,)), "ignore")
        array([[  0,   1, 255, 255]], dtype=uint8)
    """
    values = np.arange(256, dtype=np.uint8)
    values[[c + 1 for c, _ in judged.untagged]] = 0 if become == "background" else IGNORE
    cleaned: np.ndarray = values[mask]
    return cleaned


def totals(judged: Sequence[Judged], items: Sequence[Item], classes: Sequence[str]) -> dict[str, Any]:
    """What the tags say of all images, for the manifest: ``untagged_images``, ``untagged_share`` (of all pixels),
    ``untagged`` (for each class that there was: ``images`` and ``pixels``), ``tags_absent`` (number of pairs of image
    and tag) and ``absent_images``."""
    images: Counter[int] = Counter(c for one in judged for c, _ in one.untagged)
    pixels: Counter[int] = Counter()
    for one in judged:
        pixels.update(dict(one.untagged))
    area = max(1, sum(item.height * item.width for item in items))
    return {
        "untagged_images": sum(bool(one.untagged) for one in judged),
        "untagged_share": round(pixels.total() / area, 6),
        "untagged": {classes[c]: {"images": images[c], "pixels": pixels[c]} for c in sorted(images)},
        "tags_absent": sum(len(one.absent) for one in judged),
        "absent_images": sum(bool(one.absent) for one in judged),
    }


def rows(
    judged: Sequence[Judged], items: Sequence[Item], classes: Sequence[str]
) -> Iterable[tuple[str, str, str, int]]:
    """The rows of ``tags.csv``, image after image."""
    for item, one in zip(items, judged, strict=True):
        yield from ((item.id, classes[c], UNTAGGED, pixels) for c, pixels in one.untagged)
        yield from ((item.id, classes[c], WITHOUT, 0) for c in one.absent)
