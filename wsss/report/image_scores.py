"""How well each single image came out, and which images are shown for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsss.data.images import read_mask
from wsss.data.index import Index, Item
from wsss.evaluate.agreement import Agreement, count_pairs
from wsss.evaluate.classification import read_predictions
from wsss.evaluate.confusion import mask_confusion
from wsss.evaluate.counting import merged
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.report.headline import Source
from wsss.report.provenance import Scored, lineage
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.workers import over

Counts = tuple[np.ndarray, np.ndarray, list[tuple[str, int, float]]]
"""Confusion (C + 1, C + 1), true pixels left out (C + 1,), and (id, class, figure) of images."""
SAMPLE = 200
"""Images that the agreement of recipes is measured on: the time does not grow with the dataset."""
MOST_COMPARED = 16
SCORED_BY = {
    "iou": ("best", "median", "worst"),
    "probability": ("most confident", "median", "least confident"),
    "share": ("largest", "median", "smallest"),
    "none": ("first", "middle", "last"),
}
"""What images are ordered by, and what the first, the middle and the last of the order are called."""


def mask_of(source: Source, store: MapStore | MaskFolder, item: Item) -> np.ndarray:
    """The labels that a source gives an image, uint8 (H, W); maps at their threshold."""
    if isinstance(store, MaskFolder):
        return store.read(item.id)
    threshold = 0.3 if source.threshold is None else source.threshold
    return pseudo_mask(store.full(item.id), store[item.id].classes, threshold)


def opened(source: Source) -> MapStore | MaskFolder:
    """The maps or masks of a source, to be read by id."""
    return MapStore(source.folder) if source.kind in ("cams", "saliency") else MaskFolder(source.folder / "masks")


@dataclass(frozen=True)
class ImageScorer:
    """Counts images for ``wsss.evaluate.counting.merged``: the confusion matrix (C+1, C+1) over all of them, how many
    true pixels of each class were left out (255), and for every image and class its own figure."""

    source: Source
    store: MapStore | MaskFolder
    classes: int
    truth: bool

    def start(self) -> Counts:
        """Nothing yet: confusion int64 (C + 1, C + 1), pixels left out int64 (C + 1,), figures of images."""
        side = self.classes + 1
        return np.zeros((side, side), np.int64), np.zeros(side, np.int64), []

    def add(self, count: Counts, item: Item) -> None:
        """Add an image to the counts, in place."""
        mask = mask_of(self.source, self.store, item)
        if not self.truth or item.mask is None:
            share = np.bincount(mask.ravel(), minlength=256) / mask.size
            count[2].extend((item.id, c, float(share[c + 1])) for c in item.labels)
            return
        truth = read_mask(item.mask)
        matrix, unlabelled = mask_confusion(truth, mask, self.classes)
        count[0][:] += matrix
        count[1][:] += unlabelled
        true, both = matrix.sum(axis=1) + unlabelled, np.diagonal(matrix)
        union = true + matrix.sum(axis=0) - both
        count[2].extend((item.id, c - 1, float(both[c] / union[c])) for c in np.flatnonzero(true).tolist() if c)

    def sum(self, a: Counts, b: Counts) -> Counts:
        """The counts of two processes together."""
        return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@dataclass(frozen=True)
class ImageScores:
    """What was found on the images of a split.

    Attributes:
        by: What images are ordered by, a key of ``SCORED_BY``.
        figures: Class, from 0, to (figure as a fraction, id) of its images, best first; images with equal figures in
            the order of their ids.
        matrix: Confusion (C+1, C+1) in pixels, rows the truth; None without ground-truth masks.
        unlabelled: True pixels (C+1,) that the result leaves out.
    """

    by: str
    figures: dict[int, list[tuple[float, str]]]
    matrix: np.ndarray | None = None
    unlabelled: np.ndarray | None = None


def score_images(
    index: Index,
    items: Sequence[Item],
    source: Source | None,
    probabilities: dict[str, np.ndarray],
    threads: int,
) -> ImageScores:
    """Order the images of every class: by the IoU of the class within the image where there are ground-truth masks;
    else by the classifier's probability of the tag; else by the share of the image that the class takes; else by id."""
    scored = bool(items) and all(item.scored and item.mask is not None for item in items)
    if source is not None and (scored or not probabilities):
        counter = ImageScorer(source, opened(source), len(index.classes), scored)
        matrix, unlabelled, found = merged(counter, items, threads, "images for the report")
        figures = _ordered(found)
        return ImageScores("iou", figures, matrix, unlabelled) if scored else ImageScores("share", figures)
    if probabilities:
        known = [i for i in items if i.id in probabilities]
        return ImageScores(
            "probability", _ordered((i.id, c, float(probabilities[i.id][c])) for i in known for c in i.labels)
        )
    return ImageScores("none", _ordered((i.id, c, 0.0) for i in items for c in i.labels))


