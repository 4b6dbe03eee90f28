"""Puts the report together: ``report.html`` and the list of its pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Index, Item
from wsss.report import image_scores
from wsss.report.headline import final, shown_split, sources
from wsss.report.html import run_sections, score_sections
from wsss.report.html.browse import browse
from wsss.report.html.chain import chain
from wsss.report.html.explained import explanations
from wsss.report.html.gallery import Gallery, gallery
from wsss.report.html.links import result_files
from wsss.report.html.overview import overview
from wsss.report.html.picture_section import pictures
from wsss.report.html.render import render_page
from wsss.report.html.tag_section import tags
from wsss.report.provenance import Scored

COLUMNS = ("class", "rank", "id", "split", "ordered_by", "figure")


def build(
    dataset: str, index: Index, scored: Sequence[Scored], folder: Path, threads: int = 1
) -> tuple[str, Gallery, str, str]:
    """The page, which is to lie beside ``folder``, its pictures, the split they are of, and the page of all images,
    which is to lie in it.

    Explanations are shown if they are made by now: the report does not wait for them, since they have a target of their
    own."""
    leading = final(scored)
    split, items = shown_split(index, leading)
    layers = sources(scored, leading)
    classifier, probabilities = image_scores.tag_probabilities(index, scored, leading)
    result = layers.get(leading[0].kind) if leading else None
    scores = image_scores.score_images(index, items, result, _of(items, probabilities), threads)
    shown = gallery(index, scores, layers, split)
    seed = leading[0].seed if leading else 0
    compared, names = image_scores.comparable(scored, split, seed)
    count, rows = image_scores.agreement(index, items, compared, names, threads) if len(compared) > 1 else (0, [])
    name = f"{score_sections.KINDS[leading[0].kind]} {leading[0].recipe}" if leading else ""
    home, base = folder.parent, index.folder.parent
    sections = {
        "overview": overview(dataset, index, scored, leading) | {"files_beside": result_files(leading, folder)},
        "chain": chain(scored, leading),
        "pictures": pictures(index, shown, layers, split, probabilities, classifier, folder),
        "scores": score_sections.stages(scored),
        "steps": score_sections.steps(scored),
        "thresholds": score_sections.thresholds(scored),
        "classes": score_sections.classes(index, scored, leading, split),
        "confusion": score_sections.confusion(index, scores, name, seed),
        "tags": tags(index, classifier, probabilities),
        "uneven": score_sections.uneven(index, scored, leading, split),
        "agreement": score_sections.agreement(scored, names, rows, count, split),
        "explanations": explanations(base / "explanations", home),
        "dataset": score_sections.dataset(index, _index_report(index)),
        "training": run_sections.training(scored, home),
        "costs": run_sections.time_and_memory(index, scored),
        "provenance": run_sections.provenance(index, scored, home),
    }
    return render_page(dataset, sections), shown, split, browse(dataset, index, layers, scores, folder)


def _of(items: Sequence[Item], probabilities: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities of these images; empty unless all have some."""
    known = {item.id: probabilities[item.id] for item in items if item.id in probabilities}
    return known if len(known) == len(items) else {}


def _index_report(index: Index) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((index.folder / "report.json").read_text(encoding="utf-8"))
    return facts
