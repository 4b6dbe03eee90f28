"""Which of several masks of the same images is best, by what may be looked at.

*By masks*: mIoU on a few ground-truth masks, as in every score. *By agreement*: no mask is looked at. Every member is
scored as if another one were the truth, for each of the others in turn, and the mean is its figure:

    s_m = sum over j != m of mIoU(m, j) / (M - 1)

with the background, over the pixels of all tagged training images that j labels; what m leaves out (255) counts as
missed. The largest figure wins. This is this project's rule, no published one.

What it can and cannot do: errors that recipes make independently of each other lower their figures, so that the member
nearest to all others tends to be a good one. Errors that most share are taken for the truth, and members made from each
other agree without being right: offer recipes that differ, and of near-copies one. Two members are each other's only
judge and have the same figure, so there must be three.

Tried in its place on 120 photos with twelve recipes of linear probes, and not better in their triples: the
consensus of the others (per tag or in all), the median or the least of the others, weights that let near-copies
count less, and errors taken for independent (least squares of log mIoU). A member's share of tags that have a pixel
says even less; it is told as a warning only. ``python -m benchmarks.choice`` measures how often the rule is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from wsss.data.index import Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.confusion import by, class_scores
from wsss.evaluate.counting import MaskCounter
from wsss.store.masks import MaskFolder

DIGITS = 4
"""Figures are rounded to so many digits before they are compared: less is no difference."""
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


class Figures(NamedTuple):
    """What a member is chosen by, as fractions: its ``score``, nan without anything to compare; with agreement also the
    share of the pairs of an image and a tag in which the tag has a pixel, which does not count."""

    score: float
    tags_with_a_pixel: float | None = None


def miou(matrix: np.ndarray, unlabelled: np.ndarray) -> float:
    """Mean IoU, background included, over the classes that occur; pixels that are left out count as missed. nan without
    any pixel. Arguments and shapes as for ``class_scores``, of one matrix."""
    iou = class_scores(matrix, unlabelled)["iou"]
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


@dataclass(frozen=True)
class AgreementCounter:
    """Counts every member against every other, for ``wsss.evaluate.counting.merged``.

    A count is int64 (M, M, C+1, C+1), (M, M, C+1) and (M + 1,): at [m, j] the confusion matrix of m with j as the
    truth and the pixels of each label of j that m leaves out; and the pairs of an image and a tag in which the tag has
    a pixel in m, last all such pairs.

    Raises :class:`WsssError` where a mask is missing, has another size than the image, or holds labels that the dataset
    does not have.
    """

    names: tuple[str, ...]
    members: tuple[MaskFolder, ...]
    classes: int

    def start(self) -> Counts:
        """An empty count."""
        number, side = len(self.members), self.classes + 1
        pairs = np.zeros((number, number, side, side), np.int64)
        return pairs, np.zeros((number, number, side), np.int64), np.zeros(number + 1, np.int64)

    def add(self, count: Counts, item: Item) -> None:
        """Count one image."""
        named = zip(self.names, self.members, strict=True)
        masks = [self._read(name, member, item) for name, member in named]
        side = self.classes + 1
        codes = [np.where(mask == IGNORE, side, mask).astype(np.int64).ravel() for mask in masks]
        for m, j in combinations(range(len(masks)), 2):
            pixels = np.bincount(codes[m] * (side + 1) + codes[j], minlength=(side + 1) ** 2)
            joint = pixels.reshape(side + 1, side + 1)  # label of m, label of j; the last is none
            count[0][j, m] += joint[:side, :side]
            count[0][m, j] += joint[:side, :side].T
            count[1][j, m] += joint[:side, side]
            count[1][m, j] += joint[side, :side]
        count[2][:-1] += [sum(bool((mask == label + 1).any()) for label in item.labels) for mask in masks]
        count[2][-1] += len(item.labels)

    def sum(self, a: Counts, b: Counts) -> Counts:
        """The counts of both."""
        return a[0] + b[0], a[1] + b[1], a[2] + b[2]

    def _read(self, name: str, member: MaskFolder, item: Item) -> np.ndarray:
        mask = member.read(item.id)
        size = item.height, item.width
        if mask.shape != size:
            raise WsssError(f"{name} has a mask of {by(mask.shape)} pixels, it is {by(size)}")
        strange = np.setdiff1d(mask, [*range(self.classes + 1), IGNORE])
        if len(strange):
            raise WsssError(f"{name} has the values {strange.tolist()} in it; allowed are 0 to {self.classes} and 255")
        return mask


def by_agreement(count: Counts) -> list[Figures]:
    """The figures of every member, from the sums of an ``AgreementCounter``. A judge without a pixel does not count."""
    matrices, unlabelled, seen = count
    figures = []
    for m in range(len(matrices)):
        each = [miou(matrices[m, j], unlabelled[m, j]) for j in range(len(matrices)) if j != m]
        known = [value for value in each if not np.isnan(value)]
        score = float(np.mean(known)) if known else float("nan")
        figures.append(Figures(round(score, DIGITS), round(float(seen[m] / max(1, seen[-1])), DIGITS)))
    return figures


@dataclass(frozen=True)
class TruthCounter:
    """Counts the masks of every member against the ground truth, as ``MaskCounter`` does those of one."""

    members: tuple[MaskFolder, ...]
    classes: int

    def start(self) -> list[Counts]:
        """Empty counts."""
        return [counter.start() for counter in self._counters()]

    def add(self, count: list[Counts], item: Item) -> None:
        """Count one image."""
        for counter, one in zip(self._counters(), count, strict=True):
            counter.add(one, item)

    def sum(self, a: list[Counts], b: list[Counts]) -> list[Counts]:
        """The counts of both."""
        return [counter.sum(x, y) for counter, x, y in zip(self._counters(), a, b, strict=True)]

    def _counters(self) -> list[MaskCounter]:
        return [MaskCounter(member, self.classes) for member in self.members]


def by_masks(counts: Sequence[Counts]) -> list[Figures]:
    """The figures of every member, from the sums of a ``TruthCounter``: mIoU as in the scores of masks."""
    return [Figures(round(miou(matrix, unlabelled), DIGITS)) for matrix, unlabelled, _ in counts]


def best(figures: Sequence[Figures]) -> int:
    """Position of the member with the largest score, the first among equals. Where there is nothing to compare, the
    first.

    Examples:
        >>> best([Figures(0.61, 0.9), Figures(0.65, 0.8), Figures(0.65, 1.0), Figures(0.4, 1.0)])
        1
    """
    scores = [-1.0 if np.isnan(one.score) else one.score for one in figures]
    return scores.index(max(scores))
