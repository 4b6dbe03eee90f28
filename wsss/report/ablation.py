"""The tables of the ablation study: what each step is worth, over the seeds that were run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

from wsss.data.index import SPLITS
from wsss.report.markdown import markdown
from wsss.report.provenance import Scored
from wsss.report.tables import spread
from wsss.store.manifest import read_manifest

COLUMNS = ("dataset", "part", "step", "column", "split", "metric", "mean", "standard_deviation", "difference", "seeds")
HEADINGS = {
    "priors": "Objectives: mAP of the tags, mIoU of their maps",
    "saliency": "Saliency: mIoU of foreground and background",
    "chain": "From maps to a segmentation network: mIoU",
}
INTRODUCTION = """\
Percentages; mean ± standard deviation over the seeds, and in brackets the difference to the first row of the table
(paired by seed, with its own standard deviation). Maps are taken at the threshold that was calibrated on a few true
masks of training images, or at the fixed one where there are no masks. Every row was trained with the configuration's
defaults and differs from the others in what its name says, and objectives also in their augmentation where the table
shows different ones (`ablation.augment` gives all but vanilla the same). Maps and masks know the true tags of their
images, the segmentation networks do not.
"""


Values = dict[str, dict[int, float | None]]  # split -> seed -> value
Rows = Sequence[tuple[str, str, dict[str, Values]]]
Layout = Sequence[tuple[str, str, dict[str, tuple[str, str]]]]  # part, title, column -> (kind of scores, recipe)


def values_of(scored: dict[int, Scored]) -> Values:
    """The value of one artefact that stands in the table, by split and seed: mAP of a classifier, else mIoU at the
    calibrated threshold, or the fixed one, or that of the masks themselves."""
    found: Values = {}
    for seed, one in scored.items():
        for split, content in one.content["splits"].items():
            policies: dict[str, Any] = content["policies"]
            chosen: dict[str, Any] = next((policies[p] for p in ("calibrated", "", "fixed") if p in policies), {})
            value = chosen.get("map") if one.kind == "classifiers" else chosen.get("miou")
            found.setdefault(split, {})[seed] = value
    return found


def augmentations(layout: Layout, found: dict[tuple[str, str], dict[int, Scored]]) -> dict[tuple[str, str], str]:
    """What the classifiers of the rows were trained with, by part and title of the row."""
    said = {}
    for part, title, shown in layout:
        for kind, name in shown.values():
            if kind == "classifiers":
                settings = read_manifest(next(iter(found[kind, name].values())).artefact).get("settings") or {}
                said[part, title] = ", ".join(settings.get("augment") or ()) or "none"
    return said


def page(dataset: str, rows: Rows, augmented: Mapping[tuple[str, str], str] = MappingProxyType({})) -> str:
    """``ablation.md``; ``augmented`` is what ``augmentations`` found."""
    parts = [f"# Ablation study on {dataset}\n", INTRODUCTION]
    for part, heading in HEADINGS.items():
        chosen = [(title, shown) for p, title, shown in rows if p == part]
        columns = list(dict.fromkeys(c for _, shown in chosen for c in shown))
        heads = [
            (c, split) for c in columns for split in SPLITS if any(split in shown.get(c, {}) for _, shown in chosen)
        ]
        if not chosen:
            continue
        first = chosen[0][1]
        known = any((part, title) in augmented for title, _ in chosen)
        table = [
            [
                title,
                *([augmented.get((part, title), "–")] if known else []),
                *(cell(shown.get(c, {}).get(s, {}), first.get(c, {}).get(s, {})) for c, s in heads),
            ]
            for title, shown in chosen
        ]
        seeds = max((len(v) for _, shown in chosen for values in shown.values() for v in values.values()), default=0)
        titles = ["", *(["augmentation"] if known else []), *(f"{c}, {s}" for c, s in heads)]
        parts += [f"## {heading}\n", markdown(titles, table), f"{seeds} seed{'s' * (seeds != 1)}.\n"]
    return "\n".join(parts)


def differences(values: dict[int, float | None], first: dict[int, float | None]) -> list[float]:
    """Seed by seed, how much more than the first row; empty for the first row itself."""
    pairs = [(v, first.get(seed)) for seed, v in values.items()]
    return [] if values is first else [v - f for v, f in pairs if v is not None and f is not None]


def cell(values: dict[int, float | None], first: dict[int, float | None]) -> str:
    """``58.5 ± 1.4 (+7.6 ± 1.5)``, or a dash."""
    more = [100 * d for d in differences(values, first)]
    if not more:
        return spread(list(values.values()))
    tail = f" ± {stdev(more):.1f}" if len(more) > 1 else ""
    return f"{spread(list(values.values()))} ({mean(more):+.1f}{tail})"


def long_form(dataset: str, rows: Rows) -> list[tuple[object, ...]]:
    """Rows of ``ablation.csv``; values are fractions, differences those to the first row of the part."""
    first: dict[str, dict[str, Values]] = {}
    table: list[tuple[object, ...]] = []
    for part, title, shown in rows:
        first.setdefault(part, shown)
        for column, splits in shown.items():
            for split, values in splits.items():
                known = [v for v in values.values() if v is not None]
                if not known:
                    continue
                more = differences(values, first[part].get(column, {}).get(split, {}))
                metric = "map" if column == "tags" else "miou"
                deviation = stdev(known) if len(known) > 1 else None
                difference = mean(more) if more else None
                table.append(
                    (dataset, part, title, column, split, metric, mean(known), deviation, difference, len(known))
                )
    return table
