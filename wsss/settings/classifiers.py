"""Classifiers: one class a training objective; ``objective`` names the module in ``wsss.objectives``.

To add an objective, add a subclass of ``ClassifierSettings`` here and a module there.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsss.settings.base import Augment, Count, Fraction, Ref
from wsss.settings.training import Ramp, TrainingSettings


class ClassifierSettings(TrainingSettings):
    """What every classifier has. Subclasses add what their objective needs; ``objective`` names the module in
    ``wsss.objectives`` (a dash stands for an underscore)."""

    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """Another classifier whose weights this one starts from; null: the backbone's weights and a new head."""


class VanillaSettings(ClassifierSettings):
    """Ordinary multi-label classification."""

    objective: Literal["vanilla"] = "vanilla"
    augment: Augment = ("randaugment",)


class PNocSettings(ClassifierSettings):
    """P-NOC (David et al. 2024): Puzzle-CAM's reconstruction, class-specific erasing judged by an ordinary classifier,
    and that classifier trained on in turn."""

    objective: Literal["p-noc"] = "p-noc"
    augment: Augment = ("colour-jitter",)
    ordinary: Annotated[str, Ref("classifiers")]
    """The classifier that judges erased images, and that becomes 'not so ordinary'."""
    tiles: Annotated[int, Field(ge=2, le=4)] = 2
    """The image is cut into tiles x tiles pieces."""
    reconstruction: Ramp = Ramp(start=0.0, end=0.3, share=0.5)
    """Weight of the L1 difference between the maps of the image and of its tiles. 0.3 over present classes pulls as
    hard as the published 4.0 over all 20 VOC classes at 1.5 labels an image (4.0 x 1.5 / 20)."""
    reconstruction_over: Literal["present", "all"] = "present"
    """Mean over the maps of present classes, or over all B x C maps as published (weight 0 to 4 there): the latter's
    pull depends on the number of classes."""
    erasing: Ramp = Ramp(start=0.3, end=1.0, share=1.0)
    """Weight of the ordinary classifier's loss on the softly erased image."""
    erasing_max: Literal["batch", "image"] = "batch"
    """The soft mask is divided by the largest value of the whole batch (published; over all devices) or of its
    image."""
    adversary: Ramp = Ramp(start=0.0, end=1.0, share=1.0)
    """Weight of the loss that trains the ordinary classifier on hard-erased images."""
    adversary_threshold: Fraction = 0.2
    """Pixels with a normalised activation above this are erased for the ordinary classifier."""
    adversary_max: Literal["image", "batch"] = "image"
    """As ``erasing_max``, for the hard mask."""
    adversary_interval: Count = 1
    """The ordinary classifier is trained at every n-th micro-step."""
    adversary_batch_norm: Literal["normal", "fixed"] = "fixed"
    """Batch normalisation of the ordinary classifier while it is trained."""
    gradient_leak: bool = False
    """Reproduce the published code, in which the generator's loss also reaches the ordinary classifier's weights."""

    @model_validator(mode="after")
    def _tiles_fit(self) -> PNocSettings:
        if self.crop % (self.tiles * self.output_stride):
            raise ValueError(
                f"crop ({self.crop}) must be a multiple of tiles x output_stride ({self.tiles * self.output_stride})"
            )
        return self


Classifier = Annotated[reduce(or_, ClassifierSettings.__subclasses__()), Field(discriminator="objective")]
