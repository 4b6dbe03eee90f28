"""A page with every image of a dataset, beside the report: photos under their masks, loaded as one scrolls.

It holds no picture. It shows the files of the run where they lie, so it is small, and works only there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from wsss.data.index import SPLITS, Index
from wsss.report.effects import WORDS
from wsss.report.headline import Source
from wsss.report.html.gallery import LAYERS
from wsss.report.html.picture_section import FIGURES, UNITS
from wsss.report.html.render import HERE, environment
from wsss.report.image_scores import ImageScores
from wsss.store.masks import MaskFolder

NAME = "images.html"
MASKS = ("segmenters", "masks")
"""Kinds of layers that are masks, the last of the chain first."""


def browse(dataset: str, index: Index, sources: Mapping[str, Source], scores: ImageScores, folder: Path) -> str:
    """The page, to be written into ``folder``, from which it finds the files."""
    layers = [
        {"name": f"{LAYERS[kind]} {sources[kind].recipe}", "splits": [SPLITS.index(s) for s in sources[kind].splits]}
        for kind in MASKS
        if kind in sources
    ]
    folders = [MaskFolder(sources[kind].folder / "masks") for kind in MASKS if kind in sources]
    figures = image_figures(scores)
    images = [
        [
            item.id,
            SPLITS.index(item.split),
            list(item.labels),
            address(item.image, folder),
            [address(one.file(item.id), folder) for one in folders],
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
    style, script = ((HERE / "static" / name).read_text("utf-8") for name in ("report.css", "browse.js"))
    return environment().get_template("browse.html.j2").render(
        dataset=dataset, number=len(images), known=as_script(known), style=Markup(style), script=Markup(script)
    )  # fmt: skip


def image_figures(scores: ImageScores) -> dict[str, float]:
    """For each image that was scored by itself the mean of its classes' figures, in percent with a digit."""
    found: dict[str, list[float]] = {}
    if scores.by in FIGURES:
        for values in scores.figures.values():
            for value, id in values:
                found.setdefault(id, []).append(value)
    return {id: round(100 * float(np.mean(values)), 1) for id, values in found.items()}


def address(path: Path, folder: Path) -> str:
    """A file as a link from a page in ``folder``."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def as_script(value: Any) -> Markup:
    """Plain data as JavaScript within a page: nothing in it can end the script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
