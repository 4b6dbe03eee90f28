"""Segmentation networks: how they are trained and applied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Neutral, NonNegative, Positive, Ref, ScatteredSettings, Splits, as_list, as_number
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
    supervision: Literal["pseudo", "masks", "classifier"] = "pseudo"
    """``masks``: learn from the ground-truth masks (fully supervised upper bound); ``classifier``: learn nothing, the
    heatmaps of a guided classifier are the network."""
    classifier: Annotated[Annotated[str, Ref("classifiers")] | None, Neutral(None)] = None
    """The guided classifier with ``supervision: classifier``: its heatmaps of the background and of all classes, at the
    layer where they were trained, are the logits of the pixels. No tags are used; all that concerns training has no
    effect."""
    gt_masks: Count | Literal["all"] = "all"
    """From how many with ``supervision: masks``: that many training images, chosen by the seed and evenly over the
    tagged classes, are all that it sees. ``objective: guided`` with the same number has the same ones."""
    tags: Annotated[NonNegative, Neutral(0.0)] = 0.0
    """With ``supervision: masks``, weight of a classification loss on the tags of all training images: a linear layer
    on the encoder's pooled features learns them beside the pixels of the images whose mask is shown, and is left out in
    the end. What ``objective: guided`` learns from, too. 0: tags are not used."""
    masked_share: Annotated[Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] | None, Neutral(0.5)] = 0.5
    """With ``tags``: share of the views of an epoch that are of images with a shown mask, drawn with repetition; null:
    every image once an epoch."""
    architecture: Literal["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"] = "deeplabv3plus"
    """Architecture of segmentation-models-pytorch."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per cell of the encoder's deepest map, for the two DeepLabs (8 or 16) and PAN (16 or 32), which
    dilate; the others take no notice of it."""
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    """Dilations of the ASPP, for the two DeepLabs."""
    lr: Positive = 0.007
    weight_decay: NonNegative = 4e-5
    accumulate_mode: Literal["sum", "mean"] = "mean"
    augment: Annotated[tuple[Literal["colour-jitter"], ...], BeforeValidator(as_list)] = ("colour-jitter",)
    """Besides resize, flip and crop: ``colour-jitter`` or nothing (RandAugment moves pixels away from their mask)."""
    predict: PredictSettings = PredictSettings()
    """How it is applied; a change here does not train again."""

    @model_validator(mode="after")
    def _one_source(self) -> SegmenterSettings:
        if (self.supervision == "classifier") != (self.classifier is not None):
            raise ValueError("'supervision: classifier' and 'classifier: NAME' go together; set both or neither")
        if self.supervision == "classifier" and (self.masks is not None or self.gt_masks != "all"):
            raise ValueError("'supervision: classifier' learns from no masks; leave 'masks' and 'gt_masks' out")
        if self.tags and self.supervision != "masks":
            raise ValueError("'tags' stand beside ground-truth masks; set 'supervision: masks', or leave it out")
        if self.masked_share != 0.5 and not self.tags:
            raise ValueError("'masked_share' has no effect without 'tags'; set it, or leave it out")
        if self.supervision == "pseudo" and self.masks is None:
            raise ValueError(
                "name the pseudo-labels ('masks: NAME'), or set 'supervision: masks' to learn from the true ones"
            )
        if self.supervision == "masks" and self.masks is not None:
            raise ValueError("'supervision: masks' learns from the ground-truth masks; leave 'masks' out")
        if self.supervision == "pseudo" and self.gt_masks != "all":
            raise ValueError("'gt_masks' has no effect on pseudo-labels; set 'supervision: masks', or leave it out")
        return self
