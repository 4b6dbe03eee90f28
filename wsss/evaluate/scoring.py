"""Scores of one artefact: which images count, who reads them, and what goes into ``scores.json`` and ``scores.csv``.

Saliency maps and masks are scored as one class, any object, against the background.

``scores.json``: ``kind``, ``recipe``, ``dataset``, ``classes``, ``calibration`` (ids of the images that policy
*calibrated* looked at), ``calibration_miou`` (best mIoU on those images alone), and for every split

- ``images``: how many were scored, always the length of the index's list; ``dropped``: how many that list had lost when
  the index was made (``broken: drop``); ``note``: what a reader has to know;
- ``policies``: by policy (``fixed``, ``calibrated``, ``oracle``; "" where the scoring chooses no threshold) the
  ``threshold``, ``threshold_images`` (masks looked at to choose it), ``images`` and the metrics, those of
  ``wsss.evaluate.breakdown`` included; for maps also ``thresholds_per_class`` (calibrated and oracle): by class the
  threshold at which its own IoU is best on the same masks, the one for all where it has none. The metrics are those of
  the one threshold; what thresholds per class reach is seen in the scores of masks made with them;
- ``curve`` (maps only): ``threshold`` and ``miou`` lists.

``scores.csv``: the same metrics in long form, columns split, policy, metric, value, images; ``iou_NAME`` and
``threshold_NAME`` are those of class NAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Index, Item, require
from wsss.evaluate.boundaries import boundary_iou
from wsss.evaluate.breakdown import breakdown
from wsss.evaluate.classification import classification_metrics, read_predictions
from wsss.evaluate.confusion import mean_iou, metrics, plain
from wsss.evaluate.counting import ContourCounter, MapCounter, MaskCounter, coverage_metrics, merged
from wsss.evaluate.thresholds import best_per_class, best_threshold, threshold_grid
from wsss.settings import EvaluationSettings
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

KINDS = ("classifiers", "cams", "saliency", "saliency-masks", "masks", "segmenters")
NO_MASKS = "no image of this split has a ground-truth mask: label-free diagnostics only"


def score_classifier(index: Index, predictions: Path) -> dict[str, Any]:
    """Scores of tag probabilities over every image of the splits in ``predictions.csv``, against the tags."""
    result: dict[str, Any] = {"splits": {}}
    for split, found in read_predictions(predictions, index.classes).items():
        items = index.split(split)
        require(items, found, f"{predictions} has no probabilities", "make it again with this index")
        truth = np.zeros((len(items), len(index.classes)), bool)
        for row, item in zip(truth, items, strict=True):
            row[list(item.labels)] = True
        scores = classification_metrics(truth, np.stack([found[item.id] for item in items]), index.classes)
        result["splits"][split] = {"images": len(items), "policies": {"": {"images": len(items), **scores}}}
    return result


def salient(index: Index) -> Index:
    """The index of the same images with one class, any object."""
    items = tuple(replace(item, labels=(0,) if item.labels else ()) for item in index.items)
    return replace(index, classes=("salient",), items=items)


def calibration_ids(items: Sequence[Item], count: int, seed: int) -> list[str]:
    """Ids of the ``count`` images (all, if there are fewer) whose masks may be looked at, drawn with the seed."""
    drawn = np.random.default_rng([seed, 0xCA11]).permutation(len(items))[:count]
    return [items[i].id for i in sorted(drawn)]


def score_maps(
    index: Index,
    store: MapStore,
    settings: EvaluationSettings,
    splits: Sequence[str],
    seed: int,
    threads: int,
    any_object: bool = False,
) -> dict[str, Any]:
    """Scores of class activation maps at their full resolution under the three threshold policies.

    *fixed*: ``settings.threshold``; *calibrated*: best mIoU on a few scored training images, applied to every split;
    *oracle*: best mIoU on the very split. The lowest threshold wins among equals. Without ground-truth masks in a
    split: diagnostics at the fixed threshold. Without any in the training split there is no calibrated threshold.
    ``any_object``: the maps are of saliency, the index is that of ``salient``.
    """
    import wsss.store.views  # noqa: F401  loads torch once, before worker processes fork

    fixed = np.float32(settings.threshold)
    grid = threshold_grid(settings.thresholds)
    thresholds = np.union1d(grid, fixed)
    on_grid = np.flatnonzero(np.isin(thresholds, grid))
    for split in splits:
        require(index.split(split), store, f"{store.folder} has no maps", "make it again with this index")
    chosen = calibration_ids(index.scored("train"), settings.calibration_images, seed) if "train" in splits else []
    result: dict[str, Any] = {"calibration": chosen, "calibration_miou": None, "splits": {}}
    calibrated: int | None = None
    each: dict[str, np.ndarray] = {}  # policy -> position of the threshold of every class
    for split in sorted(splits):  # train comes before val, which uses its calibrated threshold
        items = index.scored(split)
        if not items:
            result["splits"][split] = _diagnostics(index, split, store, fixed, "fixed", threads)
            continue
        few = frozenset(chosen) if split == "train" else frozenset()
        counts, calibration = merged(
            MapCounter(store, thresholds, len(index.classes), few, any_object), items, threads, f"{split} maps"
        )
        confusions = counts.confusions()
        curve = mean_iou(confusions)
        if split == "train" and calibration.images:
            small = calibration.confusions()[on_grid]
            reached = mean_iou(small)
            best = best_threshold(reached)
            calibrated, result["calibration_miou"] = on_grid[best], plain(reached[best])
            each["calibrated"] = on_grid[best_per_class(small, best)]
        places = {"fixed": (int(np.searchsorted(thresholds, fixed)), 0)}
        if calibrated is not None:
            places["calibrated"] = (calibrated, len(chosen))
        best = best_threshold(curve[on_grid])
        places["oracle"] = (on_grid[best], len(items))
        each["oracle"] = on_grid[best_per_class(confusions[on_grid], best)]
        sizes, policies = counts.sizes(), {}
        for policy, (k, looked_at) in places.items():
            known = {"threshold": shortest(thresholds[k]), "threshold_images": looked_at, "images": counts.images}
            if policy in each:
                values = [shortest(thresholds[position]) for position in each[policy]]
                known["thresholds_per_class"] = dict(zip(index.classes, values, strict=True))
            scores = {**metrics(confusions[k], index.classes), **breakdown(index, confusions[k], sizes[k])}
            policies[policy] = {**known, **scores}
        points = {"threshold": [shortest(t) for t in thresholds], "miou": [plain(v.round(6)) for v in curve]}
        result["splits"][split] = {"images": counts.images, "policies": policies, "curve": points}
    return result


def score_masks(
    index: Index, masks: MaskFolder, splits: Sequence[str], threads: int, any_object: bool = False
) -> dict[str, Any]:
    """Scores of pseudo-labels or predictions; diagnostics for a split without ground-truth masks. Pixels that a mask
    leaves out (255) count as missed; ``unlabelled`` says how many they are, ``miou_labelled`` what the others reach.
    ``boundary_iou``: mean over the object classes that occur, and of each in ``per_class``.
    ``any_object``: masks of saliency, as for ``score_maps``."""
    result: dict[str, Any] = {"splits": {}}
    for split in splits:
        require(index.split(split), masks, f"{masks.path} has no masks", "make it again with this index")
        items = index.scored(split)
        if not items:
            result["splits"][split] = _diagnostics(index, split, masks, None, "", threads)
            continue
        counter = ContourCounter(MaskCounter(masks, len(index.classes), any_object))
        (matrix, unlabelled, sizes), bands = merged(counter, items, threads, f"{split} masks")
        scores = {
            **metrics(matrix, index.classes, unlabelled),
            **breakdown(index, matrix, sizes, unlabelled),
        }
        near = boundary_iou(bands)
        scores["boundary_iou"] = plain(near[~np.isnan(near)].mean()) if (bands[:, 1] > 0).any() else None
        for name, value in zip(index.classes, near, strict=True):
            scores["per_class"][name]["boundary_iou"] = plain(value)
        found = {"images": len(items), **scores}
        result["splits"][split] = {"images": len(items), "policies": {"": found}}
    return result


def _diagnostics(
    index: Index, split: str, source: MapStore | MaskFolder, threshold: np.float32 | None, policy: str, threads: int
) -> dict[str, Any]:
    items = index.split(split)
    known = {} if threshold is None else {"threshold": shortest(threshold), "threshold_images": 0}
    cut = None if threshold is None else float(threshold)
    scores = coverage_metrics(index, items, source, cut, threads, f"{split} coverage")
    policies = {policy: {**known, "images": len(items), **scores}}
    return {"images": len(items), "note": NO_MASKS, "policies": policies}


def shortest(value: np.float32) -> float:
    """The number with the fewest digits that is ``value`` in float32: 0.3, not 0.30000001192.

    Examples:
        >>> shortest(np.float32(0.3))
        0.3
    """
    return float(str(np.float32(value)))
