"""Time and memory of a job from earlier manifests: the same stage with settings as near as can be had, scaled by images
x epochs.

An estimate is as good as its nearest run. The table says which that was: the same settings, settings that should cost
the same, or others; on this dataset or on another one. Memory is not scaled. A training that was stopped and went on
counts its last leg alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from wsss.errors import WsssError
from wsss.store.artefact import Artefact, below_folder, load
from wsss.text import count
from wsss.workflow.values import counted, defaults, differences, literal, references, settings_class, with_variant

STARTUP = 4.0
"""Seconds that a stage takes before its first image, mostly to import torch: this part does not grow with the work."""
COSTLY = frozenset(
    "kind objective source backbone architecture output_stride atrous_rates crop resize batch_size accumulate "
    "precision tiles adversary_interval guidance_layer gradient absent_classes scales flip max_side crf steps "
    "radius rule supervision".split()
)
"""Settings that change what an image costs."""
SCALED = frozenset(("epochs", "splits", "shards", "seed", "train", "val"))
"""Settings that change how much work there is (the estimate is scaled by that), or nothing."""
SAME_IMAGES = SCALED | {"broken", "val_share", "split_seed", "score"}
"""Settings of a dataset that say which of its images are used."""


MODELLED_HERE = "model of this CPU"
"""What a forecast is known from where no run is: ``wsss.cli.modelled``."""


@dataclass(frozen=True)
class Past:
    """One earlier run; ``task``: its stage, with the kind of scores; ``dataset``: see ``dataset_key``, ``index``: the
    folder of its index; ``work``: images x epochs, or None where the manifest counts no images."""

    task: str
    settings: dict[str, Any]
    dataset: str
    index: Path
    work: float | None
    seconds: float = 0.0
    mib: float = 0.0
    gpu_mib: float | None = None
    device: str = ""
    made: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a job is expected to take; ``seconds`` and ``mib`` are None where nothing is known.

    Attributes:
        seconds: Wall time.
        mib: Peak of the main memory; ``gpu_mib`` of the GPU's, where it was recorded.
        basis: What it is known from, in words.
        device: Where that ran.
    """

    seconds: float | None = None
    mib: float | None = None
    gpu_mib: float | None = None
    basis: str = "no earlier run of this stage"
    device: str = ""


def past(made: Artefact) -> Past | None:
    """A manifest as an earlier run; None where it does not say how long it took."""
    about = made.manifest
    if not isinstance(about.get("wall_seconds"), int | float):
        return None
    number = about.get("images", about.get("scores"))
    number = sum(number.values()) if isinstance(number, dict) else number
    threads = f", {count(about['threads'], 'thread')}" if "threads" in about else ""
    index = made.folder if made.stage == "index" else made.inputs.get("index", made.folder)
    try:
        dataset = dataset_key(load(index).settings)
    except WsssError:
        dataset = str(index)
    return Past(
        task=f"scores of {made.folder.parent.name}" if made.stage == "scores" else made.stage,
        settings=with_variant(made.stage, counted(made.stage, made.settings)),
        dataset=dataset,
        index=index,
        seconds=float(about["wall_seconds"]) + sum(about.get("shard_seconds", ())),
        mib=float(max(about.get("peak_memory_mib", 0), about.get("shard_memory_mib", 0))),
        gpu_mib=about.get("peak_gpu_memory_mib"),
        work=number * made.settings.get("epochs", 1) if isinstance(number, int) else None,
        device=f"{about.get('device', 'an unknown device')}{threads}",
        made=str(about.get("made", "")),
    )


def dataset_key(settings: dict[str, Any], but: frozenset[str] = SAME_IMAGES) -> str:
    """What makes two datasets the same as far as time and memory go: all settings but how many images, and which."""
    usual = defaults(settings_class("index", settings))
    return literal({key: value for key, value in sorted((usual | settings).items()) if key not in but})


def images_key(settings: dict[str, Any]) -> str:
    """What makes two datasets have as many images: all settings."""
    return dataset_key(settings, frozenset())


class History:
    """All earlier runs below some folders of results, and the images that the indices there count.

    Args:
        folders: Folders of results; those that do not exist are passed over.
        device: Only runs whose device's name contains this, in any case of letters.
    """

    def __init__(self, folders: Iterable[Path], device: str | None = None) -> None:
        self.runs: list[Past] = []
        self.images: dict[str, dict[str, int]] = {}
        for folder in folders:
            for one in below_folder(folder):
                try:
                    made = load(one)
                    run = past(made)
                except (WsssError, KeyError, TypeError):
                    continue
                if run is not None and made.stage == "index" and isinstance(made.manifest.get("images"), dict):
                    self.images.setdefault(images_key(made.settings), made.manifest["images"])
                if run is not None and (device is None or device.lower() in run.device.lower()):
                    self.runs.append(run)

    def forecast(self, wanted: Past) -> Forecast:
        """What a job will take: ``wanted`` with its task, settings, dataset, index and work, the rest open."""
        task, work, dataset = wanted.task, wanted.work, wanted.dataset
        stage = task.partition(" ")[0]
        runs = [run for run in self.runs if run.task == task]
        if work is None:  # nothing to scale by: only the same dataset will do
            runs = [run for run in runs if run.dataset == dataset]
        if not runs:
            return Forecast(basis=Forecast.basis if work is not None else "number of images unknown")
        ignored = SCALED | references(stage, wanted.settings)
        ranked: dict[tuple[int, bool, int], list[Past]] = {}
        usual = defaults(
            settings_class(stage, wanted.settings)
        )  # a setting that is newer than a manifest had its default
        for run in runs:
            unlike = differences(counted(stage, usual | run.settings), counted(stage, usual | wanted.settings))
            keys = {key.partition(".")[0] for key, _, _ in unlike} - ignored
            ranked.setdefault((len(keys & COSTLY), run.dataset != dataset, len(keys)), []).append(run)
        (costly, elsewhere, others), nearest = min(ranked.items(), key=lambda entry: entry[0])
        newest = max(nearest, key=lambda run: run.made).device
        nearest = [run for run in nearest if run.device == newest]
        likeness = "other settings" if costly else "similar settings" if others else "same settings"
        place = ", other dataset" if elsewhere else ""
        return Forecast(
            seconds=median(scaled(run, wanted) for run in nearest),
            mib=max(run.mib for run in nearest),
            gpu_mib=max((run.gpu_mib for run in nearest if run.gpu_mib is not None), default=None),
            basis=f"{likeness}{place}" + (f" ({len(nearest)} runs)" if len(nearest) > 1 else ""),
            device=newest,
        )


def scaled(run: Past, wanted: Past) -> float:
    """Seconds of an earlier run, brought to the work of a new one; what is fitted on crops does not depend on the size
    of the images, everything else goes by their pixels where both datasets' indices tell them."""
    if not wanted.work or not run.work:
        return run.seconds
    ratio = wanted.work / run.work
    if run.dataset != wanted.dataset and "crop" not in run.settings:
        own, other = pixels(wanted.index), pixels(run.index)
        ratio *= own / other if own and other else 1.0
    start = min(STARTUP, run.seconds / 2)
    return start + (run.seconds - start) * ratio


@cache
def pixels(index: Path) -> float | None:
    """Mean number of pixels of an image of a dataset; None where its index does not tell."""
    try:
        with (index / "index.csv").open(newline="", encoding="utf-8") as file:
            sizes = [int(row["height"]) * int(row["width"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return None
    return sum(sizes) / len(sizes) if sizes else None
