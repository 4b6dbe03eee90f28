"""Puts the report together: ``report.html`` and the list of its pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from wsss import __version__
from wsss.data.index import Index
from wsss.report import image_scores
from wsss.report.headline import final, shown_split, sources
from wsss.report.html import run_sections, score_sections
from wsss.report.html.gallery import Gallery, gallery
from wsss.report.html.markup import Html, tag
from wsss.report.html.overview import overview
from wsss.report.html.picture_section import pictures
from wsss.report.html.script import SCRIPT
from wsss.report.html.style import STYLE
from wsss.report.provenance import Scored

COLUMNS = ("class", "rank", "id", "split", "ordered_by", "figure")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page loads nothing from anywhere."""
WHOLE = "This file is whole in itself: it loads nothing and may be sent and kept as it is."
NAMES = {
    "overview": "Overview",
    "pictures": "Pictures",
    "scores": "Scores",
    "steps": "Steps",
    "thresholds": "Thresholds",
    "classes": "Classes",
    "confusion": "Confusion",
    "uneven": "Size",
    "agreement": "Agreement",
    "dataset": "Images",
    "training": "Training",
    "costs": "Time",
    "provenance": "Settings",
}
"""Sections in their order, and what the menu calls them."""


def build(dataset: str, index: Index, scored: Sequence[Scored], threads: int = 1) -> tuple[Html, Gallery, str]:
    """The page, its pictures, and the split they are of."""
    leading = final(scored)
    split, items = shown_split(index, leading)
    found = sources(scored, leading)
    by, probabilities = image_scores.tag_probabilities(index, scored, leading)
    result = None if not leading else found.get(leading[0].kind)
    verdict = image_scores.judge(index, items, result, _of(items, probabilities), threads)
    shown = gallery(index, verdict, found, split)
    seed = leading[0].seed if leading else 0
    compared, names = image_scores.comparable(scored, split, seed)
    count, rows = image_scores.agreement(index, items, compared, names, threads) if len(compared) > 1 else (0, [])
    name = f"{score_sections.KINDS[leading[0].kind]} {leading[0].recipe}" if leading else ""
    sections = {
        "overview": overview(dataset, index, scored, leading),
        "pictures": pictures(index, shown, found, split, probabilities, by),
        "scores": score_sections.stages(scored),
        "steps": score_sections.effects(scored),
        "thresholds": score_sections.thresholds(scored),
        "classes": score_sections.classes(index, scored, leading, split),
        "confusion": score_sections.confusion(index, verdict, name, seed),
        "uneven": score_sections.uneven(index, scored, leading, split),
        "agreement": score_sections.agreement(scored, names, rows, count, split),
        "dataset": score_sections.dataset(index, _index_report(index)),
        "training": run_sections.training(scored),
        "costs": run_sections.spent(index, scored),
        "provenance": run_sections.provenance(index, scored),
    }
    return document(dataset, {key: sections[key] for key in NAMES if sections[key]}), shown, split


def _of(items: Sequence[Any], probabilities: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities of these images; empty unless all have some."""
    known = {item.id: probabilities[item.id] for item in items if item.id in probabilities}
    return known if len(known) == len(items) else {}


def _index_report(index: Index) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((index.folder / "report.json").read_text(encoding="utf-8"))
    return facts


def document(dataset: str, sections: dict[str, Html]) -> Html:
    """The whole page."""
    links = [tag("li", tag("a", NAMES[key], href=f"#{key}")) for key in sections]
    toggle = tag("button", "Theme: auto", type="button", id="theme", aria_live="polite")
    head = tag(
        "head", tag("meta", charset="utf-8"), tag("title", f"Report of {dataset}"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"), tag("style", Html(STYLE)),
    )  # fmt: skip
    body = tag(
        "body", tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", tag("div", tag("h1", dataset, tag("small", "report")), toggle, class_="top"),
            tag("nav", tag("ul", links), aria_label="Sections")),
        tag("main", list(sections.values()), id="content"),
        tag("footer", tag("p", f"Made by wsss {__version__}. {WHOLE}")),
        tag("dialog", id="viewer", aria_label="Picture"), tag("script", Html(SCRIPT)),
    )  # fmt: skip
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")
