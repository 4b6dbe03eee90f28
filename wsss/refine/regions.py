"""Pseudo-labels snapped to regions that somebody else cut out: masks of a promptable network (SAM, SAM 2), superpixels.

The rule follows SEPL ("Segment Anything Model Enhanced Pseudo Labels", Chen et al. 2023), whose published form takes
classes and files in the order in which they come. This one does not depend on either:

1. A region that takes more than ``whole`` of the image is no region.
2. A region r may take class c of the pseudo-label P if |P_c & r| > ``covered`` |r| or |P_c & r| >= ``covering`` |P_c|,
   and takes the one with the largest |P_c & r| among those that pass; among equals the one of which it holds the larger
   share |P_c & r| / |P_c|; none where that is equal too.
3. Regions with a class are painted by falling area, so the smallest stays on top, and among equals by rising
   ``predicted_iou``; where two that are equal in both claim a pixel for two classes, neither gets it.
4. Pixels in regions without a class become background; those outside all regions keep their label. Pixels that P leaves
   out (255) stay left out unless a region with a class covers them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsss.data.images import UNREADABLE
from wsss.data.outlines import runs_region
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.system.files import parse_json

VERSION = 1
SUFFIXES = (".json", ".png")
"""Of files of regions."""


class Region(NamedTuple):
    """A region of an image: ``pixels`` int64 (n,), ascending places in the flattened image; ``iou`` in [0, 1], how
    sure its maker was of it (0 where that is not told)."""

    pixels: np.ndarray
    iou: float


class Merged(NamedTuple):
    """A mask uint8 (H, W), how many regions there were, and how many of them took a class."""

    mask: np.ndarray
    regions: int
    taken: int


def merged(
    mask: np.ndarray,
    regions: Iterable[Region],
    *,
    covered: float = 0.5,
    covering: float = 0.85,
    whole: float = 0.95,
) -> Merged:
    """Snap a pseudo-label to regions, by the rule above.

    Args:
        mask: P, uint8 (H, W): 0 background, c + 1 object class c, 255 ignore.
        regions: In any order; they may overlap, and need not cover the image.
        covered, covering, whole: As above, in [0, 1].

    Examples:
        >>> mask = np.array([[1, 1, 0, 0, 0, 2]], np.uint8)
        >>> head, tail = Region(np.array([0, 1, 2]), 0.9), Region(np.array([4, 5]), 0.9)
        >>> merged(mask, [head, tail]).mask  # the first holds 2/3 of class 0, the second all of class 1
        array([[1, 1, 1, 0, 2, 2]], dtype=uint8)
    """
    flat = mask.ravel()
    totals = np.bincount(flat, minlength=256)
    result, kept = flat.copy(), []
    number = 0
    for region in regions:
        number += 1
        if not len(region.pixels) or len(region.pixels) > whole * flat.size:
            continue
        inside = flat[region.pixels]
        result[region.pixels] = np.where(inside == IGNORE, IGNORE, 0)
        if label := _label(np.bincount(inside, minlength=256), totals, covered, covering):
            kept.append((-len(region.pixels), region.iou, label, region.pixels))
    kept.sort(key=lambda one: one[:2])
    for _, equals in groupby(kept, key=lambda one: one[:2]):
        _paint(result, [(label, pixels) for *_, label, pixels in equals])
    return Merged(result.reshape(mask.shape), number, len(kept))


def _label(within: np.ndarray, totals: np.ndarray, covered: float, covering: float) -> int:
    """The label that a region takes; 0: none. ``within``, ``totals``: pixels of each value, in it and in the mask."""
    size = int(within.sum())
    there = [int(v) for v in np.flatnonzero(within[1:IGNORE]) + 1]
    passing = [v for v in there if within[v] > covered * size or within[v] >= covering * totals[v]]
    if not passing:
        return 0
    best = max((int(within[v]), -int(totals[v])) for v in passing)
    leading = [v for v in passing if (int(within[v]), -int(totals[v])) == best]
    return leading[0] if len(leading) == 1 else 0


def _paint(result: np.ndarray, equals: Sequence[tuple[int, np.ndarray]]) -> None:
    """Paint regions among which nothing decides: what they claim for two classes stays as it is."""
    if len(equals) == 1:
        result[equals[0][1]] = equals[0][0]
        return
    low, high = np.full(len(result), IGNORE, np.uint8), np.zeros(len(result), np.uint8)
    for label, pixels in equals:
        low[pixels] = np.minimum(low[pixels], label)
        high[pixels] = np.maximum(high[pixels], label)
    agreed = low == high
    result[agreed] = high[agreed]


def find_regions(folder: Path, id: str) -> Path | None:
    """The file of an image's regions, ``ID.json`` or ``ID.png``; None where there is none.

    Raises:
        WsssError: There are both.
    """
    found = [path for suffix in SUFFIXES if (path := folder / f"{id}{suffix}").is_file()]
    if len(found) > 1:
        raise WsssError(f"{folder} has {found[0].name} and {found[1].name} for one image; take one of them away")
    return found[0] if found else None


def read_regions(path: Path, size: tuple[int, int]) -> list[Region]:
    """The regions of an image of ``size`` = (height, width).

    A JSON file is a list of records as segment-anything's automatic mask generation writes them (``scripts/amg.py
    --convert-to-rle``): ``segmentation`` is COCO's run-length encoding with ``size`` and ``counts`` (compressed or a
    list), ``predicted_iou`` may stand beside it. A PNG file has one channel of 8 or 16 bits: 0 no region, every other
    value a region.

    Raises:
        WsssError: The file cannot be read, or is for an image of another size.
    """
    return _from_json(path, size) if path.suffix == ".json" else _from_png(path, size)


def _from_json(path: Path, size: tuple[int, int]) -> list[Region]:
    try:
        records = parse_json(path.read_text("utf-8"))
        if not isinstance(records, list):
            raise ValueError("it holds no list")
        found = []
        for record in records:
            code = record["segmentation"]
            if tuple(code["size"]) != size:
                raise WsssError(
                    f"{path}: a region is of an image of {code['size'][0]} x {code['size'][1]} pixels, the image is "
                    f"{size[0]} x {size[1]}"
                )
            iou = float(record.get("predicted_iou", 0.0))
            if not math.isfinite(iou):
                raise ValueError(f"a region has a predicted_iou of {iou}")
            found.append(Region(np.flatnonzero(runs_region(code, size)), iou))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        form = (
            "a list of records with 'segmentation' (COCO RLE: 'size', 'counts'), as amg.py --convert-to-rle writes it"
        )
        raise WsssError(f"{path}: cannot be read as regions ({error!r}); wanted is {form}") from None
    return found


def _from_png(path: Path, size: tuple[int, int]) -> list[Region]:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "I;16", "I;16B", "I"):
                raise ValueError(f"its colour mode is {image.mode}")
            labels = np.asarray(image).astype(np.int64)
    except UNREADABLE as error:
        raise WsssError(
            f"{path}: cannot be read as regions ({error}); wanted is a PNG of one channel of 8 or 16 bits, 0 for none"
        ) from None
    if labels.shape != size:
        raise WsssError(f"{path} has {labels.shape[0]} x {labels.shape[1]} pixels, the image {size[0]} x {size[1]}")
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    return [Region(pixels, 0.0) for pixels in np.split(order, starts[1:]) if flat[pixels[0]] != 0]
