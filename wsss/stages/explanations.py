"""The stage ``explanations``: all recipes of a dataset in one table, and their maps side by side.

Writes ``explanations.csv`` (one row per recipe, seed, policy for images with one class, mean and metric),
``explanations.md`` for people, and ``pictures/s<seed>.png``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

import numpy as np

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.report.markdown import markdown
from wsss.report.overlays import ExplanationRow, draw_explanations
from wsss.report.table_files import write_tables
from wsss.runtime.run import Run
from wsss.settings.explaining import Fill
from wsss.store.manifest import read_manifest
from wsss.store.maps import MapStore

COLUMNS = ("dataset", "recipe", "classifier", "explainer", "seed", "others", "mean", "metric", "value", "segmenter")
PICTURED = 6
"""Images in a picture."""
METRICS = {
    "AD ↓": "ad",
    "AR ↑": "ar",
    "ADO ↑": "ado",
    "ARO ↓": "aro",
    "IC ↑": "ic",
    "F1+ ↑": "f1+",
    "F1− ↓": "f1-",
    "energy ↑": "energy",
    "deletion ↓": "deletion_mean",
    "insertion ↑": "insertion_blur",
    "ROAD ↑": "road",
}
"""Heading -> metric of classifiers; those that no recipe has are left out."""
OF_REGIONS = {
    "energy ↑": "energy",
    "in region ↑": "inside",
    **{
        f"{mode} {fill} {sign}": f"{mode}_{fill}"
        for mode, sign in (("deletion", "↓"), ("insertion", "↑"))
        for fill in get_args(Fill)
    },
    "deletion spread ↓": "deletion_spread",
    "insertion spread ↓": "insertion_spread",
    "ROAD ↑": "road",
}
"""The same of segmentation networks."""
AREAS = ("deletion_", "insertion_", "road")
"""Begin the names of metrics that are told as fractions, and shown in percent."""
MULTI_ONLY = ("ado", "aro", "f1+", "f1-")
"""Metrics that are told of images with several present classes, since others have nothing to say about them."""
PUBLISHED = ("d-minmax-cam", "minmax-cam", "cam", "minmax-cam (all classes)", "grad-cam-plus-plus")
ORDERS = {"ADO": ("ado", -1), "ARO": ("aro", 1), "AD": ("ad", -1)}
"""MinMax-CAM's tables (COCO 2017): ADO and AD fall and ARO rises in the order of ``PUBLISHED``."""
INTRODUCTION = """\
Percentages, means over detections (pairs of an image and an explained class); mean ± standard deviation over seeds. An
image for a classifier is multiplied with a map brought to [0, 1]: **AD** is the share of the class's probability that
is lost, **IC** how often it rises instead; **AR** is what is lost when the map's complement is kept. **ADO** and
**ARO** are the same for the other present classes, told of images that have some; **F1+** joins AR and ADO, **F1−** AD
and ARO (of classes, then averaged). **Energy** is the share of a map that lies on the object, **in region** in the
explained region. **Seed mIoU**: maps of the tags at one scale, threshold from a few masks of the training split; in
brackets the best threshold on the scored images themselves. **Deletion** and **insertion** are areas under curves of
the class's probability, or of the IoU of what a segmentation network predicts with the explained region, while pixels
go or come, those first that a map has highest; the fill stands for pixels that are away, **spread** is how far the
areas lie apart over the fills, and in brackets stands the area of a random map. **Weights**: mean size of the
correlations between the weights of the classes. Cost is that of explaining, for all
classes of an image.
"""


@dataclass(frozen=True)
class Explained:
    """A folder of the stage ``explanation``."""

    folder: Path
    recipe: str
    seed: int
    network: str
    metrics: dict[str, Any]
    settings: dict[str, Any]
    seconds: float
    """What explaining an image took; the manifest has it, since no two runs agree on it."""

    @property
    def of_regions(self) -> bool:
        """Whether a segmentation network is explained, and not a classifier."""
        return self.settings.get("segmenter") is not None

    @property
    def explainer(self) -> str:
        """Its explainer with what matters of its options."""
        name: str = self.metrics["explainer"]
        options = self.metrics["explainer_options"]
        if options.get("all_classes"):
            return f"{name} (all classes)"
        few = {key: value for key, value in options.items() if key != "chunk"}
        told = ", ".join(f"{key} {value}" for key, value in few.items())
        return name + (f" ({told})" if told else "")

    def value(self, metric: str) -> float | None:
        """A metric, mean over detections."""
        others = "multi_only" if metric in MULTI_ONLY else "reference"
        weighted: dict[str, float | None] = self.metrics["summary"][others]["weighted"]
        value = weighted.get(metric)
        return _percent(value) if metric.startswith(AREAS) else value


