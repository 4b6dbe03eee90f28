"""Pictures of memories: images, where their boxes lie, what is replayed in their place, and its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsss.report.overlays import draw_rows
from wsss.report.panels import paint_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    from matplotlib.patches import Rectangle

    def boxes(axes: Axes, row: int, column: int) -> None:
        for top, left, bottom, right in rows[row].boxes if column < 2 else ():
            place = (left - 0.5, top - 0.5)
            axes.add_patch(Rectangle(place, right - left, bottom - top, fill=False, edgecolor="orange"))

    draw_rows(
        [
            [(row.label, row.image), ("replayed", row.restored), ("labels", paint_mask(row.restored, row.labels))]
            for row in rows
        ],
        path,
        across=3,
        over=boxes,
    )
