"""The top of the page: what was run in one paragraph, the figures that matter most, what cannot be scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsss.data.index import SPLITS, Index
from wsss.report.effects import WORDS, harm, missed
from wsss.report.headline import figure, last_split, recipes, upper_bound
from wsss.report.html.render import Content
from wsss.report.provenance import Scored, fetched_weights, lineage, supervision
from wsss.report.rounds import settled
from wsss.report.tables import costs, spread
from wsss.report.verdict import verdict
from wsss.text import count, duration, listed

KINDS = {
    "classifiers": ("classifier", "classifiers"),
    "masks": ("set of pseudo-labels", "sets of pseudo-labels"),
    "segmenters": ("segmentation network", "segmentation networks"),
}
AND = " and "


def overview(dataset: str, index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> Content:
    """Content of the section: ``sentences``, ``figures`` of :func:`main_figures`, ``masked`` (whether there are true
    masks), ``lights`` (the verdict) and ``notes``."""
    masked = any(index.scored(split) for split in SPLITS)
    notes = []
    if masked and (lacking := [WORDS[s] for s in SPLITS if index.split(s) and not index.scored(s)]):
        notes.append(
            f"The {listed(lacking, AND)} images have no ground-truth masks and cannot be scored; what the report shows "
            "of them needs none."
        )
    rests_on = [folder for one in leading for folder in (one.artefact, *lineage(one.artefact))]
    notes += [*harm(scored, rests_on), *missed(scored, rests_on), *settled(scored)]
    if index.dropped:
        notes.append(f"Left out as broken: {count(len(index.dropped), 'image')} of the dataset's lists.")
    return {
        "sentences": sentences(dataset, index, scored, leading),
        "figures": main_figures(index, scored, leading),
        "masked": masked,
        "lights": verdict(index, scored, leading),
        "notes": notes,
    }


def sentences(dataset: str, index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> list[str]:
    """What was run, what leads the report and how good it is."""
    images = [count(len(index.split(s)), f"{WORDS[s]} image") for s in SPLITS if index.split(s)]
    names = list(index.classes)
    if len(names) > 12:
        names = [*names[:10], f"{len(names) - 10} more"]
    classes = f"{count(len(index.classes), 'class', 'classes')} ({listed(names, AND)})"
    text = [f"Dataset {dataset}: {listed(images, AND)} of {classes}."]
    numbers = {kind: len(recipes(scored, kind)) for kind in KINDS}
    if made := [count(number, *KINDS[kind]) for kind, number in numbers.items() if number]:
        seeds = len({one.seed for one in scored})
        text.append(f"Made and scored: {listed(made, AND)}{f', with {seeds} seeds' if seeds > 1 else ''}.")
    if not leading:
        return text
    text.append(f"The result shown first is {chain(leading[0].artefact)}.")
    supplied = supervision(leading[0].artefact) or ["nothing"]
    text.append(f"What a person had to supply for it beside the images: {listed(supplied)}.")
    if weights := fetched_weights(leading[0].artefact):
        text.append(f"Weights that it rests on: {listed(weights)}.")
    split = last_split(leading)
    values = [figure(one, split) for one in leading]
    if any(value is not None for value in values):
        scored_images = count(leading[0].content["splits"][split]["images"], f"{WORDS[split]} image")
        text.append(f"It reaches {percent(values)} mIoU on {scored_images}.")
        bound = upper_bound(scored)
        values = [figure(one, split) for one in bound]
        if bound != list(leading) and any(value is not None for value in values):
            text.append(f"A network that learnt from ground-truth masks reaches {percent(values)}.")
    return text


def chain(artefact: Path) -> str:
    """``the segmentation network a, from pseudo-labels b, from maps c, from the classifier d``."""
    words = {
        "predictions": "the segmentation network",
        "masks": "pseudo-labels",
        "cams": "maps",
        "classifiers": "the classifier",
        "affinity": "a random walk by affinity",
    }
    names: dict[str, str] = {}
    for folder in lineage(artefact):
        names.setdefault(folder.parent.name, folder.name)
    return ", from ".join(f"{text} {names[kind]}" for kind, text in words.items() if kind in names)


def main_figures(index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> list[tuple[str, str, str]]:
    """Title, value and note of the figures that matter most; only those that are known."""
    before = list(lineage(leading[0].artefact)) if leading else []  # the nearest first
    groups = [("Upper bound", "mIoU when learnt from ground-truth masks", upper_bound(scored))]
    parts = (("masks", "Pseudo-labels", "mIoU of {}"), ("classifiers", "Image classification", "mAP of {}"))
    for kind, title, note in parts:
        known = [group for group in recipes(scored, kind).values() if group[0].artefact in before]
        group = min(known, key=lambda group: before.index(group[0].artefact), default=[])
        groups.append((title, note, group))
    groups = [("Final masks", "mIoU of {}", list(leading)), *(g for g in groups if g[2] != list(leading))]
    figures = []
    for title, note, group in groups:
        split = last_split(group) if group else ""
        values = [figure(one, split) for one in group]
        if any(value is not None for value in values):
            figures.append((title, percent(values), f"{note.format(group[0].recipe)}, {WORDS[split]} images"))
    spent = sum(sum(cost.seconds) for cost in costs(index, list(scored)))
    splits = " + ".join(f"{len(index.split(s)):,} {WORDS[s]}" for s in SPLITS)
    figures.append(("Images", f"{len(index.items):,}", splits))
    figures.append(("Computing time", duration(spent), "of all stages, one after the other"))
    return figures


def percent(values: Sequence[float | None]) -> str:
    """``61.2 ± 1.3 %``; a line may be broken before the ``±`` alone."""
    return f"{spread(values)} %".replace("± ", "±\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%")
