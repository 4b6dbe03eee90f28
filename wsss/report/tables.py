"""The tables for people: what was scored, on what, with which threshold, from which supervision, at what cost.

No markup: ``wsss.report.markdown`` writes them in Markdown, ``wsss.report.html`` in HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from wsss.data.index import SPLITS, Index
from wsss.evaluate.breakdown import BOUNDS, SIZES, THIRDS, thirds
from wsss.report.provenance import Scored, lineage, supervision
from wsss.store.manifest import read_manifest

Group = list[tuple[Scored, dict[str, Any]]]  # an entry for each seed: where from, and the scores under one policy


@dataclass(frozen=True)
class Table:
    """Heads and rows of a table; cells are texts or numbers, percentages with one digit."""

    heads: list[str]
    rows: list[list[Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows)


TITLES = {
    "classifiers": "Classifiers",
    "cams": "Class activation maps",
    "saliency": "Saliency maps: any object against the background",
    "saliency-masks": "Saliency masks: any object against the background",
    "masks": "Pseudo-labels",
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
LEFT_OUT = {"unlabelled": "left out", "miou_labelled": "mIoU of the rest"}
CONTOURS = {"boundary_iou": "boundary IoU"}
UNEVEN = {
    "miou": "mIoU",
    **{f"miou_{name}": name for name in THIRDS},
    **{f"iou_size_{name}": name for name in SIZES},
}
ORDER = (
    "index", "classifiers", "cams", "saliency", "saliency-maps", "saliency-masks", "affinity-labels", "affinity",
    "masks", "segmenters", "predictions",
)  # fmt: skip
"""Folders of artefacts, as one follows from another."""
CHOSEN_BY = {"agreement": "agreement with the others", "masks": "mIoU on the masks looked at"}
FIGURES = {"score": "value", "tags_with_a_pixel": "tags with a pixel"}
TAGGED = (
    "kind", "recipe", "images with untagged classes, %", "their pixels, % of all", "became", "most often",
    "tags without any",
)  # fmt: skip
MOST_NAMED = 5
"""Classes that a table names."""
BLIND = {"coverage": "coverage", "tagged_present": "tags with a pixel", "untagged": "untagged foreground"}


def counts(index: Index) -> Table:
    """How many images there are, of which kind, and how many were dropped."""
    table = []
    for split in SPLITS:
        dropped = sum(s == split for s, _ in index.dropped)
        table.append([split, len(index.split(split)), len(index.labelled(split)), len(index.scored(split)), dropped])
    return Table(["split", "images", "with tags", "scored (ground-truth mask)", "dropped as broken"], table)


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


def scores_table(kind: str, scored: list[Scored]) -> Table:
    """The table of one kind, a row for every recipe, split and policy."""
    metrics = TAGS if kind == "classifiers" else PIXELS
    columns: dict[str, dict[str, Callable[[Group, str], str]]] = {
        "classifiers": {},
        "cams": {"made from": origin, "threshold chosen": chosen, "threshold": at_threshold, "seen at": views},
        "saliency": {"threshold chosen": chosen, "threshold": at_threshold, "seen at": views},
        "saliency-masks": {"dense CRF": crf},
        "masks": {"made from": origin, "threshold chosen": mask_threshold, "dense CRF": crf},
        "segmenters": {"learnt from": learnt_from, "seen at": views, "dense CRF": crf},
    }
    extra = columns[kind]
    if any("unlabelled" in values for group in groups(scored).values() for _, values in group):
        metrics = metrics | LEFT_OUT
    if any("boundary_iou" in values for group in groups(scored).values() for _, values in group):
        metrics = metrics | CONTOURS
    table = []
    for (recipe, split, policy), group in groups(scored).items():
        if all(m not in group[0][1] for m in ("miou", "map")):
            continue
        numbers = [spread([values.get(m) for _, values in group]) for m in metrics]
        given = ", ".join(supervision(group[0][0].artefact))
        facts = [text(group, policy) for text in extra.values()]
        table.append([recipe, split, *facts, *numbers, group[0][1]["images"], len(group), given])
    heads = ["recipe", "split", *extra, *metrics.values(), "images", "seeds", "supervision"]
    return Table(heads, table)


def blind_table(scored: list[Scored]) -> Table:
    """What can be said of splits without ground-truth masks."""
    table = []
    for (recipe, split, _), group in groups(scored).items():
        if "coverage" in group[0][1]:
            numbers = [spread([values[m] for _, values in group]) for m in BLIND]
            table.append([recipe, split, at_threshold(group, ""), *numbers, group[0][1]["images"], len(group)])
    return Table(["recipe", "split", "threshold", *BLIND.values(), "images", "seeds"], table)


def chosen(group: Group, policy: str) -> str:
    """How the threshold of a policy was chosen, and on how many masks."""
    looked_at = sorted({values["threshold_images"] for _, values in group})
    return {
        "fixed": "fixed",
        "calibrated": f"calibrated on {looked_at[-1]} training masks",
        "oracle": f"oracle: all {looked_at[-1]} masks",
    }[policy]


def at_threshold(group: Group, _: str) -> str:
    """The threshold, or the lowest and the highest over the seeds."""
    values = sorted({values["threshold"] for _, values in group if "threshold" in values})
    return "–".join(f"{v:g}" for v in dict.fromkeys((values[0], values[-1]))) if values else ""


def _settings(group: Group) -> dict[str, Any]:
    return read_manifest(group[0][0].artefact).get("settings") or {}


def views(group: Group, _: str) -> str:
    """The scales that images were seen at, and whether mirrored."""
    settings = _settings(group)
    scales = settings.get("scales")
    return "" if not scales else "×" + "/".join(f"{s:g}" for s in scales) + (", flip" if settings.get("flip") else "")


def origin(group: Group, _: str) -> str:
    """What maps or masks were made from, by the names of recipes."""
    settings = _settings(group)
    source = settings.get("source", "")
    if source == "choice":
        taken = dict.fromkeys((read_manifest(one.artefact).get("choice") or {}).get("chosen", "?") for one, _ in group)
        return f"{' or '.join(taken)}, chosen by {settings['by']}"
    if "members" in settings:
        return f"{settings['rule']} of {', '.join(settings['members'])}"
    if source == "text":
        return f"{settings['model']}, {settings['method']}"
    if source == "walk":
        return f"{settings['cams']}, walk with {settings['affinity']}"
    if source == "feature-walk":
        kind = settings.get("features", "stages")
        compared = "features" if kind == "stages" else kind
        return f"{settings['cams']}, walk over {compared} of {settings['warm_start'] or settings['backbone']}"
    if source == "regions":
        return f"{settings['masks']}, regions {settings['regions']}"
    if source == "segmenter":
        networks = f"networks {', '.join(settings['segmenters'])}"
        return f"{networks}, prior {settings['prior']}" if settings.get("prior") else networks
    if source == "cams" and settings.get("saliency"):
        return f"{settings['cams']}, saliency {settings['saliency']}"
    return "made elsewhere" if source == "external" else settings.get(source, "")


def mask_threshold(group: Group, _: str) -> str:
    """How the threshold of pseudo-labels was chosen, and its value or range."""
    facts = [read_manifest(one.artefact).get("threshold") or {} for one, _ in group]
    each = [value for f in facts for value in f.get("per_class", {}).values()]
    if each:
        return f"{facts[0]['policy']}, of each class {min(each):g}–{max(each):g}"
    if "foreground" in facts[0]:
        return f"{facts[0]['policy']} {facts[0]['background']:g}–{facts[0]['foreground']:g}"
    if facts[0].get("policy") == "otsu":
        found = [f["mean"] for f in facts if "mean" in f]
        return "Otsu per map" + (f", mean {mean(found):.2f}" if found else "")
    values = sorted({f["value"] for f in facts if "value" in f})
    ends = "–".join(f"{v:g}" for v in dict.fromkeys(values[:1] + values[-1:]))
    return f"{facts[0].get('policy', '')} {ends}".strip()


def crf(group: Group, _: str) -> str:
    """The dense CRF's settings in one line; ``no`` without one, empty for a stage that has none."""
    settings = _settings(group).get("crf", "")
    if not settings:
        return "" if settings == "" else "no"
    kernels = "/".join(f"{v:g}" for v in (*settings["gaussian"], *settings["bilateral"]))
    trust = f" {settings['confidence']:g}" if settings["unary"] == "labels" else ""
    return f"{settings['unary']}{trust}, {settings['iterations']} it, {kernels}"