def read_explained(folder: Path) -> Explained:
    """Raises ``WsssError`` for a folder that is no whole explanation."""
    manifest = read_manifest(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        inputs = manifest["inputs"]
        given = inputs["segmenter" if "segmenter" in inputs else "classifier"]
        network = (folder / given["path"]).resolve().name
        seconds = float(manifest["seconds_an_image"])
        return Explained(folder, folder.name, int(manifest["seed"]), network, metrics, manifest["settings"], seconds)
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole explanations ({error!r}); run stages/explanation.py again") from None


def make(run: Run) -> None:
    """Write the tables and pictures of a run of ``stages/explanations.py``."""
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    found = [read_explained(folder) for folder in run.several("explanations")]
    with run.folder("pictures") as folder:
        names = draw(index, found, folder)
    rows = [row for one in found for row in long_form(dataset, one)]
    told = page(dataset, found, names)
    write_tables(run, "explanations", COLUMNS, rows, told, explanations=len(found), pictures=len(names))


def long_form(dataset: str, one: Explained) -> list[tuple[Any, ...]]:
    """Rows of ``explanations.csv``; values as they stand in ``metrics.json``."""
    head = (dataset, one.recipe, "" if one.of_regions else one.network, one.explainer, one.seed)
    rows = [
        (*head, others, kind, metric, "" if value is None else value)
        for others, summary in one.metrics["summary"].items()
        for kind in ("macro", "weighted")
        for metric, value in summary[kind].items()
    ]
    costs = ("forwards_per_image", "head_forwards_per_image", "backwards_per_image")
    rates = ("several_share", "zero_map_rate", "nan_rate", "improbable_rate", "images", "detections")
    rows += [(*head, "", "", name, one.metrics["summary"]["reference"][name]) for name in (*rates, *costs)]
    rows.append((*head, "", "", "seconds_per_image", one.seconds))
    if "weight_correlation" in one.metrics:
        rows.append((*head, "", "", "weight_correlation", one.metrics["weight_correlation"]))
    rows += [(*head, "", "", name, value) for name, value in (one.metrics.get("seeds") or {}).items()]
    return [(*row, one.network if one.of_regions else "") for row in rows]


def page(dataset: str, found: list[Explained], pictures: list[str]) -> str:
    """``explanations.md``."""
    parts = [f"# Explanations: {dataset}\n", INTRODUCTION]
    alike: dict[tuple[Any, ...], dict[str, list[Explained]]] = {}
    for one in found:
        s = one.settings
        asked = ("region", "at", "classes") if one.of_regions else ("policy", "fill")
        key = (one.of_regions, one.network, s["split"], s["images"], s["max_side"], *(str(s[name]) for name in asked))
        alike.setdefault(key, {}).setdefault(one.recipe, []).append(one)
    for (of_regions, network, split, *_), recipes in alike.items():
        one = next(iter(recipes.values()))[0]
        first, s = one.metrics["summary"]["reference"], one.settings
        of = "explained classes"
        title = f"Classifier {network}, {split}, policy {s['policy']}"
        if of_regions:
            title = f"Segmentation network {network}, {split}, region {s['region']}"
            title += "".join(f" {v:g}" for v in s["at"])
        else:
            of = "detections"
        parts.append(
            f"## {title}\n\n{first['images']} images, {first['detections']} {of}, "
            f"{100 * (first['several_share'] or 0):.0f} % of them beside other present classes.\n"
        )
        parts.append(table(recipes))
        parts += ordering(recipes)
    parts += [f"![Maps side by side, {name}](pictures/{name})\n" for name in pictures]
    return "\n".join(parts)


def table(recipes: dict[str, list[Explained]]) -> str:
    """A row per recipe."""
    every = [one for group in recipes.values() for one in group]
    known = OF_REGIONS if every[0].of_regions else METRICS
    shown = {head: metric for head, metric in known.items() if any(one.value(metric) is not None for one in every)}
    seeds = any(one.metrics.get("seeds") for one in every)
    weights = any("weight_correlation" in one.metrics for one in every)
    cost: dict[str, Callable[[Explained], float]] = {
        "passes": lambda one: one.metrics["summary"]["reference"]["forwards_per_image"],
        "backward": lambda one: one.metrics["summary"]["reference"]["backwards_per_image"],
        "ms an image": lambda one: 1000 * one.seconds,
    }
    further = [*(["seed mIoU (best)"] if seeds else []), *(["weights"] if weights else []), "zero maps"]
    heads = ["recipe", "explainer", *shown, *further, *cost]
    rows = []
    for recipe, group in recipes.items():
        row = [recipe, group[0].explainer, *(_cell(group, metric) for metric in shown.values())]
        if seeds:
            told = [one.metrics.get("seeds") or {} for one in group]
            both = [_told([_percent(each.get(f"seed_{kind}miou")) for each in told]) for kind in ("", "oracle_")]
            row.append(f"{both[0]} ({both[1]})")
        if weights:
            row.append(_told([_percent(one.metrics.get("weight_correlation")) for one in group]))
        row.append(_told([_percent(one.metrics["summary"]["reference"]["zero_map_rate"]) for one in group]))
        row += [f"{mean(of(one) for one in group):.1f}" for of in cost.values()]
        rows.append(row)
    return markdown(heads, rows)


def _cell(group: list[Explained], metric: str) -> str:
    """A metric over seeds, with that of a random map in brackets where there is one."""
    random = [one.value(f"{metric}_random") for one in group]
    known = any(value is not None for value in random)
    return _told([one.value(metric) for one in group]) + (f" ({_told(random)})" if known else "")


def ordering(recipes: dict[str, list[Explained]]) -> list[str]:
    """Whether the published order holds, where at least three of its methods are there."""
    means = {group[0].explainer: group for group in recipes.values()}
    there = [name for name in PUBLISHED if name in means]
    if len(there) < 3:
        return []
    lines = []
    for title, (metric, sign) in ORDERS.items():
        found = [_mean([one.value(metric) for one in means[name]]) for name in there]
        values = [value for value in found if value is not None]
        if len(values) < len(there):
            continue
        pairs = [(a, b) for a in range(len(there)) for b in range(a + 1, len(there))]
        wrong = [(there[a], there[b]) for a, b in pairs if sign * (values[b] - values[a]) < 0]
        right = f"{len(pairs) - len(wrong)} of {len(pairs)} pairs in the published order"
        told = f"; not: {', '.join(f'{a} and {b}' for a, b in wrong)}" if wrong else ""
        lines.append(f"- {title}: {right}{told}.")
    head = f"The published order (MinMax-CAM, COCO 2017; ADO and AD fall, ARO rises): {' > '.join(there)}.\n"
    return ["\n".join([head, *lines, ""])] if lines else []


def draw(index: Index, found: list[Explained], folder: Path) -> list[str]:
    """Write ``s<seed>.png``: a row per pair of an image and a class, a column per recipe. Images with several explained
    classes come first."""
    names = []
    for seed in sorted({one.seed for one in found}):
        stores = {one.recipe: MapStore(one.folder) for one in found if one.seed == seed}
        common = [id for id in next(iter(stores.values())).ids if all(id in store for store in stores.values())]
        shown = {one.settings["split"] for one in found}
        items = [item for id in common if (item := index.item(id)).split in shown]
        items = sorted(items, key=lambda item: -len(item.labels))[:PICTURED]
        rows = [row for item in items for row in _rows(index, item.id, stores)]
        names.append(f"s{seed}.png")
        draw_explanations(rows, folder / names[-1])
    return names


def _rows(index: Index, id: str, stores: dict[str, MapStore]) -> list[ExplanationRow]:
    records = {name: store[id] for name, store in stores.items()}
    classes = sorted({c for record in records.values() for c in record.classes.tolist()})
    return [
        ExplanationRow(
            index.item(id),
            {
                name: record.maps[0][np.flatnonzero(record.classes == c)[0]] if c in record.classes else None
                for name, record in records.items()
            },
            f"{id}: {index.classes[c]}",
        )
        for c in classes
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _told(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")
