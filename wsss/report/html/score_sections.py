"""The sections with scores: tables of all stages, threshold curves, classes, confusion, break-down, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np

from wsss.data.index import SPLITS, Index
from wsss.evaluate.breakdown import SIZES, THIRDS
from wsss.report.effects import effects_table
from wsss.report.headline import figure, recipes, scores_of, upper_bound
from wsss.report.html.charts import Dots, Line, dot_plot, heat, line_chart
from wsss.report.html.markup import Html, bar, counted, folded, plain_table, section, table, tag
from wsss.report.image_scores import MOST_COMPARED, Judged
from wsss.report.markdown import AGREEMENT, EFFECTS, NO_TRUTH
from wsss.report.provenance import Scored, lineage, supervision
from wsss.report.tables import (
    TITLES,
    agreement_table,
    blind_table,
    classes_table,
    counts,
    scores_table,
    spread,
    uneven_table,
    uneven_words,
)

KINDS = {"cams": "maps", "masks": "pseudo masks", "segmenters": "predictions"}
MOST_CELLS = 25
"""Classes up to which the confusion is shown whole; beyond, its largest cells are."""
MOST_CONFUSIONS = 15
FEW = 20
"""Classes up to which their counts are unfolded."""


def stages(scored: Sequence[Scored]) -> Html:
    """Every stage and recipe: a dot plot, then the tables."""
    parts: list[Any] = []
    for kind, title in TITLES.items():
        found = [one for one in scored if one.kind == kind]
        if not found:
            continue
        full, blind = scores_table(kind, found), blind_table(found)
        rows = [_dots(name, group) for (_, name), group in recipes(found, kind).items()]
        parts += [
            tag("h3", title),
            dot_plot(row for row in rows if row is not None),
            folded("All figures", plain_table(full, title)) if full else None,
            [tag("p", NO_TRUTH.replace("*", ""), class_="note"), plain_table(blind, f"{title}: without true masks")]
            if blind
            else None,
        ]
    said = (
        "Percentages; with several seeds, mean ± standard deviation. The dots show mIoU (classifiers: mAP), full ones "
        "on the validation images, hollow ones on the training images, one a seed. Maps and pseudo masks know the true "
        "tags of their images and predictions do not, so compare only within a table. Supervision is what a person had "
        "to supply. Oracle: the threshold was chosen on all true masks, an upper bound and no result."
    )
    return section("scores", "Scores of every stage", said, _overall(scored), parts)


def effects(scored: Sequence[Scored]) -> Html:
    """What each step brought."""
    content = effects_table(scored)
    return section("steps", "What each step brought", EFFECTS, plain_table(content, "Every step") if content else None)


def _overall(scored: Sequence[Scored]) -> Html:
    """One row a recipe: its main figure on each split, and what went in; the recipes of a stage under its name."""
    heads = ["recipe", "validation", "training", "seeds", "supervision"]
    right = (False, True, True, True, False)
    bodies = []
    for kind in TITLES:
        rows = []
        for (_, name), group in recipes(scored, kind).items():
            cells = [spread([figure(one, s) for one in group]) for s in reversed(SPLITS)]
            if any(c != "–" for c in cells):
                given = ", ".join(supervision(group[0].artefact))
                facts = zip((*cells, len(group), given), right[1:], strict=True)
                inside = [tag("td", cell, class_="n" if r else None) for cell, r in facts]
                rows.append(tag("tr", tag("th", name, scope="row"), inside))
        if rows:
            title = f"{TITLES[kind].partition(':')[0]}, {'mAP' if kind == 'classifiers' else 'mIoU'} in %"
            first = tag("tr", tag("th", title, colspan=len(heads), scope="rowgroup"), class_="group")
            bodies.append(tag("tbody", first, rows))
    if not bodies:
        return Html()
    head = [tag("th", h, scope="col", class_="n" if r else None) for h, r in zip(heads, right, strict=True)]
    caption = "Every stage and recipe"
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), bodies)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _dots(name: str, group: Sequence[Scored]) -> Dots | None:
    values = {s: [v for one in group if (v := figure(one, s)) is not None] for s in SPLITS}
    if not any(values.values()):
        return None
    words = {"train": "training", "val": "validation"}
    groups = [(split, f"{words[split]} images:", values[split]) for split in SPLITS if values[split]]
    last = next(s for s in reversed(SPLITS) if values[s])
    return Dots(name, groups, spread(values[last]))


def thresholds(scored: Sequence[Scored]) -> Html:
    """mIoU of maps at every threshold."""
    charts = []
    for kind, title in (("cams", "Class activation maps"), ("saliency", "Saliency maps")):
        for split in reversed(SPLITS):
            lines = []
            for k, ((_, name), group) in enumerate(recipes(scored, kind).items()):
                lines += _curves(
                    name, k, [one for one in group if "curve" in one.content["splits"].get(split, {})], split
                )
            words = "validation" if split == "val" else "training"
            charts.append(line_chart(lines, f"{title}, {words} images", "threshold", "mIoU, %", percent=True))
    said = (
        "A pixel counts as an object where its map is above the threshold. A flat top means that the choice matters "
        "little. Dot: the threshold calibrated on a few true masks of training images; ring: the one fixed beforehand; "
        "diamond: the best on all true masks of these very images, which nobody knows in practice."
    )
    return section("thresholds", "Thresholds", said, tag("div", charts, class_="charts") if any(charts) else None)


def _curves(name: str, series: int, group: Sequence[Scored], split: str) -> list[Line]:
    shapes = {"fixed": "ring", "calibrated": "dot", "oracle": "diamond"}
    lines = []
    for k, one in enumerate(group):
        content = one.content["splits"][split]
        marks = [
            (
                p["threshold"],
                p["miou"],
                shapes[policy],
                f"{name}, {policy}: {p['threshold']:g}, {100 * p['miou']:.1f} %",
            )
            for policy, p in content["policies"].items()
            if policy in shapes and p.get("miou") is not None
        ]
        curve = content["curve"]
        ys = [np.nan if v is None else v for v in curve["miou"]]
        lines.append(Line("" if k else name, curve["threshold"], ys, series, () if k else marks, thin=k > 0))
    return lines


def classes(index: Index, scored: Sequence[Scored], leading: Sequence[Scored], split: str) -> Html:
    """IoU of every class: bars of the leading chain and the upper bound, then a table of all recipes."""
    shown: dict[str, Sequence[Scored]] = {}
    if leading:
        shown[f"{KINDS[leading[0].kind]} {leading[0].recipe}"] = leading
        before = lineage(leading[0].artefact)
        for (_, name), group in recipes(scored, "masks").items():
            if group[0].artefact in before and list(group) != list(leading):
                shown.setdefault(f"{KINDS['masks']} {name}", group)
    if (bound := upper_bound(scored)) and list(bound) != list(leading):
        shown[f"from true masks: {bound[0].recipe}"] = bound
    known = {name: values for name, group in shown.items() if (values := _ious(index, group, split))}
    bars: Any = None
    if known:
        legend = [tag("li", tag("span", tag("i", class_=f"s{k}"), name, class_="chip")) for k, name in enumerate(known)]
        rows = [
            tag("li", tag("span", c, class_="name"), tag("span", [bar(_mean(v[c]), spread(v[c]), k) for k, v in
                enumerate(known.values())], class_="bars"))
            for c in ("background", *index.classes)
        ]  # fmt: skip
        bars = [tag("ul", legend, class_="legend"), tag("ul", rows, class_="plot classes")]
    every = classes_table(index, list(scored))
    words = "validation" if split == "val" else "training"
    said = (
        "How well each class is outlined: IoU, of the pixels that a class has in the truth or in the result the share "
        f"that it has in both. The bars are for the {words} images."
    )
    return section("classes", "Every class", said, bars,
                   folded("All recipes", plain_table(every, "IoU of every class")) if every else None)  # fmt: skip


def _ious(index: Index, group: Sequence[Scored], split: str) -> dict[str, list[float | None]]:
    each = [scores_of(one, split) for one in group]
    if not all("iou" in next(iter(e.get("per_class", {"": {}}).values())) for e in each):
        return {}
    return {c: [e["per_class"][c]["iou"] for e in each] for c in ("background", *index.classes)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return mean(known) if known else None


def confusion(index: Index, judged: Judged, name: str, seed: int) -> Html:
    """What is taken for what."""
    matrix, unlabelled = judged.matrix, judged.unlabelled
    if matrix is None or unlabelled is None:
        return Html()
    true = matrix.sum(axis=1) + unlabelled
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(true[:, None] > 0, matrix / true[:, None], np.nan)
    names = ("background", *index.classes)
    parts: list[Any] = []
    if len(names) <= MOST_CELLS:
        left = np.where(true > 0, unlabelled / np.maximum(true, 1), np.nan)
        columns, cells = list(names), shares
        if unlabelled.any():
            columns, cells = [*names, "left out"], np.concatenate([shares, left[:, None]], axis=1)
        parts.append(
            heat(names, columns, cells.tolist(), "Of the pixels of a true class (row), the percentage given each label")
        )
    off = np.argwhere(~np.eye(len(names), dtype=bool) & (np.nan_to_num(shares) > 0))
    worst = sorted(off.tolist(), key=lambda p: (-matrix[p[0], p[1]], p))[:MOST_CONFUSIONS]
    if worst:
        total = true.sum()
        rows = [
            [names[a], names[b], f"{100 * shares[a, b]:.1f}", f"{100 * matrix[a, b] / total:.2f}"] for a, b in worst
        ]
        heads = ["true class", "taken for", "% of the class", "% of all pixels"]
        parts.append(folded("Largest mistakes", table(heads, rows, "Largest mistakes by pixels"), opened=not parts))
    said = f"What {name} takes for what (seed {seed}): rows are the truth, columns the result; the diagonal is right."
    return section("confusion", "What is confused", said, parts)


def uneven(index: Index, scored: Sequence[Scored], leading: Sequence[Scored], split: str) -> Html:
    """Scores by frequency of the classes and size of the objects."""
    full = uneven_table(list(scored))
    if not full:
        return Html()
    each = [scores_of(one, split) for one in leading]
    plots = []
    for title, names, key in (
        ("By how often a class is tagged", THIRDS, "miou_"),
        ("By the size of the object", SIZES, "iou_size_"),
    ):
        rows = [
            tag("li", tag("span", n, class_="name"), tag("span", bar(_mean(v), spread(v)), class_="bars"))
            for n in names
            for v in [[e.get(key + n) for e in each]]
            if any(x is not None for x in v)
        ]
        if rows:
            plots.append(tag("div", tag("h3", title), tag("ul", rows, class_="plot")))
    said = "Rare classes and small objects are harder: how the leading result fares with them, and in the table all."
    return section(
        "uneven", "Size and frequency", said, tag("div", plots, class_="charts") if plots else None,
        tag("p", uneven_words(index), class_="note"),
        folded("All recipes", plain_table(full, "Scores by frequency of the classes and size of the objects")),
    )  # fmt: skip


def agreement(
    scored: Sequence[Scored], names: Sequence[str], rows: Sequence[dict[str, Any]], images: int, split: str
) -> Html:
    """How far recipes agree with each other; ``rows`` as of ``judged.agreement``."""
    parts: list[Any] = []
    if len(names) > 1:
        values = {(row["a"], row["b"]): row["agreement"] for row in rows}
        cells = [[1.0 if a == b else values.get((a, b), values.get((b, a))) for b in names] for a in names]
        low = min(v for row in cells for v in row if v is not None)
        rows_named = [f"{k}  {name}" for k, name in enumerate(names, 1)]
        title = "Percentage of the pixels on which two results give the same label"
        parts.append(
            heat(rows_named, [str(k) for k in range(1, len(names) + 1)], cells, title, low=low - 0.2 * (1 - low))
        )
    members = agreement_table(list(scored))
    if members:
        parts += [tag("h3", "Members of ensembles and votes"), tag("p", AGREEMENT, class_="note"),
                  plain_table(members, "Agreement of members")]  # fmt: skip
    words = "validation" if split == "val" else "training"
    said = (
        "How often two recipes give a pixel the same label, whether right or wrong, on "
        f"{counted(images, f'{words} image')} evenly spread. Recipes that agree in all share their mistakes; where "
        f"they differ, one of them is wrong. At most {MOST_COMPARED} are compared."
    )
    return section("agreement", "Agreement between recipes", said, parts)


def dataset(index: Index, report: dict[str, Any]) -> Html:
    """What the images are: counts, tags, what was found wrong."""
    tagged = report.get("per_class", {})
    most = max((n for split in tagged.values() for n in split.values()), default=0)
    rows = [
        tag("li", tag("span", c, class_="name"), tag("span", [
            bar(tagged[s].get(c, 0) / max(1, most), f"{tagged[s].get(c, 0):,}", k)
            for k, s in enumerate(tagged) if index.split(s)
        ], class_="bars"))
        for c in index.classes
    ]  # fmt: skip
    legend = [tag("li", tag("span", tag("i", class_=f"s{k}"), f"{'validation' if s == 'val' else 'training'} images",
                            class_="chip")) for k, s in enumerate(tagged) if index.split(s)]  # fmt: skip
    noise = report.get("label_noise", {})
    found = [
        f"{counted(len(noise.get('tag_without_pixel', ())), 'tag')} without a pixel in the true mask and "
        f"{counted(len(noise.get('pixel_without_tag', ())), 'class', 'classes')} in a mask without a tag."
        if any(noise.values()) else "",
        *map(str, report.get("notes", ())),
    ]  # fmt: skip
    plot = None
    if tagged:
        bars = [tag("ul", legend, class_="legend"), tag("ul", rows, class_="plot classes")]
        plot = folded("Images tagged with each class", bars, opened=len(rows) <= FEW)
    said = "How many images there are, what is known of them, and how often each class is tagged."
    notes = [tag("p", f, class_="note") for f in found if f]
    return section("dataset", "The images", said, plain_table(counts(index), "Images"), plot, notes)