def learnt_from(group: Group, _: str) -> str:
    """Which masks a segmentation network learnt from, and by which objective if not by plain cross entropy."""
    for manifest in lineage(group[0][0].artefact).values():
        settings = manifest.get("settings") or {}
        if "architecture" in settings and "supervision" in settings:
            few = settings.get("gt_masks", "all")
            true = "ground-truth masks" if few == "all" else f"{few} ground-truth masks"
            objective = settings.get("objective", "segmentation")
            how = "" if objective == "segmentation" else f" ({objective})"
            return (true if settings["supervision"] == "masks" else f"pseudo-labels {settings['masks']}") + how
    return ""


def uneven_table(scored: list[Scored]) -> Table:
    """Scores by frequency of the classes and size of the objects; maps at the calibrated threshold."""
    table = []
    for kind in ("cams", "masks", "segmenters"):
        rows = groups([one for one in scored if one.kind == kind])
        for (recipe, split, policy), group in rows.items():
            if policy == "oracle" or (policy == "fixed" and (recipe, split, "calibrated") in rows):
                continue
            if "iou_size_small" in group[0][1]:
                numbers = [spread([values.get(m) for _, values in group]) for m in UNEVEN]
                table.append([kind, recipe, split, policy, *numbers, len(group)])
    return Table(["kind", "recipe", "split", "policy", *UNEVEN.values(), "seeds"], table)


