"""Affinity: which neighbouring pixels belong together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsss.settings.base import (
    Count,
    Fraction,
    MaskAugment,
    Neutral,
    Positive,
    Precision,
    Ref,
    ScatteredSettings,
    StoredMasksSettings,
)
from wsss.settings.masks import Crf, CrfSettings
from wsss.settings.training import TrainingSettings


class AffinityLabelSettings(StoredMasksSettings, ScatteredSettings):
    """Labels of pixels that are sure: a class, background, or 255."""

    policy: Annotated[Literal["fixed", "otsu"], Neutral("fixed")] = "fixed"
    """``fixed``: the two scores below; ``otsu``: Otsu's thresholds t of every map of every image in their place, which
    look at no mask. With saliency: t of the saliency map, and t of each map. Without: t + (1 - t) / 3 for foreground
    and 2 t / 3 for background, this project's choice."""
    foreground: Fraction = 0.4
    """Background score that maps must exceed to claim a pixel."""
    background: Fraction = 0.1
    """With saliency: saliency above it is foreground. Without: background score of the generous reading; what it calls
    background is background, and what only it calls an object is 255."""
    crf: Crf | None = CrfSettings()
    """Dense CRF on each reading; null: none."""

    @model_validator(mode="after")
    def _labels(self) -> AffinityLabelSettings:
        if self.policy == "otsu" and self.crf is not None and self.crf.unary == "scores":
            raise ValueError("thresholds of each map give labels, no scores; set crf.unary to labels")
        return self

    @property
    def crossed(self) -> bool:
        """Whether the background score of the generous reading exceeds that of the strict one."""
        return self.policy == "fixed" and self.background > self.foreground


class AffinitySettings(TrainingSettings):
    """The edge network (IRN, Ahn et al. 2019, without its displacement branch) on a frozen backbone."""

    cams: Annotated[str, Ref("cams")]
    """Maps that its labels are made from."""
    saliency: Annotated[str, Ref("saliency")] | None = None
    """Saliency that decides what is background (P-NOC); null: two thresholds on the maps decide (IRN)."""
    labels: AffinityLabelSettings = AffinityLabelSettings()
    """How labels are made of them."""
    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """A trained classifier whose backbone is frozen and read in place of ``pretrained``. The published network reads
    ImageNet's features, which the tags of this dataset have not bent towards the telling parts of its classes; without
    them (``pretrained: false``) a frozen backbone would be noise, so name a classifier then."""
    radius: Annotated[int, Field(ge=2, le=20)] = 10
    """Pairs of cells closer than this on the stride-4 grid are compared in training."""
    width: Count = 32
    """Channels that each stage of the backbone is reduced to; a multiple of 4."""
    epochs: Count = 3
    batch_size: Count = 32
    lr: Positive = 0.1
    head_lr_mult: Positive = 1.0
    bias_factor: Positive = 1.0
    label_smoothing: Literal[0] = 0
    batch_norm: Literal["fixed"] = "fixed"
    """Its backbone is frozen."""
    augment: MaskAugment = ()
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey``, ``blur`` and
    ``cutout``, which leaves its pixels without a label (RandAugment moves pixels away from labels)."""
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _fits(self) -> AffinitySettings:
        if self.width % 4:
            raise ValueError(f"width ({self.width}) must be a multiple of 4, the groups of its normalisation")
        if self.crop // 4 < 2 * self.radius:
            raise ValueError(f"crop ({self.crop}) must be at least 8 x radius ({8 * self.radius}) for pairs to fit")
        if self.saliency is None and self.labels.crossed:
            raise ValueError(
                f"labels.background ({self.labels.background}) must not exceed labels.foreground "
                f"({self.labels.foreground}) without saliency"
            )
        return self
