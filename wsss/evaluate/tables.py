"""The page for people: what was scored, on what, with which threshold, from which supervision, at what cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

from wsss.data.index import SPLITS, Index
from wsss.evaluate.provenance import Scored, lineage, supervision
from wsss.store.manifest import read_manifest

Group = list[tuple[Scored, dict[str, Any]]]  # one entry a seed: where from, and the scores under one policy
TITLES = {
    "classifiers": "Classifiers",
    "cams": "Class activation maps",
    "masks": "Pseudo masks",
    "segmenters": "Predicted masks of the segmentation networks",
}
TAGS = {"map": "mAP", "precision": "precision", "recall": "recall", "f1": "F1", "auc": "ROC-AUC"}
PIXELS = {
    "miou": "mIoU",
    "miou_fg": "mIoU objects",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "pixel_accuracy": "pixel acc.",
    "fp_rate": "FP",
    "fn_rate": "FN",
}
BLIND = {"coverage": "coverage", "tagged_present": "tags with a pixel", "untagged": "untagged foreground"}
INTRODUCTION = """\
Scores are percentages, computed over the pixels (classifiers: images) of a split together; with several seeds: mean ±
standard deviation. mIoU includes the background, *mIoU objects* does not; means run over the classes that occur in the
truth or in the prediction. FP and FN: false positives and negatives as shares of the union, mean over object classes.
Thresholds: *fixed* beforehand; *calibrated* on a few true masks of training images; *oracle*: best on all true masks of
the very split, an upper bound and no result. Maps and pseudo masks know the true tags of their images, predictions do
not: compare rows of one table only. Exact values: `summary.csv`; how each was made: `manifest.json` in its folder.
"""


def page(dataset: str, index: Index, scored: list[Scored], pictures: Sequence[str]) -> str:
    """``summary.md``."""
    parts = [f"# Summary of {dataset}\n", counts(index), INTRODUCTION]
    for kind, title in TITLES.items():
        found = [one for one in scored if one.kind == kind]
        if found:
            parts += [f"## {title}\n", scores_table(kind, found), blind_table(found)]
    parts += [classes_table(index, scored), cost_table(index, scored)]
    if pictures:
        parts.append("## Pictures\n")
        parts += [f"![images, truth and results]({name})\n" for name in pictures]
    return "\n".join(part for part in parts if part)


def counts(index: Index) -> str:
    """How many images there are, of which kind, and how many were dropped."""
    table = []
    for split in SPLITS:
        dropped = sum(s == split for s, _ in index.dropped)
        table.append([split, len(index.split(split)), len(index.labelled(split)), len(index.scored(split)), dropped])
    return markdown(["split", "images", "with tags", "scored (true mask)", "dropped as broken"], table)


def groups(scored: list[Scored]) -> dict[tuple[str, str, str], Group]:
    """Scores by (recipe, split, policy), the seeds of each together; recipes in the order given."""
    found: dict[tuple[str, str, str], Group] = {}
    for one in scored:
        for split, content in one.content["splits"].items():
            for policy, values in content["policies"].items():
                found.setdefault((one.recipe, split, policy), []).append((one, values))
    recipes = list(dict.fromkeys(one.recipe for one in scored))
    return dict(sorted(found.items(), key=lambda item: (SPLITS.index(item[0][1]), recipes.index(item[0][0]))))


def spread(values: Sequence[float | None]) -> str:
    """``61.2 ± 1.3``: mean and standard deviation in percent, or one value, or a dash."""
    known = [100 * v for v in values if v is not None]
    if not known:
        return "–"
    return f"{mean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def scores_table(kind: str, scored: list[Scored]) -> str:
    """The table of one kind, a row for every recipe, split and policy."""
    metrics = TAGS if kind == "classifiers" else PIXELS
    extra: dict[str, Callable[[Group, str], str]] = {
        "classifiers": {},
        "cams": {"threshold chosen": chosen, "threshold": at_threshold, "seen at": views},
        "masks": {"threshold chosen": mask_threshold, "dense CRF": crf},
        "segmenters": {"learnt from": learnt_from, "seen at": views, "dense CRF": crf},
    }[kind]
    table = []
    for (recipe, split, policy), group in groups(scored).items():
        if all(m not in group[0][1] for m in ("miou", "map")):
            continue
        numbers = [spread([values.get(m) for _, values in group]) for m in metrics]
        given = ", ".join(supervision(group[0][0].artefact))
        facts = [text(group, policy) for text in extra.values()]
        table.append([recipe, split, *facts, *numbers, group[0][1]["images"], len(group), given])
    heads = ["recipe", "split", *extra, *metrics.values(), "images", "seeds", "supervision"]
    return markdown(heads, table) if table else ""


def blind_table(scored: list[Scored]) -> str:
    """What can be said of splits without true masks."""
    table = []
    for (recipe, split, _), group in groups(scored).items():
        if "coverage" in group[0][1]:
            numbers = [spread([values[m] for _, values in group]) for m in BLIND]
            table.append([recipe, split, at_threshold(group, ""), *numbers, group[0][1]["images"], len(group)])
    if not table:
        return ""
    said = (
        "No true masks here, so no score; what can be seen without: *coverage*, the share of an image that a class "
        "takes where it is tagged; tags that have a pixel; foreground whose class is not tagged.\n\n"
    )
    return said + markdown(["recipe", "split", "threshold", *BLIND.values(), "images", "seeds"], table)


def chosen(group: Group, policy: str) -> str:
    looked_at = sorted({values["threshold_images"] for _, values in group})
    return {
        "fixed": "fixed",
        "calibrated": f"calibrated on {looked_at[-1]} training masks",
        "oracle": f"oracle: all {looked_at[-1]} masks",
    }[policy]


def at_threshold(group: Group, _: str) -> str:
    values = sorted({values["threshold"] for _, values in group if "threshold" in values})
    return "–".join(f"{v:g}" for v in dict.fromkeys((values[0], values[-1]))) if values else ""


def _settings(group: Group) -> dict[str, Any]:
    return read_manifest(group[0][0].artefact).get("settings") or {}


def views(group: Group, _: str) -> str:
    settings = _settings(group)
    scales = settings.get("scales")
    return "" if not scales else "×" + "/".join(f"{s:g}" for s in scales) + (", flip" if settings.get("flip") else "")


def mask_threshold(group: Group, _: str) -> str:
    facts = [read_manifest(one.artefact).get("threshold") or {} for one, _ in group]
    values = sorted({f["value"] for f in facts if "value" in f})
    return f"{facts[0].get('policy', '')} " + "–".join(f"{v:g}" for v in dict.fromkeys(values[:1] + values[-1:]))


def crf(group: Group, _: str) -> str:
    settings = _settings(group).get("crf")
    if not settings:
        return "no"
    kernels = "/".join(f"{v:g}" for v in (*settings["gaussian"], *settings["bilateral"]))
    trust = f" {settings['confidence']:g}" if settings["unary"] == "labels" else ""
    return f"{settings['unary']}{trust}, {settings['iterations']} it, {kernels}"


def learnt_from(group: Group, _: str) -> str:
    for manifest in lineage(group[0][0].artefact).values():
        settings = manifest.get("settings") or {}
        if "architecture" in settings:
            return "true masks" if settings["supervision"] == "masks" else f"pseudo masks {settings['masks']}"
    return ""


def classes_table(index: Index, scored: list[Scored]) -> str:
    """IoU of every class on the last split there is, in one column a recipe; maps at the calibrated threshold."""
    columns: dict[str, list[str]] = {}
    for kind in ("cams", "masks", "segmenters"):
        rows = groups([one for one in scored if one.kind == kind and one.content["splits"]])
        for recipe in dict.fromkeys(r for r, _, _ in rows):
            keys = [
                k for k in rows if k[0] == recipe and "miou" in rows[k][0][1] and k[2] in ("", "calibrated", "fixed")
            ]
            if not keys:
                continue
            key = max(keys, key=lambda k: (SPLITS.index(k[1]), k[2] == "calibrated"))
            names = ("background", *index.classes)
            values = [spread([v["per_class"][n]["iou"] for _, v in rows[key]]) for n in names]
            columns[f"{kind} {recipe} ({', '.join(filter(None, key[1:]))})"] = values
    if not columns:
        return ""
    table = [
        [name, *row]
        for name, row in zip(("background", *index.classes), zip(*columns.values(), strict=True), strict=True)
    ]
    return "## IoU of every class\n\n" + markdown(["class", *columns], table)


def cost_table(index: Index, scored: list[Scored]) -> str:
    """Wall time, memory and device of every stage that the scores rest on."""
    found: dict[tuple[str, str], dict[Any, dict[str, Any]]] = {}
    manifests = {index.folder.resolve(): read_manifest(index.folder)}
    for one in scored:
        manifests |= lineage(one.artefact)
    for folder, manifest in manifests.items():
        kind = "index" if folder == index.folder.resolve() else folder.parent.name
        found.setdefault((kind, "" if kind == "index" else folder.name), {})[folder] = manifest
    order = ("index", "classifiers", "cams", "masks", "segmenters", "predictions")
    table = []
    for kind, recipe in sorted(found, key=lambda k: (order.index(k[0]) if k[0] in order else len(order), k[1])):
        runs = list(found[kind, recipe].values())
        seconds = [r["wall_seconds"] for r in runs if "wall_seconds" in r]
        if seconds:
            memory = max(r.get("peak_memory_mib", 0) for r in runs)
            devices = ", ".join(sorted({f"{r.get('device', '')} ({r.get('threads', '?')} threads)" for r in runs}))
            table.append([kind, recipe, f"{mean(seconds):.0f}", f"{sum(seconds):.0f}", memory, devices])
    if not table:
        return ""
    heads = ["stage", "recipe", "seconds a seed", "seconds in all", "peak memory MiB", "device"]
    return "## Run times\n\n" + markdown(heads, table)


def markdown(heads: Sequence[str], table: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; bars in the cells are escaped."""
    lines = [heads, ["---"] * len(heads), *table]
    return "".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |\n" for line in lines)
