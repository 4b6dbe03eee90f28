"""The stage ``continual``: steps of class-incremental learning side by side, by what they replayed.

Writes ``continual.csv`` (a row per network, seed and figure) and ``continual.md`` for people. Predictions of validation
images are compared with the ground truth; classes that a network has not learnt yet count as background (as in the
protocols of class-incremental segmentation, Cermelli et al. 2020).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsss.beyond.continual import numbers
from wsss.beyond.exemplars import kept_labels
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.evaluate.boundaries import boundary_iou, count_boundaries
from wsss.evaluate.confusion import class_scores, confusion, plain
from wsss.report.learning import BACKGROUND, Learnt, Memory, figures, page
from wsss.report.table_files import write_tables
from wsss.runtime.run import Run
from wsss.store.manifest import read_manifest
from wsss.store.masks import MaskFolder
from wsss.system.progress import Progress

COLUMNS = ("dataset", "recipe", "after", "memory", "seed", "metric", "value")


def make(run: Run) -> None:
    """Write the tables of a run of ``stages/continual.py``.

    Raises:
        WsssError: Networks and predictions are not as many; a folder is of something else; a prediction is missing.
    """
    index = Index.load(run.inputs["index"])
    dataset = run.args.dataset or index.name
    networks, predictions = run.several("segmenters"), run.several("predictions")
    if len(networks) != len(predictions):
        raise WsssError(
            f"--segmenters gives {len(networks)} folders and --predictions {len(predictions)}; give one for each, in "
            "the same order"
        )
    memories = [read_memory(folder) for folder in run.several("memories")]
    steps: dict[tuple[str, int], tuple[str, ...]] = {}
    found: list[Learnt] = []
    with Progress(len(networks), what="comparing") as progress:
        for one, masks in parents_first([read_step(folder) for folder in networks], predictions):
            known = (*steps.get((one.after or "", one.seed), ()), *one.own)
            steps[one.recipe, one.seed] = known
            found.append(measured(one, known, masks, index))
            progress.advance()
    rows = [row for one in found for row in long_form(dataset, one, found)]
    told = page(dataset, found, memories)
    write_tables(run, "continual", COLUMNS, rows, told, networks=len(found), memories=len(memories))


def read_step(folder: Path) -> Learnt:
    """A network, without figures. Raises ``WsssError`` for another artefact."""
    manifest = read_manifest(folder)
    settings = manifest.get("settings") or {}
    if settings.get("objective") != "continual":
        raise WsssError(f"{folder}: no network of 'objective: continual'; leave it out")
    own = tuple(settings["classes"] or ())
    return Learnt(folder.name, int(manifest["seed"]), settings["warm_start"], own, own, settings["memory"], settings)


def read_memory(folder: Path) -> Memory:
    """Raises ``WsssError`` for a folder that is no whole memory."""
    manifest = read_manifest(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        return Memory(folder.name, int(manifest["seed"]), metrics, manifest["settings"])
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole memory ({error!r}); run stages/memory.py again") from None


def parents_first(steps: Sequence[Learnt], predictions: Sequence[Path]) -> list[tuple[Learnt, Path]]:
    """Networks with their predictions, each after the one that it went on from."""
    waiting = list(zip(steps, predictions, strict=True))
    there = {(one.recipe, one.seed) for one in steps}
    done: set[tuple[str, int]] = set()
    found: list[tuple[Learnt, Path]] = []
    while waiting:
        ready = [p for p in waiting if (before := (p[0].after, p[0].seed)) not in there or before in done]
        found += ready
        done |= {(one.recipe, one.seed) for one, _ in ready}
        waiting = [p for p in waiting if p not in ready]
    return found


def measured(one: Learnt, known: tuple[str, ...], folder: Path, index: Index) -> Learnt:
    """A network with its figures."""
    names = known or index.classes
    classes, count = numbers(names, index.classes, one.recipe), len(index.classes)
    masks = MaskFolder(folder / "masks")
    items = index.scored("val")
    masks.require(items, "let 'predict.splits' of the networks include val and predict again")
    total, bands = np.zeros((count + 1, count + 1), np.int64), np.zeros((count, 2), np.int64)
    for item in items:
        assert item.mask is not None  # scored ones have it
        truth, predicted = kept_labels(read_mask(item.mask), classes), masks.read(item.id)
        total += confusion(truth, predicted, count)
        bands += count_boundaries(truth, predicted, count)
    values = [plain(value) for value in class_scores(total)["iou"]]
    near = [plain(value) for value in boundary_iou(bands)]
    iou = {BACKGROUND: values[0], **{index.classes[c]: values[c + 1] for c in classes}}
    boundary = {index.classes[c]: near[c] for c in classes}
    own = one.own or tuple(index.classes)
    return replace(one, own=own, known=tuple(names), iou=iou, boundary=boundary)


def long_form(dataset: str, one: Learnt, every: Sequence[Learnt]) -> list[tuple[Any, ...]]:
    """Rows of ``continual.csv``."""
    head = (dataset, one.recipe, one.after or "", one.memory or "", one.seed)
    values: dict[str, float | None] = {
        **figures(one, every),
        **{f"iou_{name}": value for name, value in one.iou.items()},
        **{f"boundary_{name}": value for name, value in one.boundary.items()},
    }
    return [(*head, name, value) for name, value in values.items()]
