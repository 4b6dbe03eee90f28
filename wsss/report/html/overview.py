"""The top of the page: what was run in one paragraph, the figures that matter most, what cannot be scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsss.data.index import SPLITS, Index
from wsss.report.effects import WORDS, harm, missed
from wsss.report.headline import figure, recipes, upper_bound
from wsss.report.html.markup import Html, counted, duration, listed, section, tag
from wsss.report.provenance import Scored, lineage, supervision
from wsss.report.tables import costs, spread

KINDS = {"classifiers": "classifier", "masks": "set of pseudo masks", "segmenters": "segmentation network"}
WITHOUT = (
    "There are no true masks of these images, so nothing here says how well the masks fit: no IoU, no threshold chosen "
    "by masks, no errors. What can be seen without them: the pictures, how sure the classifier is of the tags, how "
    "much of an image each class takes, how far the recipes agree, and what everything cost. A few dozen true masks "
    "(setting 'masks' of the dataset) would allow all the rest."
)


def overview(dataset: str, index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> Html:
    """The section."""
    masked = any(index.scored(split) for split in SPLITS)
    notes = []
    if not masked:
        notes.append(WITHOUT)
    elif lacking := [WORDS[s] for s in SPLITS if index.split(s) and not index.scored(s)]:
        notes.append(
            f"The {listed(lacking)} images have no true masks and cannot be scored; what is said of them needs none."
        )
    rests_on = [folder for one in leading for folder in (one.artefact, *lineage(one.artefact))]
    notes += [*harm(scored, rests_on), *missed(scored, rests_on)]
    if index.dropped:
        notes.append(f"Left out as broken: {counted(len(index.dropped), 'image')} of the dataset's lists.")
    return section(
        "overview", "What was run", paragraph(dataset, index, scored, leading), key_figures(index, scored, leading),
        [tag("p", note, class_="callout", role="note") for note in notes],
    )  # fmt: skip


def paragraph(dataset: str, index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> str:
    """What was run, in one paragraph."""
    images = [f"{counted(len(index.split(s)), f'{WORDS[s]} image')}" for s in SPLITS if index.split(s)]
    names = (
        list(index.classes) if len(index.classes) <= 12 else [*index.classes[:10], f"{len(index.classes) - 10} more"]
    )
    said = [
        f"Dataset {dataset}: {listed(images)} of {counted(len(index.classes), 'class', 'classes')} ({listed(names)})."
    ]
    seeds = sorted({one.seed for one in scored})
    made = [counted(len(recipes(scored, k)), noun, f"{noun}s" if k != "masks" else "sets of pseudo masks")
            for k, noun in KINDS.items() if recipes(scored, k)]  # fmt: skip
    if made:
        times = f", with {counted(len(seeds), 'seed')}" if len(seeds) > 1 else ""
        said.append(f"Made and scored: {listed(made)}{times}.")
    if leading:
        supplied = ", ".join(supervision(leading[0].artefact)) or "nothing"
        said.append(f"The result shown first is {chain(leading[0].artefact)}.")
        said.append(f"What a person had to supply for it beside the images: {supplied}.")
        split = _split(leading)
        values = [figure(one, split) for one in leading]
        if any(v is not None for v in values):
            images = leading[0].content["splits"][split]["images"]
            said.append(f"It reaches {percent(values)} mIoU on {counted(images, f'{WORDS[split]} image')}.")
            bound = [figure(one, split) for one in upper_bound(scored)]
            if any(v is not None for v in bound) and upper_bound(scored) != leading:
                said.append(f"A network that learnt from true masks reaches {percent(bound)}.")
    return " ".join(said)


def chain(artefact: Path) -> str:
    """``the segmentation network a, from pseudo masks b, from maps c of classifier d``."""
    words = {"predictions": "the segmentation network", "masks": "pseudo masks", "cams": "maps",
             "classifiers": "the classifier", "affinity": "a random walk by affinity"}  # fmt: skip
    found: dict[str, str] = {}
    for folder in lineage(artefact):
        if folder.parent.name in words:
            found.setdefault(folder.parent.name, folder.name)
    order = [k for k in words if k in found]
    return ", from ".join(f"{words[k]} {found[k]}" for k in order)


def key_figures(index: Index, scored: Sequence[Scored], leading: Sequence[Scored]) -> Html:
    """Cards with the figures that matter most; only those that are known."""
    shown: list[tuple[str, str, str]] = []

    def add(title: str, group: Sequence[Scored], said: str) -> None:
        split = _split(group) if group else ""
        values = [figure(one, split) for one in group]
        if any(v is not None for v in values):
            shown.append((title, percent(values), f"{said}, {WORDS[split]} images"))

    if leading:
        add("Final masks", leading, f"mIoU of {leading[0].recipe}")
    bound = upper_bound(scored)
    if bound and list(bound) != list(leading):
        add("Upper bound", bound, "mIoU when learnt from true masks")
    sets = {one.artefact for one in scored}
    before = lineage(leading[0].artefact) if leading else {}
    for kind, title, what in (("masks", "Pseudo masks", "mIoU of"), ("classifiers", "Tags", "mAP of")):
        group = next(
            (g for (_, name), g in recipes(scored, kind).items() if g[0].artefact in before and g[0].artefact in sets),
            [],
        )
        if group and list(group) != list(leading):
            add(title, group, f"{what} {group[0].recipe}")
    spent = sum(sum(c.seconds) for c in costs(index, list(scored)))
    shown.append(("Images", f"{len(index.items):,}", " + ".join(f"{len(index.split(s)):,} {WORDS[s]}" for s in SPLITS)))
    shown.append(("Computing time", duration(spent), "of all stages, one after the other"))
    return tag(
        "dl",
        [tag("div", tag("dt", t), tag("dd", v), tag("dd", s, class_="note")) for t, v, s in shown],
        class_="figures",
    )


def percent(values: Sequence[float | None]) -> str:
    """``61.2 ± 1.3 %``; a line may be broken before the ``±`` alone."""
    return f"{spread(values)} %".replace("± ", "±\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%")


def _split(group: Sequence[Scored]) -> str:
    """The last split that was scored."""
    splits = [s for s in SPLITS if s in group[0].content["splits"]]
    known = [s for s in splits if figure(group[0], s) is not None]
    return (known or splits or list(SPLITS))[-1]
