"""Pictures as data URIs: an image, and the maps and masks made of it as layers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features

from wsss.data.images import read_image, read_mask
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE, class_colours
from wsss.report.headline import Source
from wsss.report.image_scores import SCORED_BY, ImageScores, chosen, mask_of, opened

EDGES = (320, 256, 208, 160, 112)
"""Longest sides in pixels that are tried, until all pictures fit into ``BUDGET``."""
BUDGET = 5_500_000
"""Bytes of all pictures together, as they stand in the page."""
MOST_CLASSES = 40
LAYERS = {
    "image": "image",
    "truth": "ground-truth mask",
    "cams": "class activation map",
    "saliency": "saliency",
    "masks": "pseudo-label",
    "segmenters": "prediction",
    "error": "error",
}
ERRORS = {"missed": "#ff0044", "false alarm": "#ff00ff", "wrong class": "#39ff14"}
"""Kinds of errors, in the order of the numbers of :func:`errors`, and their colours: louder than those of any class."""
IGNORED = "#808080"
LOSSY = "WEBP" if features.check("webp") else "JPEG"


@dataclass(frozen=True)
class Card:
    """One image of a class: ``rank`` 0, 1 or 2 (``image_scores.SCORED_BY``), its figure, and its layers as data URIs
    (None: there is none)."""

    label: int
    rank: int
    figure: float
    item: Item
    seen: dict[str, list[str]] = field(default_factory=dict)
    layers: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """The cards of all classes that are shown; ``left_out``: classes for which there was no room; ``edge``: longest
    side of a picture in pixels."""

    cards: list[Card]
    by: str
    left_out: list[int]
    edge: int


def gallery(index: Index, scores: ImageScores, sources: dict[str, Source], split: str) -> Gallery:
    """Choose and encode pictures. Of more than ``MOST_CLASSES`` classes those shown are evenly spread from the class
    that came out best to the one that came out worst."""
    order = sorted(scores.figures, key=lambda c: -float(np.mean([value for value, _ in scores.figures[c]])))
    places = {round(k) for k in np.linspace(0, len(order) - 1, min(len(order), MOST_CLASSES))}
    shown = sorted(c for place, c in enumerate(order) if place in places)
    picked = [(c, *image) for c in shown for image in chosen(scores.figures[c])]
    stores = {kind: (source, opened(source)) for kind, source in sources.items() if split in source.splits}
    cards: list[Card] = []
    edge = EDGES[-1]
    for edge in EDGES:
        cards = [_card(index, index.item(id), c, rank, value, stores, edge) for c, rank, value, id in picked]
        if sum(len(uri or "") for card in cards for uri in card.layers.values()) <= BUDGET:
            break
    return Gallery(cards, scores.by, sorted(set(order) - set(shown)), edge)


def _card(index: Index, item: Item, label: int, rank: int, value: float, stores: dict[str, Any], edge: int) -> Card:
    image = read_image(item.image)
    size = _size(image.shape[:2], edge)
    colours = class_colours(len(index.classes))
    layers: dict[str, str | None] = {"image": lossy(image, size, 82)}
    seen: dict[str, list[str]] = {}
    masks: dict[str, np.ndarray] = {}
    if item.mask is not None:
        masks["truth"] = read_mask(item.mask)
    for kind, (source, store) in stores.items():
        if kind in ("masks", "segmenters"):
            masks[kind] = mask_of(source, store, item)
            continue
        maps = store.full(item.id) if item.id in store else np.zeros((0, 1, 1))
        if kind == "cams" and len(maps):
            maps = maps[np.asarray(store[item.id].classes) == label]
        layers[kind] = lossy(heat(maps[0]) if kind == "cams" else grey(maps[0]), size, 72) if len(maps) else None
    for kind, mask in masks.items():
        layers[kind] = labels(mask, dict(enumerate(colours, start=1)), size)
        seen[kind] = [index.classes[c - 1] for c in np.unique(mask).tolist() if 0 < c <= len(colours)]
    last = next((k for k in ("segmenters", "masks") if k in masks), None)
    if "truth" in masks and last is not None:
        wrong = errors(masks["truth"], masks[last])
        layers["error"] = labels(wrong, dict(enumerate(ERRORS.values(), start=1)), size)
        seen["error"] = [name for k, name in enumerate(ERRORS, start=1) if (wrong == k).any()]
    return Card(label, rank, value, item, seen, {name: layers[name] for name in LAYERS if name in layers})


def rank_name(by: str, rank: int) -> str:
    """``best``, ``median``, ..."""
    return SCORED_BY[by][rank]


def errors(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Kinds of mistakes, uint8 (H, W): 0 none, 1 an object missed, 2 an object where there is background, 3 a wrong
    class, 255 not judged. Pixels that the mask leaves out (255) count as background."""
    mask = np.where(mask == IGNORE, 0, mask)
    kinds = np.select([truth == mask, mask == 0, truth == 0], [0, 1, 2], 3).astype(np.uint8)
    kinds[truth == IGNORE] = IGNORE
    return kinds


def _size(shape: Sequence[int], edge: int) -> tuple[int, int]:
    """Width and height within ``edge``; small images stay as they are."""
    factor = min(1.0, edge / max(shape))
    return max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))


def heat(values: np.ndarray) -> np.ndarray:
    """A map in [0, 1] in the colours of *inferno*, whose lightness grows evenly: uint8 (H, W, 3)."""
    from matplotlib import colormaps

    table = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    coloured: np.ndarray = table[np.clip(values * 255, 0, 255).astype(np.uint8)]
    return coloured


def grey(values: np.ndarray) -> np.ndarray:
    """A map in [0, 1] from black to white, uint8 (H, W, 3)."""
    return np.repeat(np.clip(values * 255, 0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def lossy(picture: np.ndarray, size: tuple[int, int], quality: int) -> str:
    """A data URI of uint8 (H, W, 3), shrunk to ``size`` (width, height)."""
    image = Image.fromarray(picture)
    image = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, LOSSY, quality=quality)
    return uri(buffer.getvalue(), f"image/{LOSSY.lower()}")


def labels(mask: np.ndarray, colours: dict[int, str], size: tuple[int, int]) -> str:
    """A data URI of labels, uint8 (H, W): a palette PNG in which 0 is clear and 255 (ignored) a veil of grey."""
    values, inverse = np.unique(mask, return_inverse=True)
    image = Image.fromarray(inverse.reshape(mask.shape).astype(np.uint8))
    image = image if image.size == size else image.resize(size, Image.Resampling.NEAREST)
    shades = [colours.get(v, IGNORED) for v in values.tolist()]
    image.putpalette([int(shade[k : k + 2], 16) for shade in shades for k in (1, 3, 5)])
    clear = bytes(0 if v == 0 else 140 if v == IGNORE else 255 for v in values.tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, transparency=clear)
    return uri(buffer.getvalue(), "image/png")


def uri(content: bytes, kind: str) -> str:
    """A file's bytes as a data URI of that media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
