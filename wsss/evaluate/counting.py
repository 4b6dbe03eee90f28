"""Counting over the images of a split in worker processes: the sum over images does not depend on their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.boundaries import count_boundaries
from wsss.evaluate.breakdown import count_sizes, no_sizes
from wsss.evaluate.confusion import mask_confusion, plain
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.workers import over

MaskCounts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of ``MaskCounter``: int64 (C+1, C+1), (C+1,) and (3, C, 2)."""
ContourCounts = tuple[MaskCounts, np.ndarray]
"""The same and, int64 (C, 2), intersection and union of the bands of each object class."""


def merged(counter: Any, items: Sequence[Item], threads: int, name: str) -> Any:
    """Sum of what ``counter`` counts over ``items``.

    ``counter.start()`` gives an empty count, ``counter.add(count, item)`` counts one image, ``counter.sum(a, b)``
    joins two. Raises :class:`WsssError` with the ids and messages of all images that could not be counted.
    """
    parts = min(len(items), 4 * max(1, threads))
    chunks = [items[i * len(items) // parts : (i + 1) * len(items) // parts] for i in range(parts)]
    total, failures = counter.start(), []
    for count, failed in over(chunks, _Chunk(counter), threads, name):
        total = counter.sum(total, count)
        failures += failed
    if failures:
        shown = "\n".join(f"  {id}: {error}" for id, error in failures[:20])
        raise WsssError(f"{name}: {len(failures)} of {len(items)} images cannot be scored:\n{shown}")
    return total


@dataclass(frozen=True)
class _Chunk:
    counter: Any

    def __call__(self, items: Sequence[Item]) -> tuple[Any, list[tuple[str, str]]]:
        count, failures = self.counter.start(), []
        for item in items:
            try:
                self.counter.add(count, item)
            except WsssError as error:
                failures.append((item.id, str(error)))
        return count, failures


def true_mask(item: Item, any_object: bool = False) -> np.ndarray:
    """The ground-truth mask of an image, uint8 (H, W); ``any_object``: with 1 in place of every object class. Raises
    :class:`WsssError` when it has none."""
    if item.mask is None:
        raise WsssError("it is to be scored and has no ground-truth mask; build the index again")
    mask = read_mask(item.mask)
    return np.where(mask == IGNORE, mask, np.minimum(mask, 1)) if any_object else mask


@dataclass(frozen=True)
class MapCounter:
    """Counts maps against ground-truth masks for all thresholds, and again for the few images of ``chosen``.
    ``any_object`` as for ``true_mask``, with ``classes=1``."""

    store: MapStore
    thresholds: np.ndarray
    classes: int
    chosen: frozenset[str]
    any_object: bool = False

    def start(self) -> tuple[ThresholdCounts, ThresholdCounts]:
        """Empty counts, of all images and of the chosen ones."""
        few = self.thresholds if self.chosen else self.thresholds[:0]
        return ThresholdCounts(self.thresholds, self.classes), ThresholdCounts(few, self.classes)

    def add(self, count: tuple[ThresholdCounts, ThresholdCounts], item: Item) -> None:
        """Count one image, and once more among the chosen ones if it is one of them."""
        maps, classes = self.store.full(item.id), self.store[item.id].classes
        truth = true_mask(item, self.any_object)
        count[0].add(maps, classes, truth)
        if item.id in self.chosen:
            count[1].add(maps, classes, truth)

    def sum(
        self, a: tuple[ThresholdCounts, ThresholdCounts], b: tuple[ThresholdCounts, ThresholdCounts]
    ) -> tuple[ThresholdCounts, ThresholdCounts]:
        """The counts of both; ``a`` is changed."""
        return a[0].merge(b[0]), a[1].merge(b[1])


@dataclass(frozen=True)
class MaskCounter:
    """Counts masks against ground-truth masks: a confusion matrix, the true pixels of each class that the mask leaves
    out (255), and pixels by size (``breakdown.count_sizes``). ``any_object`` as for ``MapCounter``."""

    masks: MaskFolder
    classes: int
    any_object: bool = False

    def start(self) -> MaskCounts:
        """Empty counts: int64 (C+1, C+1), (C+1,) and (3, C, 2)."""
        side = self.classes + 1
        return np.zeros((side, side), np.int64), np.zeros(side, np.int64), no_sizes(self.classes)

    def add(self, count: MaskCounts, item: Item) -> None:
        """Count one image."""
        self.add_masks(count, *self.read(item))

    def read(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """The ground-truth mask of an image and the mask to be scored, uint8 (H, W)."""
        return true_mask(item, self.any_object), self.masks.read(item.id)

    def add_masks(self, count: MaskCounts, truth: np.ndarray, mask: np.ndarray) -> None:
        """Count what ``read`` gave."""
        matrix, unlabelled = mask_confusion(truth, mask, self.classes)
        count[0][:] += matrix
        count[1][:] += unlabelled
        count_sizes(count[2], matrix, truth.size, unlabelled)

    def sum(self, a: MaskCounts, b: MaskCounts) -> MaskCounts:
        """The counts of both."""
        return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@dataclass(frozen=True)
class ContourCounter:
    """Counts what ``masks`` counts and, for boundary IoU, the bands along the contours of each object class: int64
    (C, 2) (``boundaries.count_boundaries``)."""

    masks: MaskCounter

    def start(self) -> ContourCounts:
        """Empty counts."""
        return self.masks.start(), np.zeros((self.masks.classes, 2), np.int64)

    def add(self, count: ContourCounts, item: Item) -> None:
        """Count one image."""
        truth, mask = self.masks.read(item)
        self.masks.add_masks(count[0], truth, mask)
        count[1][:] += count_boundaries(truth, mask, self.masks.classes)

    def sum(
        self,
        a: ContourCounts,
        b: ContourCounts,
    ) -> ContourCounts:
        """The counts of both."""
        return self.masks.sum(a[0], b[0]), a[1] + b[1]


@dataclass(frozen=True)
class CoverageCounter:
    """Counts what can be said without ground-truth masks (``threshold``: of maps); rows of the count: images tagged
    with the class, those of them with a pixel of it, the sum over them of the class's share of the pixels, and (last)
    the sum over images of the share of foreground pixels whose class is not tagged."""

    source: MapStore | MaskFolder
    threshold: float | None
    classes: int

    def start(self) -> np.ndarray:
        """An empty count, float64 (4, C)."""
        return np.zeros((4, self.classes))

    def add(self, count: np.ndarray, item: Item) -> None:
        """Count one image. Raises :class:`WsssError` where its mask or maps are of another size."""
        if isinstance(self.source, MapStore):
            assert self.threshold is not None  # maps have one
            mask = pseudo_mask(self.source.full(item.id), self.source[item.id].classes, self.threshold)
        else:
            mask = self.source.read(item.id)
        if mask.shape != (item.height, item.width):
            raise WsssError(f"it is {item.height} x {item.width} pixels, what is to be scored {mask.shape}")
        pixels = np.bincount(mask.ravel(), minlength=256)[1 : self.classes + 1]
        tagged = list(item.labels)
        count[0, tagged] += 1
        count[1, tagged] += pixels[tagged] > 0
        count[2, tagged] += pixels[tagged] / mask.size
        if pixels.sum():
            count[3] += 1 - pixels[tagged].sum() / pixels.sum()

    def sum(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The counts of both."""
        both: np.ndarray = a + b
        return both


def coverage_metrics(
    index: Index,
    items: Sequence[Item],
    source: MapStore | MaskFolder,
    threshold: float | None,
    threads: int,
    name: str,
) -> dict[str, Any]:
    """Diagnostics that need no mask, as fractions.

    ``coverage``: mean over classes of the share of an image's pixels that a class takes where it is tagged;
    ``tagged_present``: share of (image, tagged class) pairs with at least a pixel of the class; ``untagged``: mean
    share of foreground pixels whose class is not tagged; ``per_class``: name to coverage and present.
    """
    tagged, present, share, strange = merged(
        CoverageCounter(source, threshold, len(index.classes)), items, threads, name
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage, found = share / tagged, present / tagged
    known = tagged > 0
    return {
        "coverage": plain(coverage[known].mean()) if known.any() else None,
        "tagged_present": plain(present.sum() / tagged.sum()) if known.any() else None,
        "untagged": plain(strange[0] / len(items)) if items else None,
        "per_class": {
            name: {"coverage": plain(coverage[c]), "present": plain(found[c])} for c, name in enumerate(index.classes)
        },
    }
