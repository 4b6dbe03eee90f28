"""Pictures of audits: an image, how it was changed, and its map before and after."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.report.overlays import CELL, DPI, overlay

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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [CELL * min(1.6, max(0.4, row.image.shape[0] / row.image.shape[1])) + 0.25 for row in rows] or [0.5]
    figure = Figure(figsize=(CELL * 6, sum(heights) + 0.1), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        max(1, len(rows)), 6, height_ratios=heights, wspace=0.03, hspace=0.16, left=0.005, right=0.995,
        bottom=0.005, top=1 - 0.3 / (sum(heights) + 0.1),
    )  # fmt: skip
    for number, row in enumerate(rows):
        cells = [
            (row.label, row.image),
            ("attacked", row.attacked),
            (f"{TIMES} x the change", amplified(row.image, row.attacked)),
            ("before", overlay(row.image, row.before)),
            ("target", None if row.target is None else overlay(row.image, row.target)),
            (row.title, overlay(row.attacked, row.after)),
        ]
        for column, (title, picture) in enumerate(cells):
            axes = figure.add_subplot(grid[number, column])
            axes.axis("off")
            axes.set_title(title, fontsize=7, pad=2)
            if picture is not None:
                axes.imshow(picture)
            else:
                axes.text(0.5, 0.5, "none", fontsize=7, ha="center", va="center", transform=axes.transAxes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png", metadata={"Software": None})
