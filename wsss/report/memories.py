"""Pictures of memories: images, where their boxes lie, what is replayed in their place, and its labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.report.overlays import CELL, DPI
from wsss.report.panels import paint_mask


@dataclass(frozen=True)
class ExemplarRow:
    """An image uint8 (H, W, 3), the same as it is decompressed, its labels uint8 (H, W), and boxes (top, left, bottom,
    right) in pixels."""

    label: str
    image: np.ndarray
    restored: np.ndarray
    labels: np.ndarray
    boxes: Sequence[Sequence[int]]


def draw_exemplars(rows: Sequence[ExemplarRow], path: Path) -> None:
    """Write a PNG with a row for each exemplar: image with boxes, decompressed image, labels on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    heights = [CELL * min(1.6, max(0.4, row.image.shape[0] / row.image.shape[1])) + 0.25 for row in rows] or [0.5]
    figure = Figure(figsize=(CELL * 3, sum(heights) + 0.1), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        max(1, len(rows)), 3, height_ratios=heights, wspace=0.03, hspace=0.16, left=0.005, right=0.995,
        bottom=0.005, top=1 - 0.3 / (sum(heights) + 0.1),
    )  # fmt: skip
    for number, row in enumerate(rows):
        cells = [
            (row.label, row.image),
            ("replayed", row.restored),
            ("labels", paint_mask(row.restored, row.labels)),
        ]
        for column, (title, picture) in enumerate(cells):
            axes = figure.add_subplot(grid[number, column])
            axes.axis("off")
            axes.set_title(title, fontsize=7, pad=2)
            axes.imshow(picture)
            for top, left, bottom, right in row.boxes if column < 2 else ():
                place = (left - 0.5, top - 0.5)
                axes.add_patch(Rectangle(place, right - left, bottom - top, fill=False, edgecolor="orange"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png", metadata={"Software": None})
