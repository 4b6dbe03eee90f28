"""How many images each job of a configuration works on, before any of them ran."""

from __future__ import annotations

import importlib
from typing import Any

from wsss.cli.forecast import History, images_key
from wsss.errors import WsssError
from wsss.settings import AuditSettings, ExplanationSettings, ScenesSettings, SearchSettings, Settings
from wsss.steps import COMPARED
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job

TOGETHER = ("summary", "report", "ablation_table", *COMPARED)
"""Stages whose work is the number of scores they put together."""


def images_of(chain: Chain, job: Job, settings: Any, history: History) -> int | None:
    """How many images a job works on (scores, for the tables); None where nothing tells yet."""
    if job.rule in TOGETHER:
        return len(chain.inputs(job)) - 1
    if job.rule == "segmenter" and settings.gt_masks != "all":
        shown: int = settings.gt_masks
        return shown
    splits = dataset_images(chain, job.dataset, history)
    if splits is None:
        return None
    images = sum(splits[split] for split in splits_of(chain, job, settings))
    some = isinstance(settings, ExplanationSettings | AuditSettings | SearchSettings)
    return min(images, settings.images or images) if some else images


def splits_of(chain: Chain, job: Job, settings: Any) -> tuple[str, ...]:
    """The splits whose images a job works on."""
    if job.rule == "index":
        return ("train", "val")
    if job.rule == "scores":
        if job.kind == "classifiers":
            return ("val",)
        artefact = chain.at(chain.inputs(job)["artefact"])
        return splits_of(chain, artefact, chain.settings(artefact))
    if job.rule in ("explanation", "audit"):
        return (settings.split,)
    if job.rule == "saliency_masks":
        settings = chain.recipe(job.rule, job.of_recipe[1]).maps
    splits: tuple[str, ...] = getattr(settings, "splits", ("train",))
    return splits


def dataset_settings(chain: Chain, dataset: str) -> dict[str, Any]:
    """A dataset's settings as plain values."""
    settings: Settings = chain.config.recipes["datasets"][dataset]
    return settings.model_dump(mode="json")


def dataset_images(chain: Chain, dataset: str, history: History) -> dict[str, int] | None:
    """Images of each split: as the settings say, as an index of the same dataset counted them, or as its lists and
    folders hold them; None where nothing tells."""
    settings = chain.config.recipes["datasets"][dataset]
    if isinstance(settings, ScenesSettings):
        return {"train": settings.train, "val": settings.val}
    counted = history.images.get(images_key(dataset_settings(chain, dataset)))
    if counted is None:
        counted = history.images[images_key(dataset_settings(chain, dataset))] = _by_files(settings)
    return {"train": 0, "val": 0} | counted if counted else None


def _by_files(settings: Any) -> dict[str, int]:
    """Images of each split before there is an index; nothing where lists, table or folders cannot be read."""
    try:
        kind = importlib.import_module(f"wsss.data.kinds.{settings.kind}")
        found: dict[str, int] | None = kind.counted(settings)
    except WsssError:
        return {}
    return found or {}