def uneven_words(index: Index) -> str:
    """What the columns of ``uneven_table`` mean."""
    named = zip(THIRDS, thirds(index), strict=False)
    said = "".join(f"{name}: {', '.join(index.classes[c] for c in classes)}. " for name, classes in named)
    bounds = " and ".join(f"{100 * share:g} %" for share in BOUNDS)
    return (
        "Head, middle, tail: mean IoU over thirds of the object classes by tagged training images. "
        f"{said}Small, medium and large: mean over object classes of the IoU within the images in which the class "
        f"takes a share below {bounds} of the pixels, or more."
    )


def agreement_table(scored: list[Scored]) -> Table:
    """How far the members of ensembles and votes agree, and networks with the masks that they correct."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in {one.artefact: one for one in scored}.values():
        for row in read_manifest(one.artefact).get("agreement", ()):
            found.setdefault((one.kind, one.recipe, row["a"], row["b"]), []).append(row)
    table = [[*key, *(spread([row[m] for row in rows]) for m in ("agreement", "miou"))] for key, rows in found.items()]
    return Table(["kind", "recipe", "a", "b", "agreement", "mIoU"], table)


def choices_table(scored: list[Scored]) -> Table:
    """What was chosen among pseudo-labels, and by which figures: a row for every member."""
    found: dict[tuple[str, str, str], list[tuple[bool, dict[str, Any]]]] = {}
    for one in {one.artefact: one for one in scored}.values():
        choice: dict[str, Any] = read_manifest(one.artefact).get("choice") or {}
        for row in choice.get("members", ()):
            key = (one.recipe, choice["by"], row["member"])
            found.setdefault(key, []).append((row["member"] == choice["chosen"], row))
    table = [
        [recipe, CHOSEN_BY[by], member, *(spread([row.get(m) for _, row in rows]) for m in FIGURES),
         f"{sum(taken for taken, _ in rows)} of {len(rows)}"]
        for (recipe, by, member), rows in found.items()
    ]  # fmt: skip
    return Table(["recipe", "figure", "member", *FIGURES.values(), "chosen with so many seeds"], table)


def tags_table(scored: list[Scored]) -> Table:
    """What the tags say of masks and maps made elsewhere, and what they took out; a row for every recipe."""
    found: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for one in {one.artefact: one for one in scored}.values():
        manifest = read_manifest(one.artefact)
        if "tags" in manifest and (manifest.get("settings") or {}).get("source") == "external":
            found.setdefault((one.kind, one.recipe), []).append((manifest["settings"], manifest))
    table = []
    for (kind, recipe), each in found.items():
        settings, told = each[0][0], [manifest["tags"] for _, manifest in each]
        veto = {None: "kept", "tags": settings.get("vetoed", "taken out")}[settings.get("veto")]
        classes: dict[str, int] = {}
        for name, counted in (pair for tags in told for pair in tags["untagged"].items()):
            classes[name] = classes.get(name, 0) + counted["images"]
        named = ", ".join(sorted(classes, key=lambda name: (-classes[name], name))[:MOST_NAMED])
        images = [
            tags["untagged_images"] / max(1, manifest["images"]) for tags, (_, manifest) in zip(told, each, strict=True)
        ]
        share = spread([tags["untagged_share"] for tags in told]) if kind == "masks" else "–"
        absent = mean(tags["tags_absent"] for tags in told)
        table.append([kind, recipe, spread(images), share, veto, named or "–", f"{absent:.0f}", len(each)])
    return Table([*TAGGED, "seeds"], table)


def classes_table(index: Index, scored: list[Scored]) -> Table:
    """IoU of every class on the last split there is, a column for each recipe; maps at the calibrated threshold."""
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
            values = [spread([v["per_class"][n]["iou"] for _, v in rows[key]]) for n in ("background", *index.classes)]
            columns[f"{kind} {recipe} ({', '.join(filter(None, key[1:]))})"] = values
    names = ("background", *index.classes)
    cells = zip(names, zip(*columns.values(), strict=True), strict=True) if columns else ()
    return Table(["class", *columns], [[name, *row] for name, row in cells])


@dataclass(frozen=True)
class Cost:
    """What one recipe of one stage took: wall seconds of each of its runs, most memory in MiB, devices in words."""

    kind: str
    recipe: str
    seconds: tuple[float, ...]
    memory: int
    devices: str


def costs(index: Index, scored: list[Scored]) -> list[Cost]:
    """What every stage took that the scores rest on, in the order of the chain."""
    found: dict[tuple[str, str], dict[Any, dict[str, Any]]] = {}
    manifests = {index.folder.resolve(): read_manifest(index.folder)}
    for one in scored:
        manifests |= lineage(one.artefact)
    for folder, manifest in manifests.items():
        kind = "index" if folder == index.folder.resolve() else folder.parent.name
        found.setdefault((kind, "" if kind == "index" else folder.name), {})[folder] = manifest
    table = []
    for kind, recipe in sorted(found, key=lambda k: (ORDER.index(k[0]) if k[0] in ORDER else len(ORDER), k[1])):
        runs = list(found[kind, recipe].values())
        if seconds := tuple(r["wall_seconds"] for r in runs if "wall_seconds" in r):
            memory = max(r.get("peak_memory_mib", 0) for r in runs)
            devices = ", ".join(sorted({f"{r.get('device', '')} ({r.get('threads', '?')} threads)" for r in runs}))
            table.append(Cost(kind, recipe, seconds, memory, devices))
    return table


def cost_table(index: Index, scored: list[Scored]) -> Table:
    """Wall time, memory and device of every stage that the scores rest on."""
    rows = [
        [c.kind, c.recipe, f"{mean(c.seconds):.0f}", f"{sum(c.seconds):.0f}", c.memory, c.devices]
        for c in costs(index, scored)
    ]
    return Table(["stage", "recipe", "seconds per seed", "seconds in all", "peak memory MiB", "device"], rows)
