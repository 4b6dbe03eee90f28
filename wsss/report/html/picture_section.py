"""The section with pictures: for every class the best, the median and the worst image, layer beside layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsss.data.index import Index
from wsss.data.palette import class_colours
from wsss.report.effects import WORDS
from wsss.report.headline import Source
from wsss.report.html.gallery import ERRORS, LAYERS, Card, Gallery, rank_name
from wsss.report.html.render import Content
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
) -> Content | None:
    """Cards of every class; None where there are no images to show. ``classifier``: which gave the probabilities."""
    if not gallery.cards:
        return None
    labels = list(zip(index.classes, class_colours(len(index.classes)), strict=True))
    shown = list(dict.fromkeys(card.label for card in gallery.cards))
    classes = []
    for place, c in enumerate(shown):
        cards = [card for card in gallery.cards if card.label == c]
        classes.append(
            {
                "label": labels[c],
                "range": figures(gallery.by, [card.figure for card in (cards[0], cards[-1])]),
                "opened": len(shown) <= OPEN or place == 0,
                "cards": [_card(card, gallery.by, sources, probabilities, labels) for card in cards],
            }
        )
    return {
        "split": WORDS[split],
        "order": ORDERED[gallery.by],
        "legend": [labels[c] for c in shown],
        "errors": list(ERRORS.items()) if any("error" in card.layers for card in gallery.cards) else [],
        "classes": classes,
        "notes": _notes(index, gallery, sources, split, classifier),
    }


def figures(by: str, values: Sequence[float]) -> str:
    """``IoU 61.2 to 40.0``, ``probability 99.0 %``; empty for images that no figure orders."""
    if by not in FIGURES:
        return ""
    return f"{FIGURES[by]} {' to '.join(f'{100 * value:.1f}' for value in values)}{UNITS.get(by, ' %')}"


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
    card: Card, by: str, sources: dict[str, Source], probabilities: dict[str, np.ndarray], labels: Sequence[Label]
) -> dict[str, Any]:
    rank, known = rank_name(by, card.rank), probabilities.get(card.item.id)
    name = labels[card.label][0]
    return {
        "item": card.item,
        "title": f"{rank} image of {name}: {card.item.id}",
        "rank": rank,
        "figure": figures(by, [card.figure]),
        "tags": [(labels[c], "" if known is None else f"{100 * known[c]:.0f} %") for c in card.item.labels],
        "layers": [_layer(card, layer, uri, sources, name) for layer, uri in card.layers.items()],
    }


def _layer(card: Card, name: str, uri: str | None, sources: dict[str, Source], label: str) -> dict[str, str | None]:
    """One layer; ``alt`` says what it is of, which recipe made it, and which classes or errors it shows."""
    seen = card.seen.get(name)
    alt = LAYERS[name] + (f" of {label}" if name == "cams" else "")
    alt += (f" {sources[name].recipe}" if name in sources else "") + f", {card.item.id}"
    alt += "" if seen is None else f": {listed(seen, ' and ') if seen else 'nothing'}"
    title = "CAM" if name == "cams" else LAYERS[name]
    return {"name": name, "title": title, "uri": uri, "alt": alt, "kind": KINDS.get(name, "mask")}
