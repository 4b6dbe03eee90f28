"""How far the members of an ensemble agree with each other, pair by pair."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.palette import IGNORE
from wsss.system.files import atomic_path

FILE = "agreement.csv"
COLUMNS = ("a", "b", "agreement", "miou", "pixels")
Counted = list[tuple[Sequence[int], Sequence[int]]]
"""For every pair of members, in the order of ``itertools.combinations``: label of a * 256 + label of b, and pixels."""


def count_pairs(masks: Sequence[np.ndarray]) -> Counted:
    """Count one image: ``masks`` uint8 (H, W), one a member. Pixels that either of a pair leaves out (255) are not
    counted.

    Examples:
        >>> count_pairs([np.uint8([[0, 1, 255]]), np.uint8([[0, 2, 1]])])  # 0 with 0, and 1 with 2, once each
        [([0, 258], [1, 1])]
    """
    counted = []
    for a, b in combinations(masks, 2):
        both = (a != IGNORE) & (b != IGNORE)
        codes, pixels = np.unique(a[both].astype(np.int64) * 256 + b[both], return_counts=True)
        counted.append((codes.tolist(), pixels.tolist()))
    return counted


def counts_text(counted: Counted) -> str:
    """The counts of one image as text, for :func:`counts_read`.

    Examples:
        >>> counts_text([([0, 258], [1, 1])])
        '[[[0,258],[1,1]]]'
    """
    return json.dumps(counted, separators=(",", ":"))


def counts_read(text: str) -> Counted:
    """What :func:`counts_text` wrote."""
    counted: Counted = json.loads(text)
    return counted


class Agreement:
    """Sums of :func:`count_pairs` over images. ``names``: the members; ``classes``: number of object classes C."""

    def __init__(self, names: Sequence[str], classes: int) -> None:
        self.pairs = list(combinations(names, 2))
        self.matrices = np.zeros((len(self.pairs), classes + 1, classes + 1), np.int64)

    def add(self, counted: Counted) -> None:
        """Add what :func:`count_pairs` counted on one image."""
        for matrix, (codes, pixels) in zip(self.matrices, counted, strict=True):
            labels = np.array(codes, np.int64)
            np.add.at(matrix, (labels // 256, labels % 256), np.array(pixels, np.int64))

    def rows(self) -> list[dict[str, Any]]:
        """A row per pair, columns ``COLUMNS``, values as fractions.

        ``agreement``: share of the pixels on which both give the same label; ``miou``: mean IoU, background included,
        of one against the other (which is which does not matter), over the labels that either gives; None without a
        pixel that both label.

        Examples:
            >>> sums = Agreement(["a", "b"], classes=2)
            >>> sums.add(count_pairs([np.uint8([[0, 1, 255]]), np.uint8([[0, 2, 1]])]))
            >>> sums.rows()
            [{'a': 'a', 'b': 'b', 'agreement': 0.5, 'miou': 0.333333, 'pixels': 2}]
        """
        table = []
        for (a, b), matrix in zip(self.pairs, self.matrices, strict=True):
            same, total = np.diagonal(matrix), int(matrix.sum())
            union = matrix.sum(axis=0) + matrix.sum(axis=1) - same
            iou = same[union > 0] / union[union > 0]
            values = (round(float(same.sum() / total), 6), round(float(iou.mean()), 6)) if total else (None, None)
            table.append(dict(zip(COLUMNS, (a, b, *values, total), strict=True)))
        return table

    def write(self, path: Path) -> list[dict[str, Any]]:
        """Write the table as CSV; returns its rows."""
        table = self.rows()
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        return table
