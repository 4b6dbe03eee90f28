"""Pictures of audits: an image, how it was changed, and its map before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.report.overlays import draw_rows, overlay

TIMES = 10
"""What a perturbation is multiplied with to be seen."""


@dataclass(frozen=True)
class AttackedRow:
    """An image uint8 (H, W, 3), the same attacked, and maps (h, w) that are not negative; None for no target."""

    label: str
    image: np.ndarray
    attacked: np.ndarray
    before: np.ndarray
    target: np.ndarray | None
    after: np.ndarray
    title: str


def amplified(image: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """Ten times the difference of two images around grey, uint8 (H, W, 3)."""
    change = attacked.astype(np.int64) - image
    found: np.ndarray = (128 + TIMES * change).clip(0, 255).astype(np.uint8)
    return found


def draw_attacks(rows: Sequence[AttackedRow], path: Path) -> None:
    """Write a PNG with a row for each image: photo, attacked photo, ten times the perturbation, map before, target,
    map after."""
    draw_rows(
        [
            [
                (row.label, row.image),
                ("attacked", row.attacked),
                (f"{TIMES} x the change", amplified(row.image, row.attacked)),
                ("before", overlay(row.image, row.before)),
                ("target", None if row.target is None else overlay(row.image, row.target)),
                (row.title, overlay(row.attacked, row.after)),
            ]
            for row in rows
        ],
        path,
        across=6,
    )
