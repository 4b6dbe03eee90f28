"""Segmentation networks: how they are trained and applied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from wsss.settings.base import (
    Count,
    Fraction,
    MaskAugment,
    Neutral,
    NonNegative,
    Positive,
    Ref,
    ScatteredSettings,
    Splits,
)
from wsss.settings.masks import Crf, InferenceSettings
from wsss.settings.training import TrainingSettings


class PredictSettings(InferenceSettings, ScatteredSettings):
    """How a trained segmentation network is applied."""

    combine_flips: Literal["average", "add"] = "average"
    """Logits of the image and its mirror are averaged, or added as published (which sharpens the softmax)."""
    crf: Crf | None = None
    """Dense CRF on the probabilities, as in ``masks``; null: none."""
    splits: Splits = ("val",)
    """Which images are predicted."""


class SegmenterSettings(TrainingSettings):
    """A segmentation network trained on masks."""

    masks: Annotated[str, Ref("masks")] | None = None
    """The pseudo-labels it learns from; needed unless ``supervision: masks``."""
    supervision: Literal["pseudo", "masks"] = "pseudo"
    """``masks``: learn from the ground-truth masks (fully supervised upper bound)."""
    gt_masks: Count | Literal["all"] = "all"
    """From how many with ``supervision: masks``: that many training images, chosen by the seed and evenly over the
    tagged classes, are all that it sees. ``objective: guided`` with the same number has the same ones."""
    architecture: Literal["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"] = "deeplabv3plus"
    """Architecture of segmentation-models-pytorch."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per cell of the encoder's deepest map, for the two DeepLabs (8 or 16) and PAN (16 or 32), which
    dilate; the others take no notice of it."""
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    """Dilations of the ASPP, for the two DeepLabs."""
    soft_weight: Annotated[Fraction, Neutral(0.0)] = 0.0
    """w in L = (1 - w) CE(mask) + w T^2 KL(q^(1/T), p^(1/T)): share of the probabilities q of the networks that made
    the masks (``source: segmenter`` with ``keep_probabilities: true``); 0: masks alone."""
    soft_temperature: Annotated[Positive, Neutral(2.0)] = 2.0
    """T: above 1, labels that q holds less likely count more. Without effect for ``soft_weight: 0``."""
    lr: Positive = 0.007
    weight_decay: NonNegative = 4e-5
    accumulate_mode: Literal["sum", "mean"] = "mean"
    augment: MaskAugment = ("colour-jitter",)
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey``, ``blur`` and
    ``cutout`` (RandAugment moves pixels away from their mask). The last four are ST++'s strong set for a network that
    learns from another one's labels."""
    predict: PredictSettings = PredictSettings()
    """How it is applied; a change here does not train again."""

    @model_validator(mode="after")
    def _one_source(self) -> SegmenterSettings:
        if self.supervision == "pseudo" and self.masks is None:
            raise ValueError(
                "name the pseudo-labels ('masks: NAME'), or set 'supervision: masks' to learn from the true ones"
            )
        if self.supervision == "masks" and self.masks is not None:
            raise ValueError("'supervision: masks' learns from the ground-truth masks; leave 'masks' out")
        if self.supervision == "masks" and self.soft_weight:
            raise ValueError(
                "'soft_weight' learns from networks' probabilities beside their masks, and 'supervision: "
                "masks' has none; leave it out"
            )
        if self.supervision == "pseudo" and self.gt_masks != "all":
            raise ValueError("'gt_masks' has no effect on pseudo-labels; set 'supervision: masks', or leave it out")
        return self
