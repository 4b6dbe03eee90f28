"""The section with pictures: for every class the best, the median and the worst image, layer beside layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.data.index import Index
from wsss.report.headline import Source
from wsss.report.html.gallery import ALARM, LAYERS, MISSED, WRONG, Card, Gallery, class_colours, rank_name
from wsss.report.html.markup import Html, counted, folded, listed, markup, section, tag

OPEN = 8
"""Classes up to which all are unfolded at once."""
ORDERED = {
    "iou": "ordered by the IoU of the class within the image",
    "probability": "ordered by the probability that the classifier gives the tag, as there are no true masks",
    "share": "ordered by the share of the image that the class takes, as there are no true masks",
    "none": "in the order of their names, for there is nothing to judge them by",
}
FIGURES = {"iou": "IoU", "probability": "probability", "share": "share of the image"}


def pictures(
    index: Index, found: Gallery, sources: dict[str, Source], split: str, probabilities: dict[str, np.ndarray], by: str
) -> Html:
    """The section; nothing where there are no images to show. ``by``: the classifier that gave the probabilities."""
    if not found.cards:
        return Html()
    shown = list(dict.fromkeys(card.label for card in found.cards))
    colours = class_colours(len(index.classes))
    classes = [
        folded(
            [_chip(index.classes[c], colours[c]), tag("span", _span(found, c), class_="aside")],
            [_card(index, card, found.by, sources, probabilities, colours) for card in found.cards if card.label == c],
            opened=len(shown) <= OPEN or k == 0,
            class_="class",
        )
        for k, c in enumerate(shown)
    ]
    names = [f"{LAYERS[kind]} {source.recipe}" for kind, source in sources.items() if split in source.splits]
    absent = [LAYERS[kind] for kind, source in sources.items() if split not in source.splits]
    said = [
        f"Three images of each class from the {'validation' if split == 'val' else 'training'} images, "
        f"{ORDERED[found.by]}. They are chosen by the figures alone, so the same results always show the same images. "
        "Press a picture to see it large and to lay one layer over another.",
    ]
    notes = [
        f"Shown: {listed(names)}." if names else "",
        f"Not made for these images: {listed(absent)}." if absent else "",
        f"There is no room for {counted(len(found.left_out), 'more class', 'more classes')}: "
        f"{', '.join(index.classes[c] for c in found.left_out)}." if found.left_out else "",
        f"Probabilities are those of classifier {by}." if by else "",
    ]  # fmt: skip
    wrong = any("error" in card.layers for card in found.cards)
    return section(
        "pictures", "Pictures", said, _legend(index, shown, colours, wrong), _controls(),
        classes, tag("p", " ".join(filter(None, notes)), class_="note"),
    )  # fmt: skip


def _controls() -> Html:
    slider = tag("input", type="range", id="strength", min=0, max=100, value=75, step=5)
    label = tag("label", "Strength of the layers over the image", for_="strength")
    return tag("div", label, slider, tag("output", "75 %", for_="strength", id="strength-value"), class_="controls")


def _legend(index: Index, shown: Sequence[int], colours: Sequence[str], errors: bool) -> Html:
    chips = [tag("li", _chip(index.classes[c], colours[c])) for c in shown]
    parts = [tag("p", "Classes", class_="label"), tag("ul", chips, class_="legend")]
    if errors:
        kinds = {"missed": MISSED, "false alarm": ALARM, "wrong class": WRONG}
        chips = [tag("li", _chip(name, colour)) for name, colour in kinds.items()]
        parts += [tag("p", "Errors", class_="label"), tag("ul", chips, class_="legend")]
    said = "Grey is not judged. The mask files themselves have the colours of PASCAL VOC."
    return tag("div", parts, tag("p", said, class_="note"), class_="key")


def _chip(name: str, colour: str) -> Html:
    return tag("span", tag("i", style=f"background:{colour}", aria_hidden="true"), name, class_="chip")


def _span(found: Gallery, label: int) -> str:
    if found.by not in FIGURES:
        return ""
    values = [100 * card.figure for card in found.cards if card.label == label]
    unit = "" if found.by == "iou" else " %"
    return f"{FIGURES[found.by]} {values[0]:.1f} to {values[-1]:.1f}{unit}"


def _card(
    index: Index, card: Card, by: str, sources: dict[str, Source], probabilities: dict[str, np.ndarray],
    colours: Sequence[str],
) -> Html:  # fmt: skip
    title = rank_name(by, card.rank)
    figure = f"{FIGURES[by]} {100 * card.figure:.1f}" + ("" if by == "iou" else " %") if by in FIGURES else ""
    known = probabilities.get(card.item.id)
    tags = [
        tag(
            "li",
            _chip(index.classes[c], colours[c]),
            None if known is None else tag("small", f"{100 * known[c]:.0f} %"),
        )
        for c in card.item.labels
    ]
    head = tag(
        "header", tag("b", title.capitalize()), tag("span", figure, class_="figure"),
        tag("code", card.item.id), tag("ul", tags, class_="legend", aria_label="tags of the image"),
    )  # fmt: skip
    layers = [_layer(card, name, uri, sources, index.classes[card.label]) for name, uri in card.layers.items()]
    ratio = f"--ratio:{card.item.width}/{card.item.height}"
    return tag("article", head, tag("div", layers, class_="layers"), class_="card", style=ratio,
               aria_label=f"{title} image of {index.classes[card.label]}: {card.item.id}")  # fmt: skip


def _layer(card: Card, name: str, uri: str | None, sources: dict[str, Source], label: str) -> Html:
    title = "CAM" if name == "cams" else LAYERS[name]
    if uri is None:
        return tag("div", tag("span", "none", class_="frame empty"), tag("span", title), class_="layer")
    seen = card.seen.get(name)
    what = f": {listed(seen) if seen else 'nothing'}" if seen is not None else ""
    of = f" of {label}" if name == "cams" else ""
    recipe = f" {sources[name].recipe}" if name in sources else ""
    alt = f"{LAYERS[name]}{of}{recipe}, {card.item.id}{what}"
    picture = tag("img", src=uri, alt=alt, decoding="async", class_="base" if name == "image" else "over")
    kind = "map" if name in ("cams", "saliency") else "mask" if name != "image" else "image"
    return tag("button", tag("span", picture, class_="frame"), tag("span", markup(title)), type="button",
               class_=f"layer {kind}", data_layer=name)  # fmt: skip
