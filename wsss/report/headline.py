"""Which result the report leads with, what it was made from, and the main figure of a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from wsss.data.index import SPLITS, Index, Item
from wsss.report.provenance import Scored, lineage, supervision
from wsss.steps import SCORED
from wsss.store.manifest import read_manifest

FINAL = ("segmenters", "masks", "cams")
"""Kinds of results, the last of the chain first."""
POLICIES = ("calibrated", "", "fixed")
"""Where scores were taken at several thresholds, the first of these is shown; an oracle's never is."""


def scores_of(one: Scored, split: str) -> dict[str, Any]:
    """The main scores of an artefact on a split; empty where it was not scored there."""
    policies = one.content["splits"].get(split, {}).get("policies", {})
    return next((policies[p] for p in POLICIES if p in policies), {})


def figure(one: Scored, split: str) -> float | None:
    """mAP of a classifier, mIoU of everything else, as a fraction; None where there is none."""
    return scores_of(one, split).get("map" if one.kind == "classifiers" else "miou")


def recipes(scored: Sequence[Scored], *kinds: str) -> dict[tuple[str, str], list[Scored]]:
    """(kind, recipe) to its scores, one for each seed; in the order of the kinds, then as given."""
    found: dict[tuple[str, str], list[Scored]] = {}
    for kind in kinds:
        for one in sorted((s for s in scored if s.kind == kind), key=lambda s: s.seed):
            found.setdefault((kind, one.recipe), []).append(one)
    return found


def mean_figure(group: Sequence[Scored]) -> float | None:
    """Mean over the seeds of a recipe on the last split that was scored; None without ground-truth masks (or tags)."""
    for split in reversed(SPLITS):
        known = [v for one in group if (v := figure(one, split)) is not None]
        if known:
            return mean(known)
    return None


def last_split(group: Sequence[Scored]) -> str:
    """The last split on which a result has a figure, or else was scored."""
    splits = [s for s in SPLITS if s in group[0].content["splits"]]
    known = [s for s in splits if figure(group[0], s) is not None]
    return (known or splits or list(SPLITS))[-1]


def from_true_masks(artefact: Path) -> bool:
    """Whether a network learnt from ground-truth masks."""
    return "ground-truth masks" in supervision(artefact)


def final(scored: Sequence[Scored]) -> list[Scored]:
    """The result that the report leads with, one for each seed: of the segmentation networks that did not learn from
    ground-truth masks (of the pseudo-labels, of the maps, where there is none) the best, or the first where nothing was
    scored. What learnt from ground-truth masks leads only where there is nothing else. Empty where there is no result
    at all."""
    groups = {kind: list(recipes(scored, kind).values()) for kind in FINAL}
    weak = {kind: [g for g in groups[kind] if not from_true_masks(g[0].artefact)] for kind in FINAL}
    for found in (*weak.values(), *groups.values()):
        if found:
            return max(found, key=lambda g: -1.0 if (value := mean_figure(g)) is None else value)
    return []


def upper_bound(scored: Sequence[Scored]) -> list[Scored]:
    """The best network that learnt from ground-truth masks; empty where there is none."""
    groups = [g for g in recipes(scored, "segmenters").values() if from_true_masks(g[0].artefact)]
    return max(groups, key=lambda g: mean_figure(g) or 0.0, default=[])


@dataclass(frozen=True)
class Source:
    """A folder that pictures are taken from; ``kind`` is that of its scores."""

    kind: str
    recipe: str
    folder: Path
    splits: tuple[str, ...]
    threshold: float | None = None


def sources(scored: Sequence[Scored], leading: Sequence[Scored]) -> dict[str, Source]:
    """Kind (``cams``, ``saliency``, ``masks``, ``segmenters``) to the folder that the leading result's first seed rests
    on; for saliency that it does not rest on, the first there is of that seed."""
    if not leading:
        return {}
    one, found = leading[0], {}
    kinds = {SCORED[kind]: kind for kind in ("cams", "saliency", "masks", "segmenters")}
    by_folder = {s.artefact: s for s in scored}
    rest = [s.artefact for s in scored if s.kind == "saliency" and s.seed == one.seed]
    for folder in [*lineage(one.artefact), *rest]:
        kind = kinds.get(folder.parent.name)
        if kind is not None and kind not in found:
            found[kind] = _source(kind, folder, by_folder.get(folder))
    return found


def _source(kind: str, folder: Path, scored: Scored | None) -> Source:
    manifest = read_manifest(folder)
    splits = (manifest.get("settings") or {}).get("splits") or manifest.get("splits") or SPLITS
    known = [] if scored is None else [scores_of(scored, s).get("threshold") for s in SPLITS]
    threshold = next((t for t in reversed(known) if t is not None), None)
    return Source(kind, folder.name, folder, tuple(splits), threshold)


def shown_split(index: Index, leading: Sequence[Scored]) -> tuple[str, list[Item]]:
    """The split that pictures are taken of, and its images that can be judged: with ground-truth masks if there are
    any, of the validation split if it has them and the leading result covers it; else those with tags."""
    covered = [s for s in reversed(SPLITS) if not leading or s in leading[0].content["splits"]]
    masked = {s: [i for i in index.scored(s) if i.mask is not None] for s in covered}
    for found in (masked, {s: index.labelled(s) for s in covered}):
        for split, items in found.items():
            if items:
                return split, items
    return (covered or list(SPLITS))[0], []
