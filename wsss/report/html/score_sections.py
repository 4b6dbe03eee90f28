"""The sections with scores: tables of all stages, threshold curves, classes, confusion, break-down, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np

from wsss.data.index import SPLITS, Index
from wsss.evaluate.breakdown import SIZES, THIRDS
from wsss.report.effects import WORDS, effects, effects_table
from wsss.report.headline import figure, recipes, scores_of, upper_bound
from wsss.report.html.charts import Bar, Bars, Dots, Line, Mark, heat_map, line_chart
from wsss.report.html.render import Content
from wsss.report.image_scores import MOST_COMPARED, ImageScores
from wsss.report.markdown import AGREEMENT, CHOICES, EFFECTS, NO_TRUTH, TAGS
from wsss.report.paths import paths
from wsss.report.provenance import Scored, lineage, supervision
from wsss.report.tables import (
    TITLES,
    Table,
    agreement_table,
    blind_table,
    choices_table,
    classes_table,
    counts,
    scores_table,
    spread,
    tags_table,
    uneven_table,
    uneven_words,
)
from wsss.text import count

KINDS = {"cams": "maps", "masks": "pseudo-labels", "segmenters": "predictions"}
SHAPES = {"fixed": "ring", "calibrated": "dot", "oracle": "diamond"}
"""How thresholds are marked in the curves, by how they were chosen."""
MOST_CELLS = 25
"""Classes up to which the confusion is shown whole; beyond, its largest cells are."""
MOST_CONFUSIONS = 15


def stages(scored: Sequence[Scored]) -> Content | None:
    """``groups``: the main figures of all recipes, by stage; ``kinds``: dots and tables of each stage; ``tags``: what
    they took out of what was made elsewhere."""
    kinds, groups = [], []
    for kind, title in TITLES.items():
        of_kind = [one for one in scored if one.kind == kind]
        if not of_kind:
            continue
        by_recipe = {name: group for (_, name), group in recipes(of_kind, kind).items()}
        if rows := [row for name, group in by_recipe.items() if (row := _row(name, group))]:
            groups.append((f"{title.partition(':')[0]}, {'mAP' if kind == 'classifiers' else 'mIoU'} in %", rows))
        kinds.append(
            {
                "name": kind,
                "title": title,
                "dots": [dots for name, group in by_recipe.items() if (dots := _dots(name, group))],
                "all": scores_table(kind, of_kind),
                "unmasked": blind_table(of_kind),
            }
        )
    if not kinds:
        return None
    said = {"no_truth": NO_TRUTH.replace("*", ""), "tags_said": TAGS.replace("*", "").replace("`", "")}
    return {"groups": groups, "kinds": kinds, "tags": tags_table(list(scored)), **said}


def _row(name: str, group: Sequence[Scored]) -> tuple[str, list[str], str] | None:
    """A recipe, its main figure on each split and its number of seeds, and what went in; None without a figure."""
    figures = [spread([figure(one, split) for one in group]) for split in reversed(SPLITS)]
    if all(text == "–" for text in figures):
        return None
    return name, [*figures, str(len(group))], ", ".join(supervision(group[0].artefact))


def _dots(name: str, group: Sequence[Scored]) -> Dots | None:
    values = {split: _known([figure(one, split) for one in group]) for split in SPLITS}
    splits = [split for split in SPLITS if values[split]]
    if not splits:
        return None
    return Dots(name, [(s, f"{WORDS[s]} images:", values[s]) for s in splits], spread(values[splits[-1]]))


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def steps(scored: Sequence[Scored]) -> Content | None:
    """What each step brought."""
    table = effects_table([*effects(scored), *paths(scored)])
    return {"explanation": EFFECTS.replace("*", ""), "steps": table} if table else None


def thresholds(scored: Sequence[Scored]) -> Content | None:
    """``charts``: mIoU of maps at every threshold, on the same axes."""
    drawn: dict[str, list[Line]] = {}
    for kind, title in (("cams", "Class activation maps"), ("saliency", "Saliency maps")):
        for split in reversed(SPLITS):
            lines = drawn.setdefault(f"{title}, {WORDS[split]} images", [])
            for series, ((_, name), group) in enumerate(recipes(scored, kind).items()):
                curved = [one for one in group if "curve" in one.content["splits"].get(split, {})]
                lines += [_curve(name if k == 0 else "", series, one, split) for k, one in enumerate(curved)]
    every = [line for lines in drawn.values() for line in lines]
    charts = [
        line_chart(lines, title, "threshold", "mIoU, %", percent=True, beside=every) for title, lines in drawn.items()
    ]
    return {"charts": [chart for chart in charts if chart]} if any(charts) else None


def _curve(name: str, series: int, one: Scored, split: str) -> Line:
    """mIoU of maps of one seed by threshold; the first seed has a name and marks, the others are thin."""
    content = one.content["splits"][split]
    curve = content["curve"]
    marks = [
        Mark(
            p["threshold"], p["miou"], SHAPES[policy], f"{name}, {policy}: {p['threshold']:g}, {100 * p['miou']:.1f} %"
        )
        for policy, p in content["policies"].items()
        if name and policy in SHAPES and p.get("miou") is not None
    ]
    ys = [np.nan if value is None else value for value in curve["miou"]]
    return Line(name, curve["threshold"], ys, series, marks, thin=not name, said=f"{one.recipe}, seed {one.seed}")


def classes(index: Index, scored: Sequence[Scored], leading: Sequence[Scored], split: str) -> Content | None:
    """IoU of every class: bars of the leading ``results`` and the upper bound, then a table of all ``recipes``."""
    groups: dict[str, Sequence[Scored]] = {}
    if leading:
        groups[f"{KINDS[leading[0].kind]} {leading[0].recipe}"] = leading
        before = lineage(leading[0].artefact)
        for (_, name), group in recipes(scored, "masks").items():
            if group[0].artefact in before and group != list(leading):
                groups.setdefault(f"{KINDS['masks']} {name}", group)
    if (bound := upper_bound(scored)) and bound != list(leading):
        groups[f"from ground-truth masks: {bound[0].recipe}"] = bound
    known = {name: values for name, group in groups.items() if (values := _ious(index, group, split))}
    rows = [
        (c, [_bar(values[c], series) for series, values in enumerate(known.values())])
        for c in ("background", *index.classes)
    ]
    every = classes_table(index, list(scored))
    if not known and not every:
        return None
    return {"split": WORDS[split], "results": list(enumerate(known)), "rows": rows, "recipes": every}


def _ious(index: Index, group: Sequence[Scored], split: str) -> dict[str, list[float | None]]:
    each = [scores_of(one, split) for one in group]
    if not all("iou" in next(iter(e.get("per_class", {"": {}}).values())) for e in each):
        return {}
    return {c: [e["per_class"][c]["iou"] for e in each] for c in ("background", *index.classes)}


def _bar(values: Sequence[float | None], series: int = 0) -> Bar:
    """Mean over the seeds; the text has the deviation, too."""
    known = _known(values)
    return Bar(mean(known) if known else None, spread(values), series)


def confusion(index: Index, scores: ImageScores, result: str, seed: int) -> Content | None:
    """What is taken for what: the whole ``matrix`` of few classes, and the largest ``mistakes``."""
    matrix, unlabelled = scores.matrix, scores.unlabelled
    if matrix is None or unlabelled is None:
        return None
    true = matrix.sum(axis=1) + unlabelled
    names = ["background", *index.classes]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, left_out = matrix / true[:, None], unlabelled / true  # NaN where a class has no pixel
    chart = None
    if len(names) <= MOST_CELLS:
        columns, cells = names, shares
        if unlabelled.any():
            columns, cells = [*names, "left out"], np.column_stack([shares, left_out])
        title = "Of the pixels of a true class (row), the percentage given each label"
        chart = heat_map(names, columns, cells.tolist(), title)
    off = np.argwhere(~np.eye(len(names), dtype=bool) & (np.nan_to_num(shares) > 0))
    worst = sorted(off.tolist(), key=lambda pair: (-matrix[pair[0], pair[1]], pair))[:MOST_CONFUSIONS]
    mistakes = Table(
        ["true class", "taken for", "% of the class", "% of all pixels"],
        [[names[a], names[b], f"{100 * shares[a, b]:.1f}", f"{100 * matrix[a, b] / true.sum():.2f}"] for a, b in worst],
    )
    if not chart and not mistakes:
        return None
    return {"result": result, "seed": seed, "matrix": chart, "mistakes": mistakes}


def uneven(index: Index, scored: Sequence[Scored], leading: Sequence[Scored], split: str) -> Content | None:
    """Scores by frequency of the classes and size of the objects: ``plots`` of the leading result, a table of all."""
    table = uneven_table(list(scored))
    if not table:
        return None
    each = [scores_of(one, split) for one in leading]
    plots: list[tuple[str, Bars]] = []
    for title, names, key in (
        ("By how often a class is tagged", THIRDS, "miou_"),
        ("By the size of the object", SIZES, "iou_size_"),
    ):
        values = {name: [scores.get(key + name) for scores in each] for name in names}
        if rows := [(name, [_bar(v)]) for name, v in values.items() if _known(v)]:
            plots.append((title, rows))
    return {"plots": plots, "explanation": uneven_words(index), "recipes": table}


def agreement(
    scored: Sequence[Scored], names: Sequence[str], rows: Sequence[dict[str, Any]], images: int, split: str
) -> Content | None:
    """How far recipes agree with each other; ``rows`` of ``image_scores.agreement``."""
    matrix = None
    if len(names) > 1:
        values = {(row["a"], row["b"]): row["agreement"] for row in rows}
        cells = [[1.0 if a == b else values.get((a, b), values.get((b, a))) for b in names] for a in names]
        low = min(value for row in cells for value in row if value is not None)
        numbered = [f"{k}  {name}" for k, name in enumerate(names, 1)]
        title = "Percentage of the pixels on which two results give the same label"
        columns = [str(k) for k in range(1, len(names) + 1)]
        matrix = heat_map(numbered, columns, cells, title, low=low - 0.2 * (1 - low))
    members, choices = agreement_table(list(scored)), choices_table(list(scored))
    if not matrix and not members and not choices:
        return None
    return {
        "images": count(images, f"{WORDS[split]} image"),
        "most": MOST_COMPARED,
        "matrix": matrix,
        "members": members,
        "explanation": AGREEMENT,
        "choices": choices,
        "how": CHOICES,
    }


def dataset(index: Index, report: dict[str, Any]) -> Content:
    """What the images are: ``counts``, tags of each class as bars, what was found wrong. ``report``: of the index."""
    tagged = report.get("per_class", {})
    most = max((n for split in tagged.values() for n in split.values()), default=0)
    splits = [(series, split) for series, split in enumerate(tagged) if index.split(split)]

    def bar(name: str, split: str, series: int) -> Bar:
        number = tagged[split].get(name, 0)
        return Bar(number / max(1, most), f"{number:,}", series)

    noise, notes = report.get("label_noise", {}), []
    if any(noise.values()):
        tags = count(len(noise.get("tag_without_pixel", ())), "tag")
        untagged = count(len(noise.get("pixel_without_tag", ())), "class", "classes")
        notes.append(f"{tags} without a pixel in the ground-truth mask and {untagged} in a mask without a tag.")
    return {
        "counts": counts(index),
        "splits": [(series, f"{WORDS[split]} images") for series, split in splits],
        "rows": [(name, [bar(name, split, series) for series, split in splits]) for name in index.classes],
        "notes": [*notes, *map(str, filter(None, report.get("notes", ())))],
    }
