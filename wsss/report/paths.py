"""Whole paths compared at the same final form: pseudo-labels with pseudo-labels, networks with networks.

A step that helps what it is applied to may still lead to a worse result than a path without it, refined in the same way
at its end. So every result stands beside the best one of the same kind that fewer artefacts led to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsss.data.index import SPLITS
from wsss.report.effects import Effect
from wsss.report.provenance import Scored, lineage

KINDS = ("masks", "segmenters")
STEP = "whole path"


def paths(scored: Sequence[Scored]) -> list[Effect]:
    """Every result beside the best of its kind, seed and split on a shorter path. What learnt from ground-truth masks
    takes no part: it is no path from tags."""
    found: dict[tuple[str, str, str, str], list[tuple[float, float, Scored]]] = {}
    for kind in KINDS:
        for split in reversed(SPLITS):
            for seed in sorted({one.seed for one in scored}):
                of_seed = [one for one in scored if (one.kind, one.seed) == (kind, seed)]
                for better, one in _beside(of_seed, split):
                    pair = (miou(better, split), miou(one, split))
                    if None not in pair:
                        key = (kind, better.recipe, one.recipe, split)
                        found.setdefault(key, []).append((*pair, one))  # type: ignore[arg-type]
    return [
        Effect(STEP, (kind, before), (kind, after), split, tuple((a, b) for a, b, _ in rows),
               tuple(one.artefact for *_, one in rows))
        for (kind, before, after, split), rows in found.items()
    ]  # fmt: skip


def miou(one: Scored, split: str) -> float | None:
    """mIoU of a result on a split; None without one, and where a mask leaves pixels out."""
    found = one.content["splits"].get(split, {}).get("policies", {}).get("", {})
    return None if "unlabelled" in found else found.get("miou")


def _beside(results: Sequence[Scored], split: str) -> Iterator[tuple[Scored, Scored]]:
    """The best result on a shorter path, and the result; those without a shorter one are left out."""
    from_tags = [one for one in results if miou(one, split) is not None and not _learnt_from_masks(one)]
    length = {one.artefact: len(lineage(one.artefact)) for one in from_tags}
    for one in from_tags:
        shorter = [other for other in from_tags if length[other.artefact] < length[one.artefact]]
        if shorter:
            yield max(shorter, key=lambda other: miou(other, split) or 0.0), one


def _learnt_from_masks(one: Scored) -> bool:
    """Whether a network in its lineage was trained on ground-truth masks."""
    every = lineage(one.artefact).values()
    return any((manifest.get("settings") or {}).get("supervision") == "masks" for manifest in every)
