"""The section with pictures: for every class the best, the median and the worst image, layer beside layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from wsss.data.index import Index, Item
from wsss.data.palette import class_colours
from wsss.report.effects import WORDS
from wsss.report.headline import Source
from wsss.report.html.gallery import ERRORS, LAYERS, Card, Gallery, rank_name
from wsss.report.html.links import NAME, address
from wsss.report.html.render import Content
from wsss.store.masks import MaskFolder
from wsss.text import count, listed

OPEN = 8
"""Classes up to which all are unfolded at once."""
ORDERED = {
    "iou": "ordered by the IoU of the class within the image",
    "probability": "ordered by the probability that the classifier gives the tag, as there are no ground-truth masks",
    "share": "ordered by the share of the image that the class takes, as there are no ground-truth masks",
    "none": "in the order of their names, as nothing scores them",
}
FIGURES = {"iou": "IoU", "probability": "probability", "share": "share of the image"}
NOT_FOUND = "IoU 0: not found in any of its images"
UNITS = {"iou": ""}
"""Units of the figures; percent where there is none here."""
KINDS = {"image": "image", "cams": "map", "saliency": "map"}
"""How a layer lies over its image; all others are masks."""
Label = tuple[str, str]
"""A class and its colour."""


def pictures(
    index: Index,
    gallery: Gallery,
    sources: dict[str, Source],
    split: str,
    probabilities: dict[str, np.ndarray],
    classifier: str,
    folder: Path,
) -> Content | None:
    """Cards of every class; None where there are no images to show. ``classifier``: which gave the probabilities;
    ``folder``: of the page of all images, beside which this one lies."""
    if not gallery.cards:
        return None
    labels = list(zip(index.classes, class_colours(len(index.classes)), strict=True))
    shown = list(dict.fromkeys(card.label for card in gallery.cards))
    classes = []
    for place, c in enumerate(shown):
        cards = [card for card in gallery.cards if card.label == c]
        lost = gallery.by == "iou" and cards[0].figure == 0  # the first is the best
        classes.append(
            {
                "label": labels[c],
                "range": NOT_FOUND if lost else span(gallery.by, cards[0].figure, cards[-1].figure),
                "opened": len(shown) <= OPEN or place == 0,
                "cards": [
                    _card(card, gallery.by, sources, probabilities, labels, folder.parent, lost) for card in cards
                ],
            }
        )
    return {
        "split": WORDS[split],
        "order": ORDERED[gallery.by],
        "legend": [labels[c] for c in shown],
        "errors": list(ERRORS.items()) if any("error" in card.layers for card in gallery.cards) else [],
        "classes": classes,
        "notes": _notes(index, gallery, sources, split, classifier),
        "every_image": f"{quote(folder.name)}/{NAME}",
    }


def figure_of(by: str, value: float) -> str:
    """``IoU 61.2``, ``probability 99.0 %``; empty for images that no figure orders."""
    return f"{FIGURES[by]} {100 * value:.1f}{UNITS.get(by, ' %')}" if by in FIGURES else ""


def span(by: str, best: float, worst: float) -> str:
    """``IoU 61.2 to 40.0``; one figure where both are written alike."""
    first, last = figure_of(by, best), figure_of(by, worst)
    if first == last:
        return first
    return f"{first.removesuffix(UNITS.get(by, ' %'))} to {last.removeprefix(f'{FIGURES[by]} ')}"


def _notes(index: Index, gallery: Gallery, sources: dict[str, Source], split: str, classifier: str) -> list[str]:
    """Which recipes are shown, and what is missing."""
    names = [f"{LAYERS[kind]} {source.recipe}" for kind, source in sources.items() if split in source.splits]
    absent = [LAYERS[kind] for kind, source in sources.items() if split not in source.splits]
    notes = []
    if names:
        notes.append(f"Shown: {listed(names, ' and ')}.")
    if absent:
        notes.append(f"Not made for these images: {listed(absent, ' and ')}.")
    if gallery.left_out:
        more = count(len(gallery.left_out), "more class", "more classes")
        notes.append(f"There is no room for {more}: {listed(index.classes[c] for c in gallery.left_out)}.")
    if classifier:
        notes.append(f"Probabilities are those of classifier {classifier}.")
    return notes


def _card(
    card: Card,
    by: str,
    sources: dict[str, Source],
    probabilities: dict[str, np.ndarray],
    labels: Sequence[Label],
    home: Path,
    lost: bool,
) -> dict[str, Any]:
    """A card; ``lost``: no mask has its class right, so no image of it is the best one."""
    rank, known = rank_name(by, card.rank), probabilities.get(card.item.id)
    name = labels[card.label][0]
    return {
        "item": card.item,
        "title": f"{name}, not found: {card.item.id}" if lost else f"{rank} image of {name}: {card.item.id}",
        "rank": "not found" if lost else rank,
        "figure": figure_of(by, card.figure),
        "tags": [(labels[c], "" if known is None else f"{100 * known[c]:.0f} %") for c in card.item.labels],
        "layers": [_layer(card, layer, uri, sources, name, home) for layer, uri in card.layers.items()],
    }


def _layer(
    card: Card, name: str, uri: str | None, sources: dict[str, Source], label: str, home: Path
) -> dict[str, str | None]:
    """One layer; ``alt`` says what it is of, which recipe made it, and which classes or errors it shows; ``file`` is a
    link to where it comes from, where that is a file."""
    seen = card.seen.get(name)
    alt = LAYERS[name] + (f" of {label}" if name == "cams" else "")
    alt += (f" {sources[name].recipe}" if name in sources else "") + f", {card.item.id}"
    alt += "" if seen is None else f": {listed(seen, ' and ') if seen else 'nothing'}"
    title = "CAM" if name == "cams" else LAYERS[name]
    file = file_of(card.item, name, sources.get(name))
    link = "" if file is None else address(file, home)
    return {"name": name, "title": title, "uri": uri, "alt": alt, "kind": KINDS.get(name, "mask"), "file": link}


def file_of(item: Item, layer: str, source: Source | None) -> Path | None:
    """The file that a layer of an image was made from; None for maps and errors, which have none, and packed masks."""
    if layer in ("image", "truth"):
        return item.image if layer == "image" else item.mask
    if source is None or source.kind not in ("masks", "segmenters"):
        return None
    masks = MaskFolder(source.folder / "masks")
    return masks.path_of(item.id) if masks.packs is None else None
