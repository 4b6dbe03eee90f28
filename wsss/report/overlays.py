"""Pictures of explanations: each map laid over its image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsss.data.images import read_image, read_mask
from wsss.data.index import Item
from wsss.explain import postprocess
from wsss.report.panels import paint_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 1.9  # inches
DPI = 110
COLOURS = "inferno"
"""Dark is low, so that what a map leaves out stays dark in the picture, too."""


@dataclass(frozen=True)
class ExplanationRow:
    """An image, and what is shown beside it: titles, and raw signed maps (h, w) of any size, or None for no map."""

    item: Item
    maps: dict[str, np.ndarray | None]
    label: str = ""


def overlay(image: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """``image`` uint8 (H, W, 3) in grey under the colours of a raw map (h, w): rectified, resized, over its maximum;
    uint8 (H, W, 3). The colours cover the image as far as the map is high."""
    import matplotlib

    size = image.shape[:2]
    positive = torch.from_numpy(np.ascontiguousarray(raw, np.float32))[None].relu()
    heat = postprocess.relu_max(postprocess.resize(positive, size))[0].numpy()
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    colours = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    share = 0.25 + 0.55 * heat[..., None]
    mixed: np.ndarray = (grey * (1 - share) + colours * share).round().clip(0, 255).astype(np.uint8)
    return mixed


Cell = tuple[str, np.ndarray | None]
"""A title, and an image uint8 (H, W, 3) below it; None: nothing to show, which is said."""


def draw_rows(
    rows: Sequence[Sequence[Cell]],
    path: Path,
    across: int,
    over: Callable[[Axes, int, int], None] = lambda axes, row, column: None,
) -> None:
    """Write a PNG: pictures in rows, each under its title.

    Args:
        rows: At most ``across`` cells each; the first is an image, whose shape its row has.
        path: Of the file.
        across: Columns.
        over: Draws more over a picture, given its axes, row and column.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shapes = [picture.shape for ((_, picture), *_) in rows if picture is not None]
    heights = [CELL * min(1.6, max(0.4, shape[0] / shape[1])) + 0.25 for shape in shapes] or [0.5]
    figure = Figure(figsize=(CELL * across, sum(heights) + 0.1), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        max(1, len(rows)), across, height_ratios=heights, wspace=0.03, hspace=0.16, left=0.005, right=0.995,
        bottom=0.005, top=1 - 0.3 / (sum(heights) + 0.1),
    )  # fmt: skip
    for number, cells in enumerate(rows):
        for column in range(across):
            axes = figure.add_subplot(grid[number, column])
            axes.axis("off")
            if column >= len(cells):
                continue
            title, picture = cells[column]
            axes.set_title(title, fontsize=7, pad=2)
            if picture is None:
                axes.text(0.5, 0.5, "none", fontsize=7, ha="center", va="center", transform=axes.transAxes)
                continue
            axes.imshow(picture)
            over(axes, number, column)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png", metadata={"Software": None})


def draw_explanations(rows: Sequence[ExplanationRow], path: Path) -> None:
    """Write a PNG: a row for each image, with the truth where there is one, and its maps. Titles stand above each map,
    since images differ in their classes."""
    shown: list[list[Cell]] = []
    for row in rows:
        image = read_image(row.item.image)
        truth = None if row.item.mask is None else paint_mask(image, read_mask(row.item.mask))
        maps = [(title, None if raw is None else overlay(image, raw)) for title, raw in row.maps.items()]
        shown.append([(row.label or row.item.id, image), ("truth", truth), *maps])
    draw_rows(shown, path, 2 + max((len(row.maps) for row in rows), default=0))


def side_by_side(image: np.ndarray, maps: dict[str, np.ndarray], path: Path) -> None:
    """Write a PNG of an image uint8 (H, W, 3) and its raw maps (h, w), each under its title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    side = 4.0 / max(height, width)  # inches a pixel
    figure = Figure(figsize=((len(maps) + 1) * width * side, height * side + 0.35), dpi=DPI)
    FigureCanvasAgg(figure)
    top = height * side / (height * side + 0.35)
    axes = figure.subplots(
        1, len(maps) + 1, gridspec_kw={"left": 0, "right": 1, "bottom": 0, "top": top, "wspace": 0.02}
    )
    cells = {"": image} | {title: overlay(image, raw) for title, raw in maps.items()}
    for one, (title, picture) in zip(np.ravel(axes), cells.items(), strict=True):
        one.axis("off")
        one.set_title(title, fontsize=10, pad=4)
        one.imshow(picture)
    figure.savefig(path, format="png", metadata={"Software": None})
