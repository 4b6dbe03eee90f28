"""Which artefacts depend on which, told from the recipes alone and written down a second time, by hand: nothing here
comes from the tables that the workflow is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsss.config.loader import Config

OWN = {
    "classifiers": {"": "classifiers"},
    "cams": {"": "cams"},
    "saliency": {"": "saliency", "maps": "saliency-maps", "refine": "saliency-masks"},
    "affinity": {"": "affinity", "labels": "affinity-labels"},
    "masks": {"": "masks"},
    "segmenters": {"": "segmenters", "predict": "predictions"},
    "explanations": {"": "explanations"},
    "memories": {"": "memories"},
    "audits": {"": "audits"},
    "searches": {"": "searches"},
}
"""Kind of recipe -> its artefacts, by the block of the recipe that says how they are made ('': what is in no block)."""
WITHIN = {
    "saliency-maps": "saliency",
    "saliency-masks": "saliency-maps",
    "affinity": "affinity-labels",
    "predictions": "segmenters",
}
"""Artefact -> the one of the same recipe that it is made from."""
READ = {
    ("classifiers", "warm_start"): ("classifiers", "classifiers"),
    ("classifiers", "ordinary"): ("classifiers", "classifiers"),
    ("cams", "classifier"): ("cams", "classifiers"),
    ("cams", "cams"): ("cams", "cams"),
    ("cams", "affinity"): ("cams", "affinity"),
    ("cams", "warm_start"): ("cams", "classifiers"),
    ("cams", "members"): ("cams", "cams"),
    ("saliency", "warm_start"): ("saliency", "classifiers"),
    ("saliency", "hints"): ("saliency", "cams"),
    ("saliency", "saliency"): ("saliency", "saliency-masks"),
    ("affinity", "cams"): ("affinity-labels", "cams"),
    ("affinity", "saliency"): ("affinity-labels", "saliency-maps"),
    ("affinity", "warm_start"): ("affinity", "classifiers"),
    ("masks", "cams"): ("masks", "cams"),
    ("masks", "saliency"): ("masks", "saliency-maps"),
    ("masks", "members"): ("masks", "masks"),
    ("masks", "segmenters"): ("masks", "segmenters"),
    ("masks", "prior"): ("masks", "masks"),
    ("masks", "masks"): ("masks", "masks"),
    ("segmenters", "masks"): ("segmenters", "masks"),
    ("segmenters", "classifier"): ("segmenters", "classifiers"),
    ("segmenters", "warm_start"): ("segmenters", "segmenters"),
    ("segmenters", "memory"): ("segmenters", "memories"),
    ("segmenters", "tags_from"): ("predictions", "classifiers"),
    ("memories", "segmenter"): ("memories", "segmenters"),
    ("memories", "previous"): ("memories", "memories"),
    ("memories", "cams"): ("memories", "cams"),
    ("explanations", "classifier"): ("explanations", "classifiers"),
    ("audits", "classifier"): ("audits", "classifiers"),
    ("audits", "segmenter"): ("audits", "segmenters"),
    ("explanations", "segmenter"): ("explanations", "segmenters"),
    ("searches", "teacher"): ("searches", "segmenters"),
    ("segmenters", "architecture_from"): ("segmenters", "searches"),
}
"""(kind, key that names a recipe) -> (artefact that reads, artefact that is read)."""
SCORED = {
    "classifiers": "classifiers",
    "cams": "cams",
    "saliency": "saliency-maps",
    "saliency-masks": "saliency-masks",
    "masks": "masks",
    "segmenters": "predictions",
}
"""Folder of scores -> what is scored."""
AT_THRESHOLDS = ("cams", "saliency")
"""Scores that ``evaluation`` has a say in."""
SPREADS_WORK = {"shards", "processes", "nodes", "stage_to", "log", "keep", "storage"}
"""Keys that say how the work is shared out, watched or stored, and not what comes of it."""


def edges(config: Config, dataset: str = "scenes", seed: int = 0) -> Iterator[tuple[str, str]]:
    """(what is read, what reads it), as folders below the results."""
    run = f"{dataset}/s{seed}"
    for kind, parts in OWN.items():
        for name, recipe in config.recipes[kind].items():
            for part in parts.values():
                yield f"{dataset}/index", f"{run}/{part}/{name}"
                if part in WITHIN:
                    yield f"{run}/{WITHIN[part]}/{name}", f"{run}/{part}/{name}"
            for key, (_, target) in config.refs(kind, name).items():
                reader, read = READ[kind, key.partition(".")[0]]
                yield f"{run}/{read}/{target}", f"{run}/{reader}/{name}"
            for maps in chosen_by_scores(kind, recipe):
                yield f"{run}/scores/cams/{maps}", f"{run}/{kind}/{name}"
            for scores, scored in SCORED.items():
                if scored in parts.values():
                    yield f"{run}/{scored}/{name}", f"{run}/scores/{scores}/{name}"
                    yield f"{run}/scores/{scores}/{name}", dataset
                    yield f"{run}/scores/{scores}/{name}", f"{dataset}/report"
    yield f"{dataset}/index", dataset
    for kind in ("explanations", "audits", "searches"):
        for name in config.recipes[kind]:
            yield f"{dataset}/index", f"{dataset}/{kind}"
            yield f"{run}/{kind}/{name}", f"{dataset}/{kind}"
    if config.recipes["memories"]:
        yield f"{dataset}/index", f"{dataset}/continual"
    for name in config.recipes["memories"]:
        yield f"{run}/memories/{name}", f"{dataset}/continual"
    for name, recipe in config.recipes["segmenters"].items() if config.recipes["memories"] else ():
        if recipe.objective == "continual":
            yield f"{run}/segmenters/{name}", f"{dataset}/continual"
            yield f"{run}/predictions/{name}", f"{dataset}/continual"
    for name in judged_by_searches(config):
        yield f"{run}/segmenters/{name}", f"{dataset}/searches"
        yield f"{run}/scores/segmenters/{name}", f"{dataset}/searches"
    yield f"{dataset}/index", f"{dataset}/report"


def chosen_by_scores(kind: str, recipe: Any) -> Iterator[str]:
    """The maps whose scores a recipe chooses a threshold or weights by."""
    if kind == "cams" and recipe.source == "ensemble" and recipe.rule == "calibrated":
        yield from recipe.members
    if kind == "masks" and recipe.source == "cams" and recipe.threshold.policy in ("calibrated", "oracle"):
        if recipe.saliency is None and recipe.ignore is None:
            yield recipe.cams


def judged_by_searches(config: Config) -> set[str]:
    """Networks that the table of searches shows: teachers, and what was trained of what was found."""
    found = {name for name, made in config.recipes["segmenters"].items() if made.architecture_from is not None}
    return found | {made.teacher for made in config.recipes["searches"].values()}


def counts_masks(recipe: Any) -> bool:
    """Whether a choice looks at as many ground-truth masks as ``evaluation`` says."""
    return recipe.source == "choice" and recipe.by == "masks" and recipe.calibration_images is None


def changed_by(kind: str, name: str | None, path: tuple[str, ...], config: Config) -> set[str]:
    """The artefacts that a key itself is a setting of, in the configuration as it is after the change."""
    run = "scenes/s0"
    if path[-1] in SPREADS_WORK or kind in ("ablation", "workstation"):
        return set()
    if kind == "datasets":
        return {f"{name}/index"}
    if kind == "evaluation":
        kinds = ("cams",) if path == ("threshold",) else AT_THRESHOLDS  # saliency has its own, the recipe's
        changed = {f"{run}/scores/{scores}/{recipe}" for scores in kinds for recipe in config.recipes[scores]}
        each_its_own = {name for name, made in config.recipes["saliency"].items() if made.refine.threshold == "otsu"}
        changed |= {f"{run}/scores/saliency/{name}" for name in each_its_own}  # none that all its images share
        if path == ("calibration_images",):
            changed |= {f"{run}/masks/{name}" for name, made in config.recipes["masks"].items() if counts_masks(made)}
        return changed
    parts = OWN[kind]
    reader, _ = READ.get((kind, path[0]), (parts.get(path[0], parts[""]), None))
    made = {f"{run}/{reader}/{name}"}
    if kind == "saliency" and path == ("refine", "threshold"):
        made.add(f"{run}/scores/saliency/{name}")  # the maps are scored at it too
    return made


def downstream(config: Config, start: set[str]) -> set[str]:
    """These artefacts and all that is made from them."""
    reached, todo, made_from = set(), list(start), list(edges(config))
    while todo:
        one = todo.pop()
        if one not in reached:
            reached.add(one)
            todo += [reader for read, reader in made_from if read == one]
    return reached
