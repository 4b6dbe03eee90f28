"""A page with every image of a dataset, beside the report: photos under their masks, loaded as one scrolls.

It holds no picture. It shows the files of the run where they lie, so it is small, and works only there. Masks in packs
(``storage: packed``) are no files that a page can show; it says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from wsss.data.index import SPLITS, Index
from wsss.report.effects import WORDS
from wsss.report.headline import Source
from wsss.report.html.gallery import LAYERS
from wsss.report.html.links import address
from wsss.report.html.picture_section import FIGURES, UNITS
from wsss.report.html.render import environment, static
from wsss.report.image_scores import ImageScores
from wsss.store.masks import MaskFolder

MASKS = ("segmenters", "masks")
"""Kinds of layers that are masks, the last of the chain first."""


def browse(dataset: str, index: Index, sources: Mapping[str, Source], scores: ImageScores, folder: Path) -> str:
    """The page, to be written into ``folder``, from which it finds the files."""
    names = {kind: f"{LAYERS[kind]} {sources[kind].recipe}" for kind in MASKS if kind in sources}
    folders = {kind: MaskFolder(sources[kind].folder / "masks") for kind in names}
    packed = [kind for kind, one in folders.items() if one.packs is not None]
    loose = {kind: one for kind, one in folders.items() if kind not in packed}
    layers = [{"name": names[kind], "splits": [SPLITS.index(s) for s in sources[kind].splits]} for kind in loose]
    figures = image_figures(scores)
    images = [
        [
            item.id,
            SPLITS.index(item.split),
            list(item.labels),
            address(item.image, folder),
            [address(one.path_of(item.id), folder) for one in loose.values()],
            item.width,
            item.height,
            figures.get(item.id),
        ]
        for item in index.items
    ]
    known: dict[str, Any] = {
        "classes": index.classes,
        "splits": [WORDS[s] for s in SPLITS],
        "layers": layers,
        "images": images,
    }
    known["figure"] = {"name": FIGURES.get(scores.by, ""), "unit": UNITS.get(scores.by, " %")} if figures else None
    return environment().get_template("browse.html.j2").render(
        dataset=dataset, number=len(images), packed=[names[kind] for kind in packed],
        known=as_script(known), style=static("report.css"), script=static("common.js", "browse.js"),
    )  # fmt: skip


def image_figures(scores: ImageScores) -> dict[str, float]:
    """For each image that was scored by itself the mean of its classes' figures, in percent with a digit."""
    found: dict[str, list[float]] = {}
    if scores.by in FIGURES:
        for values in scores.figures.values():
            for value, id in values:
                found.setdefault(id, []).append(value)
    return {id: round(100 * float(np.mean(values)), 1) for id, values in found.items()}


def as_script(value: Any) -> Markup:
    """Plain data as JavaScript within a page: nothing in it can end the script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
