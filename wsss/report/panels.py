"""Pictures: image, truth, and what every recipe made of it, one PNG for each seed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss.data.images import read_image, read_mask
from wsss.data.index import Index, Item
from wsss.data.palette import CLASS_COLOURS, IGNORE
from wsss.report.provenance import PicturedArtefact
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

COUNT = 6
NAMES = {"cams": "CAM", "saliency": "saliency", "masks": "pseudo-label", "segmenters": "prediction"}
CELL = 1.7  # inches
DPI = 110


def choose_items(index: Index, count: int = COUNT, seed: int = 0) -> list[Item]:
    """Images to show: of the validation split if it has labelled ones, with masks if there are any.

    Drawn with the seed; as long as a class is not shown, the first image that shows the most new classes is next.
    """
    items = index.labelled("val") or index.labelled("train")
    items = [item for item in items if item.scored and item.mask is not None] or items
    items = [items[i] for i in np.random.default_rng(seed).permutation(len(items))]
    shown: set[int] = set()
    chosen: list[Item] = []
    while items and len(chosen) < count:
        best = max(items, key=lambda item: len(set(item.labels) - shown))
        items.remove(best)
        chosen.append(best)
        shown |= set(best.labels)
    return chosen


def paint_mask(image: np.ndarray, mask: np.ndarray, strength: float = 0.65) -> np.ndarray:
    """``image`` in grey with the colours of the mask's classes over it, uint8 (H, W, 3); ignored pixels are white."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.75
    colours = CLASS_COLOURS[mask].astype(np.float64)
    colours[mask == IGNORE] = 255
    share = np.where(mask == 0, 0, strength)[..., None]
    painted: np.ndarray = (grey * (1 - share) + colours * share).round().astype(np.uint8)
    return painted


def paint_maps(image: np.ndarray, maps: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """``image`` in grey, each pixel coloured like its best class as strongly as that class scores, uint8 (H, W, 3)."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.75
    if len(maps) == 0:
        return grey.round().astype(np.uint8)
    colours = CLASS_COLOURS[np.asarray(classes)[maps.argmax(axis=0)] + 1].astype(np.float64)
    share = 0.9 * maps.max(axis=0)[..., None]
    painted: np.ndarray = (grey * (1 - share) + colours * share).round().astype(np.uint8)
    return painted


def paint_saliency(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """``image`` as bright as it is salient, uint8 (H, W, 3); ``saliency``: float (H, W) in [0, 1]."""
    return (image * (0.15 + 0.85 * saliency[..., None])).round().astype(np.uint8)


def draw_panels(index: Index, artefacts: Sequence[PicturedArtefact], folder: Path, seed: int = 0) -> list[str]:
    """Write ``s<seed>.png`` of every seed into ``folder``; return the names.

    Rows: images; columns: image, truth, then maps, saliency, pseudo-labels and predictions of every recipe. A cell
    without a picture says so (a split that was not asked for).
    """
    items = choose_items(index, COUNT, seed)
    names = []
    for run in sorted({artefact.seed for artefact in artefacts}):
        kinds = [[a for a in artefacts if a.seed == run and a.kind == kind] for kind in NAMES]
        columns = [artefact for kind in kinds for artefact in kind]
        if items and columns:
            names.append(f"s{run}.png")
            _draw(index, items, columns, folder / names[-1])
    return names


def _cells(item: Item, image: np.ndarray, columns: Sequence[PicturedArtefact]) -> list[np.ndarray | None]:
    truth = None if item.mask is None else paint_mask(image, read_mask(item.mask))
    cells: list[np.ndarray | None] = [image, truth]
    for artefact in columns:
        if artefact.kind in ("cams", "saliency"):
            store = MapStore(artefact.folder)
            maps = store.full(item.id) if item.id in store else None
            if maps is None or (artefact.kind == "saliency" and not len(maps)):
                cells.append(None)
            elif artefact.kind == "saliency":
                cells.append(paint_saliency(image, maps[0]))
            else:
                cells.append(paint_maps(image, maps, store[item.id].classes))
        else:
            masks = MaskFolder(artefact.folder / "masks")
            cells.append(paint_mask(image, masks.read(item.id)) if item.id in masks else None)
    return cells


def _draw(index: Index, items: Sequence[Item], columns: Sequence[PicturedArtefact], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    heads = ["image", "truth", *(f"{NAMES[a.kind]}\n{a.recipe}" for a in columns)]
    shown = sorted({c for item in items for c in item.labels})
    across = max(2, min(len(shown), 2 * len(heads) // 3))
    legend = -(-len(shown) // across) * 0.25 + 0.1
    heights = [CELL * min(1.6, max(0.4, item.height / item.width)) for item in items]
    width, height = CELL * len(heads), sum(heights) + 0.6 + legend
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(items), len(heads), height_ratios=heights, wspace=0.03, hspace=0.03,
        left=0.01, right=0.99, top=1 - 0.55 / height, bottom=(legend + 0.05) / height,
    )  # fmt: skip
    for row, item in enumerate(items):
        for column, cell in enumerate(_cells(item, read_image(item.image), columns)):
            axes = figure.add_subplot(grid[row, column])
            axes.set_axis_off()
            if cell is None:
                axes.text(0.5, 0.5, "none", ha="center", va="center", fontsize=7, color="grey")
            else:
                axes.imshow(cell)
            if row == 0:
                axes.set_title(plain(heads[column]), fontsize=8)
    patches = [Patch(color=CLASS_COLOURS[c + 1] / 255, label=plain(index.classes[c])) for c in shown]
    figure.legend(handles=patches, loc="lower center", ncols=across, fontsize=8, frameon=False, borderaxespad=0.1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script the font lacks: boxes, not a page of warnings
        figure.savefig(path)


def plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")