def _ordered(found: Any) -> dict[int, list[tuple[float, str]]]:
    figures: dict[int, list[tuple[float, str]]] = {}
    for id, c, value in found:
        figures.setdefault(c, []).append((value, id))
    return {c: sorted(figures[c], key=lambda pair: (-pair[0], pair[1])) for c in sorted(figures)}


def chosen(ordered: Sequence[tuple[float, str]]) -> list[tuple[int, float, str]]:
    """The best, the median (the better of two) and the worst of images in order, as (0, 1 or 2, figure, id); of two the
    best and the worst, of one itself."""
    places = {0: 0, 1: (len(ordered) - 1) // 2, 2: len(ordered) - 1}
    taken: dict[int, int] = {}
    for rank in (0, 2, 1):
        if ordered and places[rank] not in taken.values():
            taken[rank] = places[rank]
    return [(rank, *ordered[taken[rank]]) for rank in sorted(taken)]


def tag_probabilities(
    index: Index, scored: Sequence[Scored], leading: Sequence[Scored]
) -> tuple[str, dict[str, np.ndarray]]:
    """The classifier that the leading result rests on, or the first with predictions, and its probabilities: id to
    float (C,). Empty where there is none."""
    folders = [] if not leading else list(lineage(leading[0].artefact))
    folders += [one.artefact for one in scored if one.kind == "classifiers"]
    for folder in folders:
        if folder.parent.name == "classifiers" and (folder / "predictions.csv").is_file():
            splits = read_predictions(folder / "predictions.csv", index.classes)
            return folder.name, {id: values for found in splits.values() for id, values in found.items()}
    return "", {}


@dataclass(frozen=True)
class PairCounter:
    """Counts pairs of labels of several sources on an image."""

    sources: tuple[tuple[Source, Any], ...]

    def __call__(self, item: Item) -> Any:
        return count_pairs([mask_of(source, store, item) for source, store in self.sources])


def agreement(
    index: Index, items: Sequence[Item], found: Sequence[Source], names: Sequence[str], threads: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many images were compared (at most ``SAMPLE``, evenly spread), and for each pair of sources the share of the
    pixels on which both give the same label (``wsss.evaluate.agreement``)."""
    step = max(1.0, len(items) / SAMPLE)
    sample = [items[int(k * step)] for k in range(int(len(items) / step))]
    total = Agreement(names, len(index.classes))
    work = PairCounter(tuple((source, opened(source)) for source in found))
    for counts in over(sample, work, threads, "agreement for the report", lambda item: item.id):
        total.add(counts)
    return len(sample), total.rows()


def comparable(scored: Sequence[Scored], split: str, seed: int) -> tuple[list[Source], list[str]]:
    """Predictions and pseudo-labels of one seed that cover a split, with their names; at most ``MOST_COMPARED``, for
    the time grows with their pairs."""
    kinds = {"segmenters": "predictions", "masks": "pseudo-labels"}
    found = [s for k in kinds for s in scored if s.kind == k and s.seed == seed and split in s.content["splits"]]
    found = found[:MOST_COMPARED]
    return [Source(s.kind, s.recipe, s.artefact, (split,)) for s in found], [
        f"{kinds[s.kind]} {s.recipe}" for s in found
    ]
