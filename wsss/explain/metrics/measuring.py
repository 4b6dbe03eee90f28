"""Run an explainer over batches of a classifier and measure its maps; what is kept are sums."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from wsss.errors import WsssError
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain import postprocess
from wsss.explain.base import Explainer, Explanation
from wsss.explain.curves import curves, random_saliency
from wsss.explain.fills import Fill, filled
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.metrics.confidence import confidence, improbable
from wsss.explain.metrics.localisation import THRESHOLDS, count_seeds, energy, region_of
from wsss.explain.metrics.road import library, road
from wsss.explain.metrics.tables import Tally
from wsss.explain.subject import Subject, undisturbed
from wsss.explain.targets import Classes, Policy, Target, probabilities


@dataclass(frozen=True, eq=False)
class ExplainedBatch:
    """Some images.

    Attributes:
        images: Normalised, floating (B, 3, H, W).
        ids: Their names; None: methods with noise name an image by its pixels, and tables number it.
        labels: Image labels (B, C) in {0, 1}; not needed for the policy ``pred``.
        truth: A ground-truth mask for each image, integers (H_i, W_i) of any size (0 background, c + 1 class c, 255
            left out), or None for an image that has none.
    """

    images: torch.Tensor
    ids: Sequence[str] | None = None
    labels: torch.Tensor | None = None
    truth: Sequence[np.ndarray | None] | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "labels", "truth"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.images):
                raise WsssError(f"{len(given)} {name} for {len(self.images)} images; give one for each")


class Judged(NamedTuple):
    """What is found of the rows of an explanation.

    Attributes:
        values: Metrics (R,) by name, NaN where there is none.
        flags: bool (R,) by name in ``tables.FLAGS``.
        curves: fp32 (R, steps + 1) by name.
        scores: What tables of detections show beside (R,).
    """

    values: dict[str, torch.Tensor]
    flags: dict[str, torch.Tensor]
    curves: dict[str, torch.Tensor]
    scores: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Metrics:
    """What is measured.

    Attributes:
        policy: Which classes are explained, and considered present: ``pred`` is that of the MinMax papers.
        fill: What stands where a map is 0: ``mean`` is zero in normalised numbers, so that it is the plain product.
        curves: Areas under deletion and insertion curves, and beside them those of a random map. Twice ``steps`` + 1
            passes for each mode and fill.
        steps, curve_fills: Of the curves.
        road: Percentiles of ROAD (slow; needs wsss[gradcam]); empty: none.
        chunk: Images in one pass of the network; no result depends on it.
        seed: The run's seed.
    """

    policy: Policy = "pred"
    fill: Fill = "mean"
    curves: bool = False
    steps: int = 20
    curve_fills: tuple[Fill, ...] = ("mean", "blur")
    road: tuple[int, ...] = ()
    chunk: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fill == "window_mean":
            raise WsssError("maps are multiplied with whole images; take another fill than window_mean")
        if self.chunk < 1:
            raise WsssError(f"chunk is {self.chunk}; at least one image goes through the network at a time")


def measure(
    explainer: Explainer,
    subject: Subject,
    batches: Iterable[ExplainedBatch],
    classes: int,
    metrics: Metrics | None = None,
    each: Callable[[list[dict[str, Any]]], None] | None = None,
    seen: Callable[[Explanation, dict[str, torch.Tensor]], None] | None = None,
) -> Tally:
    """Explain batches and add up what the maps are worth.

    Args:
        explainer, subject: What is measured.
        batches: Of any sizes; nothing but sums and the highest cost depends on how images are grouped.
        classes: Number of classes C of the network.
        metrics: What is measured; None: the defaults.
        each: Is given one dict a detection: ``image``, ``class`` (its number), ``p``, ``kept`` and ``removed`` (O and
            O' of the class), all metrics as fractions, flags, and None where there is no value; ``DetectionTable``
            writes them to a file.
        seen: Is given the explanation of every batch, and the curves of its rows, fp32 (R, steps + 1) by name.

    Returns:
        ``class_table``, ``summary``, ``mean_curves``; shards can be merged.

    A map with a NaN or infinity is measured as one that is zero everywhere, and counted.

    Raises:
        WsssError: The explainer cannot be used on this network, labels are missing, or pytorch-grad-cam is.
    """
    metrics = metrics or Metrics()
    if metrics.road:
        library()

    def judged(batch: ExplainedBatch, target: Target, made: Explanation) -> Judged:
        return _measured(explainer, subject, batch, target, made, metrics)

    def question(batch: ExplainedBatch) -> Target:
        return Classes(metrics.policy, batch.labels)

    return tallied(explainer, subject, batches, classes, question, judged, metrics.seed, each, seen)


def tallied(
    explainer: Explainer,
    subject: Subject,
    batches: Iterable[ExplainedBatch],
    classes: int,
    question: Callable[[ExplainedBatch], Target],
    judged: Callable[[ExplainedBatch, Target, Explanation], Judged],
    seed: int,
    each: Callable[[list[dict[str, Any]]], None] | None = None,
    seen: Callable[[Explanation, dict[str, torch.Tensor]], None] | None = None,
    first: int = 0,
) -> Tally:
    """Explain batches and add up what is found of the maps.

    Args:
        explainer, subject, batches, classes, seed, each, seen: As for ``measure``.
        question: What is asked of a batch.
        judged: What is found of its explanation.
        first: Output channel of the class that tables call 0.

    Raises:
        WsssError: The network has other classes.
    """
    tally = Tally(classes)
    for batch in batches:
        target = question(batch)
        made, seconds, peak = timed(explainer, subject, batch, target, seed)
        if made.output.shape[1] != classes + first:
            raise WsssError(f"the network has {made.output.shape[1] - first} classes, tables were asked for {classes}")
        number = tally.images
        tally.add_cost(len(batch.images), seconds, made.about["cost"], peak)
        if not len(made.rows):
            if seen is not None:
                seen(made, {})
            continue
        found = judged(batch, target, made)
        tally.add(made.class_idx - first, found.values, found.flags, found.curves)
        if seen is not None:
            seen(made, found.curves)
        if each is not None:
            names = range(number, number + len(batch.images)) if batch.ids is None else batch.ids
            named = {
                "image": [names[i] for i in made.image_idx.tolist()],
                "class": (made.class_idx - first).tolist(),
            }
            told = {**found.scores, **found.values, **found.flags}
            columns = named | {name: _plain(value) for name, value in told.items()}
            each([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    return tally


def measure_seeds(
    explainer: Explainer,
    subject: Subject,
    batches: Iterable[ExplainedBatch],
    classes: int,
    thresholds: np.ndarray = THRESHOLDS,
    seed: int = 0,
) -> ThresholdCounts:
    """Count the maps of the images' labels, cut at every background threshold, against ground-truth masks; images
    without one are left out. ``localisation.seed_scores`` reads mean IoU out of two such counts: one to choose the
    threshold on.

    Raises:
        WsssError: Labels are missing.
    """
    counts = ThresholdCounts(thresholds, classes)
    for batch in batches:
        if batch.truth is None:
            continue
        made = explainer(subject, batch.images, Classes("gt", batch.labels), ids=batch.ids, seed=seed)
        maps, _ = one_channel(explainer, made.maps)
        for image, truth in enumerate(batch.truth):
            if truth is not None:
                mine = made.image_idx == image
                count_seeds(counts, maps[mine], made.class_idx[mine], np.asarray(truth))
    return counts


def one_channel(explainer: Explainer, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Finite maps (R, h, w), still signed, of an explainer's maps, and which rows held a NaN or infinity, bool (R,):
    those are zero now."""
    broken = ~maps.isfinite().flatten(1).all(1)
    if maps.ndim == 4:
        maps = postprocess.reduce_channels(maps, explainer.channels or "max_abs")
    return torch.where(broken[:, None, None], 0.0, maps.float()), broken


def timed(
    explainer: Explainer, subject: Subject, batch: ExplainedBatch, target: Target, seed: int = 0
) -> tuple[Explanation, float, float | None]:
    """An explanation, the seconds it took, and the most memory on the device meanwhile in MiB (None on the CPU)."""
    cuda = subject.device if subject.device is not None and subject.device.type == "cuda" else None
    if cuda is not None:
        torch.cuda.synchronize(cuda)
        torch.cuda.reset_peak_memory_stats(cuda)
    start = time.perf_counter()
    made = explainer(subject, batch.images, target, ids=batch.ids, seed=seed)
    if cuda is not None:
        torch.cuda.synchronize(cuda)
    seconds = time.perf_counter() - start
    return made, seconds, None if cuda is None else torch.cuda.max_memory_allocated(cuda) / 2**20


def masked(
    subject: Subject,
    images: torch.Tensor,
    made: Explanation,
    masks: torch.Tensor,
    metrics: Metrics,
    ids: Sequence[str] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities fp32 (R, C) of each row's image times its mask (R, H, W), and times one minus the mask."""
    with undisturbed(subject), torch.no_grad():
        images = images.to(masks.device)
        named = None if ids is None else list(ids)
        forward = ForwardPass(subject, images, Classes("pred"), named, metrics.seed, rows=made.rows)
        fill = (
            [filled(forward, image, metrics.fill) for image in range(len(images))] if metrics.fill != "mean" else None
        )
        found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for first in range(0, len(masks), metrics.chunk):
            image_idx = made.image_idx[first : first + metrics.chunk]
            mask = masks[first : first + metrics.chunk, None]
            for share, into in zip((mask, 1 - mask), found, strict=True):
                shown = images[image_idx] * share
                if fill is not None:
                    shown = shown + torch.stack([fill[i] for i in image_idx.tolist()]) * (1 - share)
                into.append(probabilities(forward.run(shown.to(images.dtype)), subject.single_label))
    return torch.cat(found[0]), torch.cat(found[1])


def _measured(
    explainer: Explainer, subject: Subject, batch: ExplainedBatch, target: Target, made: Explanation, metrics: Metrics
) -> Judged:
    rows, size = made.rows, batch.images.shape[2:]
    maps, broken = one_channel(explainer, made.maps)
    small = postprocess.relu_minmax(maps)
    masks = postprocess.resize(small, size)
    assert rows.present is not None  # Classes say it
    present = rows.present[rows.image_idx]
    before = probabilities(made.output, subject.single_label)[rows.image_idx]
    kept, removed = masked(subject, batch.images, made, masks, metrics, batch.ids)
    values = confidence(before, kept, removed, rows.class_idx, present)
    own = rows.class_idx[:, None]
    scores = {name: each.gather(1, own)[:, 0] for name, each in (("p", before), ("kept", kept), ("removed", removed))}
    flags = {
        "several": present.scatter(1, own, False).any(1),
        "zero_map": ~masks.flatten(1).any(1) & ~broken,
        "nan_map": broken,
        "improbable": improbable(before, rows.class_idx, present),
    }
    if batch.truth is not None:
        values["energy"] = energies(small, rows.image_idx, rows.class_idx, batch.truth)
    drawn: dict[str, torch.Tensor] = {}
    if metrics.curves:
        areas, drawn = all_curves(
            subject, batch, target, made, maps, metrics.curve_fills, metrics.steps, metrics.chunk, metrics.seed
        )
        values |= areas
    if metrics.road:
        values |= road(
            subject, batch.images, target, rows, maps, percentiles=metrics.road, ids=batch.ids, seed=metrics.seed
        )
    return Judged(values, flags, drawn, scores)


def all_curves(
    subject: Subject,
    batch: ExplainedBatch,
    target: Target,
    made: Explanation,
    maps: torch.Tensor,
    fills: Sequence[Fill],
    steps: int,
    chunk: int,
    seed: int,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Areas (R,) under deletion and insertion curves of maps (R, h, w), and the curves (R, steps + 1), by mode and
    fill, and with ``_random`` those of a random map."""
    noise = random_saliency(subject, batch.images.to(maps.device), made.rows, batch.ids, seed)
    areas, drawn = {}, {}
    for mode in ("deletion", "insertion"):
        for fill in fills:
            for suffix, saliency in (("", maps), ("_random", noise)):
                found = curves(
                    subject, batch.images, target, made, mode, maps=saliency, fill=fill, steps=steps,
                    ids=batch.ids, seed=seed, chunk=chunk,
                )  # fmt: skip
                areas[f"{mode}_{fill}{suffix}"] = found.auc
                drawn[f"{mode}_{fill}{suffix}"] = found.scores
    return areas, drawn


def energies(
    small: torch.Tensor, image_idx: torch.Tensor, class_idx: torch.Tensor, truth: Sequence[np.ndarray | None]
) -> torch.Tensor:
    """Energy fp64 (R,) of normalised maps (R, h, w); NaN where there is no ground-truth mask or no object in it."""
    found = torch.full((len(small),), torch.nan, dtype=torch.float64, device=small.device)
    for image, mask in enumerate(truth):
        mine = image_idx == image
        if mask is not None and mine.any():
            regions, valid = region_of(mask, class_idx[mine])
            found[mine] = energy(postprocess.resize(small[mine], regions.shape[1:]), regions, valid)
    return found


def _plain(values: torch.Tensor) -> list[Any]:
    return [None if value != value else value for value in values.tolist()]
