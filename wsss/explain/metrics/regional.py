"""What explanations of segmentation networks are worth: how fast the prediction goes with the pixels that a map names,
by what stands in for them (Gipiskis et al. 2023), and where the map lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wsss.explain import postprocess
from wsss.explain.base import Explainer, Explanation
from wsss.explain.fills import Fill
from wsss.explain.metrics.localisation import energy
from wsss.explain.metrics.measuring import ExplainedBatch, Judged, all_curves, energies, one_channel, tallied
from wsss.explain.metrics.road import library, road
from wsss.explain.metrics.tables import Tally
from wsss.explain.regions import Regions
from wsss.explain.subject import Subject
from wsss.explain.targets import Target

MODES = ("deletion", "insertion")


@dataclass(frozen=True)
class RegionMetrics:
    """What is measured.

    Attributes:
        curves: Areas under deletion and insertion curves of the IoU with the region, beside those of a random map.
        fills: What stands for pixels that are taken away; with several, also the spread of the areas over them.
        steps: Of the curves.
        road: Percentiles of ROAD, of the region's IoU (slow; needs wsss[gradcam]); empty: none.
        chunk: Images in one pass of the network; no result depends on it.
        seed: The run's seed.
    """

    curves: bool = False
    fills: tuple[Fill, ...] = ("mean", "blur")
    steps: int = 20
    road: tuple[int, ...] = ()
    chunk: int = 32
    seed: int = 0


def measure_regions(
    explainer: Explainer,
    subject: Subject,
    batches: Iterable[ExplainedBatch],
    classes: int,
    question: Callable[[ExplainedBatch], Regions] | None = None,
    metrics: RegionMetrics | None = None,
    each: Callable[[list[dict[str, Any]]], None] | None = None,
    seen: Callable[[Explanation, dict[str, torch.Tensor]], None] | None = None,
) -> Tally:
    """Explain regions of batches and add up what the maps are worth.

    By row, as fractions: ``inside``: the share of the rectified map that lies in the region; ``energy``: in the
    ground-truth object; with curves ``deletion_<fill>`` (low is good) and ``insertion_<fill>`` (high is good), areas
    under curves of the IoU of the class's predicted pixels with the region, ``..._random`` of a random map, and
    ``deletion_spread``, ``insertion_spread``: the largest minus the smallest of the areas over the fills.

    Args:
        explainer, subject, batches, each, seen: As for ``measure``; detections have ``p``, the mean probability of the
            class in the region, and ``area``, the region's share of the pixels.
        classes: Number of object classes C; tables call output channel c + 1 class c. Channel 0 is not for asking.
        question: What is asked of a batch; None: the predicted region of every predicted class.
        metrics: What is measured; None: the defaults.

    Raises:
        WsssError: The explainer cannot be used on this network, or the network has other classes.
    """
    chosen = metrics or RegionMetrics()
    if chosen.road:
        library()

    def judged(batch: ExplainedBatch, target: Target, made: Explanation) -> Judged:
        return _measured(explainer, subject, batch, target, made, chosen)

    asked = question or (lambda _: Regions())
    return tallied(explainer, subject, batches, classes, asked, judged, chosen.seed, each, seen, first=1)


def _measured(
    explainer: Explainer,
    subject: Subject,
    batch: ExplainedBatch,
    target: Target,
    made: Explanation,
    metrics: RegionMetrics,
) -> Judged:
    rows, masks = made.rows, made.rows.masks
    assert masks is not None  # Regions say it
    maps, broken = one_channel(explainer, made.maps)
    small = postprocess.relu_minmax(maps)
    values = {"inside": energy(postprocess.resize(small, masks.shape[1:]), masks, rows.valid)}
    if batch.truth is not None:
        values["energy"] = energies(small, rows.image_idx, rows.class_idx - 1, batch.truth)
    drawn: dict[str, torch.Tensor] = {}
    if metrics.curves:
        areas, drawn = all_curves(
            subject, batch, target, made, maps, metrics.fills, metrics.steps, metrics.chunk, metrics.seed
        )
        values |= areas | spreads(areas, metrics.fills)
    if metrics.road:
        values |= road(
            subject, batch.images, target, rows, maps, percentiles=metrics.road, ids=batch.ids, seed=metrics.seed
        )
    alone = torch.bincount(rows.image_idx, minlength=len(batch.images))[rows.image_idx] == 1
    flags = {
        "several": ~alone,
        "zero_map": ~small.flatten(1).any(1) & ~broken,
        "nan_map": broken,
        "improbable": torch.zeros_like(broken),
    }
    scores = {"p": target.score(made.output, rows, "probability"), "area": masks.float().mean((1, 2))}
    return Judged(values, flags, drawn, scores)


def spreads(areas: dict[str, torch.Tensor], fills: Sequence[Fill]) -> dict[str, torch.Tensor]:
    """How far the areas (R,) under the curves of each mode lie apart over the fills; empty for one fill."""
    if len(fills) < 2:
        return {}
    every = {mode: torch.stack([areas[f"{mode}_{fill}"] for fill in fills]) for mode in MODES}
    return {f"{mode}_spread": of.amax(0) - of.amin(0) for mode, of in every.items()}
