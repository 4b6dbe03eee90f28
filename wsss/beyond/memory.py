"""What is stored of an image that is to be replayed, and which images a memory takes: boxes, compressions, selection.

Boxes around what a map points at, full resolution inside and a quarter of it outside: Luo, Liu, Schiele and Sun, CVPR
2023 (class-incremental classification); crops alone: Saha and Roy, WACV 2023. What is counted here are encoded bytes,
not pixels, which are no measure of a JPEG.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from wsss.settings import MemorySettings
from wsss.store.exemplars import Box, jpeg, png

VERSION = 1
WHOLE = 0.85
"""Share of the image above which boxes are not worth a context: the image is stored whole."""
MOST_BOXES = 4
PATIENCE = 20
"""A memory is full once so many images in a row did not fit."""


def boxes_of(hot: np.ndarray, dilate: int = 0, components: bool = False) -> list[Box]:
    """Tight boxes around what is hot, each larger by ``dilate`` pixels on all sides as far as the image goes.

    Args:
        hot: bool (H, W).
        dilate: In pixels, at least 0.
        components: A box for each of the four largest 8-connected parts, largest first; boxes that overlap become one.
            Otherwise one box around all.

    Returns:
        Boxes that do not overlap; none where nothing is hot.

    Examples:
        >>> hot = np.zeros((4, 4), bool)
        >>> hot[1, 1] = hot[2, 2] = True
        >>> boxes_of(hot), boxes_of(hot, dilate=1)
        ([(1, 1, 3, 3)], [(0, 0, 4, 4)])
    """
    if not hot.any():
        return []
    if not components:
        return [_around(hot, dilate)]
    parts, count = ndimage.label(hot, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-sizes, kind="stable")[:MOST_BOXES] + 1
    return _apart([_around(parts == number, dilate) for number in largest])


def _around(hot: np.ndarray, dilate: int) -> Box:
    rows, columns = np.flatnonzero(hot.any(1)), np.flatnonzero(hot.any(0))
    height, width = hot.shape
    return (
        max(0, int(rows[0]) - dilate),
        max(0, int(columns[0]) - dilate),
        min(height, int(rows[-1]) + 1 + dilate),
        min(width, int(columns[-1]) + 1 + dilate),
    )


def _apart(boxes: list[Box]) -> list[Box]:
    """The same area, or more, in boxes that do not overlap."""
    found: list[Box] = []
    for box in boxes:
        while (other := next((one for one in found if _overlap(one, box)), None)) is not None:
            found.remove(other)
            box = (min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3]))
        found.append(box)
    return found


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def moved(boxes: Sequence[Box], size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """Boxes of the same sizes at random places in an image of ``size`` (H, W); those that overlap become one."""
    found: list[Box] = []
    for top, left, bottom, right in boxes:
        high, wide = bottom - top, right - left
        y, x = int(rng.integers(size[0] - high + 1)), int(rng.integers(size[1] - wide + 1))
        found.append((y, x, y + high, x + wide))
    return _apart(found)


def generator(seed: int, purpose: str, *names: Hashable) -> np.random.Generator:
    """Random numbers that follow from the seed, what they are for, and names alone."""
    key = hashlib.sha256(repr((purpose, *names)).encode()).digest()[:8]
    return np.random.default_rng([seed, int.from_bytes(key, "little")])


def box_share(boxes: Sequence[Box], size: tuple[int, int]) -> float:
    """Share of an image of ``size`` (H, W) that lies in boxes that do not overlap."""
    return sum((bottom - top) * (right - left) for top, left, bottom, right in boxes) / (size[0] * size[1])


def pixel_cost(share: float, factor: int) -> float:
    """r + (1 - r) / f^2: pixels that are kept, as a share (Luo et al. 2023), of boxes of share r on a context reduced
    by f. It is no measure of bytes.

    Examples:
        >>> pixel_cost(0.25, 2), pixel_cost(1.0, 2), pixel_cost(0.0, 2)
        (0.4375, 1.0, 0.25)
    """
    return share + (1 - share) / factor**2


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """An image uint8 (H, W, 3) with both sides over ``factor``, at least one pixel each (bilinear, antialiased)."""
    height, width = (max(1, round(side / factor)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def compressed(
    pixels: np.ndarray, boxes: Sequence[Box], settings: MemorySettings, file: Callable[[], bytes]
) -> tuple[bytes, list[Box], list[bytes]]:
    """What is stored of an image.

    Without boxes a method that has some stores the context alone, and ``crop`` nothing; boxes over ``WHOLE`` of the
    image are not worth their context: the image is stored whole. Boxes are cut from the image itself, so nothing is
    encoded twice.

    Args:
        pixels: RGB uint8 (H, W, 3).
        boxes: In pixels.
        settings: Method and qualities.
        file: Gives the image's file, for ``whole`` with ``quality: null``.

    Returns:
        The encoded context (empty: none), the boxes that are stored, and their encoded pixels.
    """

    def full(part: np.ndarray) -> bytes:
        part = np.ascontiguousarray(part)
        if settings.lossless or settings.quality is None:
            return png(part)
        return jpeg(part, settings.quality)

    size = (pixels.shape[0], pixels.shape[1])
    if settings.method == "whole":
        return (file() if settings.quality is None else full(pixels)), [], []
    if settings.method == "uniform":
        assert settings.quality is not None  # the settings refuse it
        return jpeg(reduced(pixels, settings.factor), settings.quality), [], []
    if box_share(boxes, size) > WHOLE:
        return full(pixels), [], []
    crops = [full(pixels[top:bottom, left:right]) for top, left, bottom, right in boxes]
    if settings.method == "crop":
        return b"", list(boxes), crops
    if settings.context == "quality":
        return jpeg(pixels, settings.context_quality), list(boxes), crops
    return jpeg(reduced(pixels, settings.factor), settings.quality or 95), list(boxes), crops


def by_pixels(pixels: Mapping[str, Mapping[int, int]], classes: Sequence[int], seed: int) -> dict[int, list[str]]:
    """Of each class the images that show it, those with most pixels of it first; ties in an order drawn by the seed.

    ``pixels``: id -> class -> number of its pixels, above 0.
    """
    ids = list(pixels)
    drawn = dict(zip(ids, generator(seed, "ties").permutation(len(ids)).tolist(), strict=True))
    return {
        c: sorted((id for id in ids if c in pixels[id]), key=lambda id, c=c: (-pixels[id][c], drawn[id]))  # type: ignore[misc]
        for c in classes
    }


def herded(features: Mapping[str, np.ndarray], ids: Sequence[str]) -> list[str]:
    """Images of a class in the order of herding (Rebuffi et al. 2017): each brings the mean of those chosen so far as
    near as possible to the mean of all.

    ``features``: id -> fp64 (K,), scaled to length 1 here. Ties: the earlier one.
    """
    if not ids:
        return []
    unit = np.stack([features[id] / max(float(np.linalg.norm(features[id])), 1e-12) for id in ids])
    mean, total = unit.mean(0), np.zeros(unit.shape[1])
    left = list(range(len(ids)))
    order = []
    for count in range(1, len(ids) + 1):
        distances = np.linalg.norm(mean - (total + unit[left]) / count, axis=1)
        chosen = left.pop(int(distances.argmin()))
        total += unit[chosen]
        order.append(ids[chosen])
    return order


def select(
    queues: Mapping[int, Sequence[str]],
    shows: Mapping[str, Sequence[int]],
    cost: Callable[[str], int | None],
    budget: int | None,
    seed: int,
) -> list[str]:
    """The images that a memory takes, in the order in which they were chosen.

    Again and again the next image of the class that the fewest chosen ones show (ties in an order drawn by the seed);
    an image that does not fit into what is left of the budget is passed over. It ends when nothing is left, or when
    ``PATIENCE`` images in a row did not fit.

    Args:
        queues: Class -> its images in the order in which they are wanted.
        shows: Id -> the classes it shows.
        cost: Bytes of an image; None: it cannot be stored. Asked of each image once at most.
        budget: Bytes; None: no limit.
        seed: The run's seed.

    Examples:
        >>> bytes_of = {"a": 300, "b": 500, "c": 400, "d": 100}
        >>> select({0: list("abcd")}, {id: [0] for id in "abcd"}, bytes_of.get, 900, seed=0)
        ['a', 'b', 'd']
    """
    waiting = {c: list(reversed(ids)) for c, ids in queues.items()}
    ties = dict(zip(waiting, generator(seed, "turns").permutation(len(waiting)).tolist(), strict=True))
    having = dict.fromkeys(waiting, 0)
    seen: set[str] = set()
    chosen: list[str] = []
    used = failures = 0
    while failures < PATIENCE:
        for ids in waiting.values():
            while ids and ids[-1] in seen:
                ids.pop()
        open_classes = [c for c, ids in waiting.items() if ids]
        if not open_classes:
            break
        id = waiting[min(open_classes, key=lambda c: (having[c], ties[c]))].pop()
        seen.add(id)
        needed = cost(id)
        if needed is None:
            continue
        if budget is not None and used + needed > budget:
            failures += 1
            continue
        failures, used = 0, used + needed
        chosen.append(id)
        for c in shows[id]:
            having[c] = having.get(c, 0) + 1
    return chosen
