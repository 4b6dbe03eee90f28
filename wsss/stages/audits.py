"""The stage ``audits``: all audits of a dataset in tables.

Writes ``audits.csv`` (a row per recipe, seed, eps, condition and figure) and ``audits.md`` for people: success and
fragility of each explainer, what attacks did to prediction and seeds, detectors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.report.markdown import markdown
from wsss.report.table_files import write_tables
from wsss.runtime.run import Run
from wsss.store.manifest import read_manifest

COLUMNS = ("dataset", "recipe", "network", "explainer", "goal", "seed", "eps", "condition", "metric", "value")
INTRODUCTION = """\
Can an explanation be trusted at all? Every image was changed by at most eps (255ths of a colour) so that its map moves
to a goal while the prediction stays: for networks of one's own, as a defence. **Steered**: share of images where that
succeeded (in brackets the same for noise of equal size, which wants nothing): the prediction agrees with the clean one
as well as under that noise, the region stays (IoU of at least 0.95), and the cosine with the target rises by at least
0.3, or of the highest tenth less than half stays (top-k), or the centre moves by a tenth of the diagonal (centre); of
attacks on the output, the region is lost (IoU below 0.5). **Fragility**: 1 - rank correlation of the maps before and
after noise of that size alone: a map that is no attack's victim may still be worth little. Means over images; mean ±
standard deviation over seeds.
"""
DETECTED = """\
Area under the ROC curve (false alarms where 95 % of the attacks are found), on the half of the images that nothing was
fitted on. *maps* is a logistic regression on figures of the map, *under_jpeg* the rank correlation of a map with that
of the image as JPEG; entropy, confidence and agreement_jpeg know the prediction only. The attack *adaptive* knows of
the detector and steers the map of the JPEG along: where it is found less often, the detector is no defence against
somebody who knows it.
"""


@dataclass(frozen=True)
class Audited:
    """A folder of the stage ``audit``."""

    recipe: str
    seed: int
    metrics: dict[str, Any]
    settings: dict[str, Any]
    seconds: float
    """What an attack on an image took; the manifest has it, since no two runs agree on it."""

    @property
    def explainer(self) -> str:
        """Its explainer with what matters of its options, and what makes it robust."""
        told = [f"{key} {value}" for key, value in self.metrics["explainer_options"].items() if key != "chunk"]
        if self.settings["smooth_beta"] is not None:
            told.append(f"softplus {self.settings['smooth_beta']:g}")
        if self.settings["layers"]:
            told.append(f"{len(self.settings['layers'])} layers")
        return str(self.metrics["explainer"]) + (f" ({', '.join(told)})" if told else "")

    def at(self, eps: float) -> dict[str, Any] | None:
        """Its figures at a size; None where it was not tried."""
        sizes: list[dict[str, Any]] = self.metrics["sizes"]
        return next((one for one in sizes if one["eps"] == eps), None)


def read_audited(folder: Path) -> Audited:
    """Raises ``WsssError`` for a folder that is no whole audit."""
    manifest = read_manifest(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        seconds = float(manifest["seconds_an_attack"])
        return Audited(folder.name, int(manifest["seed"]), metrics, manifest["settings"], seconds)
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole audit ({error!r}); run stages/audit.py again") from None


def make(run: Run) -> None:
    """Write the tables of a run of ``stages/audits.py``."""
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    found = [read_audited(folder) for folder in run.several("audits")]
    rows = [row for one in found for row in long_form(dataset, one)]
    write_tables(run, "audits", COLUMNS, rows, page(dataset, found), audits=len(found))


def long_form(dataset: str, one: Audited) -> list[tuple[Any, ...]]:
    """Rows of ``audits.csv``; values as they stand in ``metrics.json``."""
    head = (dataset, one.recipe, one.metrics["network"], one.explainer, one.metrics["goal"], one.seed)
    rows: list[tuple[Any, ...]] = []
    for size in one.metrics["sizes"]:
        rows.append((*head, size["eps"], "noise", "fragility", size["fragility"]))
        for condition in ("attack", "noise", "shuffled"):
            rows += [(*head, size["eps"], condition, name, value) for name, value in size[condition].items()]
    for key, value in (one.metrics["seeds"] or {}).get("miou", {}).items():
        condition, _, eps = key.partition(" ")
        rows.append((*head, eps or 0, condition, "seed_miou", value))
    for each in (one.metrics.get("detector") or {}).get("results", ()):
        for name in ("auroc", "false_alarms"):
            rows.append((*head, "", each["attack"], f"{name} of {each['detector']}", each[name]))
    return rows


def page(dataset: str, found: Sequence[Audited]) -> str:
    """``audits.md``."""
    parts = [f"# Audits: {dataset}\n", INTRODUCTION]
    alike: dict[tuple[Any, ...], dict[str, list[Audited]]] = {}
    for one in found:
        key = (one.metrics["network"], one.metrics["goal"], one.settings["split"], one.settings["max_side"])
        alike.setdefault(key, {}).setdefault(one.recipe, []).append(one)
    for (network, goal, split, _), recipes in alike.items():
        first = next(iter(recipes.values()))[0].metrics
        lost = f"; in {len(first['without_object'])} more nothing is predicted" if first["without_object"] else ""
        parts.append(f"## Network {network}, goal {goal}, {split}\n\n{first['images']} images{lost}.\n")
        parts += [steered(recipes), *ranking(recipes), "What the attacks did:\n", done(recipes)]
        parts += (
            [f"{DETECTED}\n{detected(recipes)}"] if any(g[0].metrics.get("detector") for g in recipes.values()) else []
        )
    return "\n".join(parts)


def steered(recipes: dict[str, list[Audited]]) -> str:
    """A row per recipe, a column per eps."""
    sizes = _sizes(recipes)
    heads = ["recipe", "explainer", *(f"steered, eps {size:g}" for size in sizes)]
    heads += [*(f"fragility, eps {size:g}" for size in sizes), "zero maps", "s an attack"]
    rows = []
    for recipe, group in recipes.items():
        row = [recipe, group[0].explainer]
        for size in sizes:
            attack, noise = (_over(group, size, condition, "success") for condition in ("attack", "noise"))
            row.append(f"{_told(attack, 100)} ({_told(noise, 100)})")
        row += [_told(_over(group, size, "fragility"), 1, 2) for size in sizes]
        row.append(_told(_over(group, sizes[-1], "clean", "zero_map_rate"), 100))
        row.append(f"{mean(one.seconds for one in group):.1f}")
        rows.append(row)
    return markdown(heads, rows)


def ranking(recipes: dict[str, list[Audited]]) -> list[str]:
    """The explainers from the most to the least fragile, at the largest size that all were tried at."""
    common = [size for size in _sizes(recipes) if all(one.at(size) for group in recipes.values() for one in group)]
    if len(recipes) < 2 or not common:
        return []
    values = {name: _over(group, common[-1], "fragility") for name, group in recipes.items()}
    known = {name: mean(of) for name, of in values.items() if of}
    order = sorted(known, key=lambda name: -known[name])
    told = " > ".join(f"{name} ({known[name]:.2f})" for name in order)
    return [f"From the most to the least fragile at eps {common[-1]:g}: {told}.\n"]


DONE: dict[str, tuple[str, float, int]] = {
    "agreement %": ("agreement", 100, 1),
    "region IoU": ("region_iou", 1, 2),
    "mIoU, points": ("miou_change", 100, 1),
    "cosine with target": ("cosine_target", 1, 2),
    "mass in target %": ("mass_target", 100, 1),
    "rank correlation": ("spearman", 1, 2),
    "top tenth kept %": ("top_kept", 100, 0),
    "shift, px": ("shift_px", 1, 1),
    "PSNR, dB": ("psnr", 1, 1),
}
"""Heading -> figure, factor, digits; those that no recipe has are left out."""


def done(recipes: dict[str, list[Audited]]) -> str:
    """A row per recipe, eps and condition."""
    every = [one for group in recipes.values() for one in group]
    heads = {
        h: v for h, v in DONE.items() if any(s["attack"][v[0]] is not None for o in every for s in o.metrics["sizes"])
    }
    seeds = any(one.metrics["seeds"] for one in every)
    rows = []
    for recipe, group in recipes.items():
        if first := group[0].metrics["sizes"][:1]:
            values = [[one.metrics["sizes"][0]["clean"][name] for one in group] for name, _, _ in heads.values()]
            told = [_told(v, f, d) for v, (_, f, d) in zip(values, heads.values(), strict=True)]
            rows.append([recipe, "", "clean", *told, *([_seed(group, "clean")] if seeds else [])])
        for size in [one["eps"] for one in group[0].metrics["sizes"]] if first else ():
            for condition in ("attack", "noise", "shuffled"):
                told = [_told(_over(group, size, condition, n), f, d) for n, f, d in heads.values()]
                seed = [_seed(group, f"{condition} {size:g}")] if seeds else []
                rows.append([recipe, f"{size:g}", condition, *told, *seed])
    return markdown(["recipe", "eps", "condition", *heads, *(["seed mIoU %"] if seeds else [])], rows)


def detected(recipes: dict[str, list[Audited]]) -> str:
    """A row per recipe and detector, a column per attack."""
    kinds = ("attack", "output", "adaptive")
    rows = []
    for recipe, group in recipes.items():
        results = [one.metrics["detector"]["results"] for one in group if one.metrics.get("detector")]
        for name in dict.fromkeys(each["detector"] for one in results for each in one):
            row = [recipe, name]
            for kind in kinds:
                mine = [e for one in results for e in one if (e["detector"], e["attack"]) == (name, kind)]
                area, alarms = ([e[key] for e in mine if e[key] is not None] for key in ("auroc", "false_alarms"))
                row.append(f"{_told(area, 1, 2)} ({_told(alarms, 100, 0)} %)" if area else "–")
            rows.append(row)
    return markdown(["recipe", "detector", *kinds], rows)


def _sizes(recipes: dict[str, list[Audited]]) -> list[float]:
    return sorted({size["eps"] for group in recipes.values() for one in group for size in one.metrics["sizes"]})


def _over(group: Sequence[Audited], size: float, *path: str) -> list[float]:
    """The figure at a path of keys, at a size, of each seed that has it."""
    found = []
    for one in group:
        value: Any = one.at(size)
        for key in path:
            value = None if value is None else value[key]
        found += [] if value is None else [float(value)]
    return found


def _seed(group: Sequence[Audited], key: str) -> str:
    values = [(one.metrics["seeds"] or {}).get("miou", {}).get(key) for one in group]
    return _told(values, 100)


def _told(values: Sequence[float | None], factor: float = 1, digits: int = 1) -> str:
    known = [value * factor for value in values if value is not None]
    if not known:
        return "–"
    return f"{mean(known):.{digits}f}" + (f" ± {stdev(known):.{digits}f}" if len(known) > 1 else "")
