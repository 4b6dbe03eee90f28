"""The run as a whole: how it is scored, and the machine it runs on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsss.settings.base import Augment, Fraction, Settings


class EvaluationSettings(Settings):
    """How scores are computed and thresholds chosen."""

    threshold: Fraction = 0.3
    """Policy *fixed*: the background score chosen beforehand."""
    calibration_images: Annotated[int, Field(ge=1)] = 20
    """Policy *calibrated*: number of training images whose masks may be looked at to choose the threshold."""
    thresholds: Annotated[int, Field(ge=10, le=1000)] = 100
    """The grid of thresholds is 0, 1/n, ..., (n-1)/n."""


class AblationSettings(Settings):
    """The study that ``snakemake ablation`` builds. Its recipes are called ``ablation-vanilla``, ``ablation-puzzle``
    and so on; one that stands in the configuration under such a name takes the place of the study's."""

    ordinary: Literal["vanilla", "vanilla-ra"] = "vanilla-ra"
    """Which plain classifier judges erased images: without or with RandAugment."""
    augment: Augment | None = None
    """Augmentation of the objectives other than vanilla; null: what each has by default, so that rows
    differ in it too (the table says which)."""
    warm_start: bool = False
    """Saliency and affinity start from the backbone of that plain classifier, for backbones without pretrained
    weights."""
    best: Literal["vanilla", "vanilla-ra", "oc-cse", "puzzle", "p-oc", "p-noc", "p-noc-ls"] = "p-noc-ls"
    """The classifier whose maps go on through saliency, walk and segmentation. Chosen beforehand, not by score."""


class WorkstationSettings(Settings):
    """This machine; changes here re-run nothing."""

    gpus: Annotated[int, Field(ge=0)] = 1
    """GPU jobs that may run at once when Snakemake runs jobs here."""
    container: Annotated[str, Field(min_length=1)] | None = None
    """Image in which jobs run with ``--sdm apptainer``, here or on a cluster: a file of Apptainer's, or an address that
    it understands; null: jobs run in the environment that Snakemake runs in."""
