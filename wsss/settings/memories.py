"""Memories: few images of classes that were learnt before, made small, to be replayed when others are learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsss.settings.base import Fraction, Names, Positive, Ref
from wsss.settings.explaining import USUAL_OF_REGIONS, ExplainedSettings

Quality = Annotated[int, Field(ge=1, le=95)]
ClassNames = Annotated[Names, Field(min_length=1)]
BY_EXPLANATION = ("salient", "crop")
"""Methods that store what an explanation points at."""
BOXED = ("salient", "crop", "random-box", "true-box")
"""Methods that store boxes beside a context, or alone."""


class MemorySettings(ExplainedSettings):
    """Exemplars of what a segmentation network has learnt, compressed to a budget of bytes: whole, uniformly smaller,
    or what an explanation points at on a coarse whole."""

    segmenter: Annotated[str, Ref("segmenters")]
    """The network that has learnt the classes; it gives pseudo-labels, explanations and features. Exemplars come from
    the training images of its step; of a network that knows all classes, from all tagged ones."""
    previous: Annotated[str, Ref("memories")] | None = None
    """The memory of the step before, whose exemplars take part as they are stored; null: none."""
    method: Literal["whole", "uniform", "salient", "crop", "random-box", "true-box"] = "salient"
    """What is stored. ``whole``: the image; ``uniform``: the image reduced by ``factor``; ``salient``: boxes around
    what the explanation points at, on a context (Luo et al. 2023); ``crop``: the boxes alone (Saha and Roy 2023);
    ``random-box``: boxes of the same sizes elsewhere, on a context (a control); ``true-box``: around the objects of the
    ground-truth mask (an oracle)."""
    explainer: str = USUAL_OF_REGIONS
    """What points at boxes: an explainer of segmentation networks, asked for every class that the network predicts.
    Without effect where ``cams`` are named."""
    cams: Annotated[str, Ref("cams")] | None = None
    """Maps of the tagged classes that point at boxes in its place; null: ``explainer``."""
    threshold: Fraction = 0.3
    """Where a map (0 to 1) is at least this, a box has to be. Published: 0.6, which left a quarter of the object's
    pixels outside on photos of animals; 0.3 leaves 6 %."""
    dilate: Annotated[int, Field(ge=0, le=512)] = 16
    """Pixels by which boxes are larger on each side, so that borders of objects lie inside."""
    boxes: Literal["union", "components"] = "union"
    """``union``: one box around all; ``components``: one for each of the (at most four) largest connected parts."""
    context: Literal["resolution", "quality"] = "resolution"
    """What stands outside the boxes: the image reduced by ``factor``, or the image as a JPEG of ``context_quality``."""
    factor: Annotated[int, Field(ge=2, le=32)] = 4
    """By how much both sides of a context, or of the image with ``uniform``, are reduced."""
    context_quality: Quality = 10
    """JPEG quality of a context at full resolution."""
    quality: Quality | None = 75
    """JPEG quality of all else that is stored; null: the file of the image as it is (``whole`` alone)."""
    lossless: bool = False
    """Store boxes (with ``whole`` the image) as PNG: exact to the bit."""
    budget_kib: Positive | None = 300.0
    """Largest sum of what is stored, in KiB of encoded bytes, masks and boxes included; null: no limit, so that all
    images are taken."""
    select: Literal["balanced", "herding"] = "balanced"
    """Which images. ``balanced``: of the class with the fewest exemplars the image with most pixels of it, again and
    again; ``herding``: the same turns, and of a class the image that brings the exemplars' mean feature nearest to the
    class's (Rebuffi et al. 2017)."""
    classes: ClassNames | None = None
    """Classes that exemplars are chosen for; null: all that the network knows."""
    supervision: Literal["pseudo", "masks"] = "pseudo"
    """Which labels are stored: the network's prediction, or the ground-truth mask of its step's classes, with what the
    network is sure of for classes of earlier steps."""
    pictures: Annotated[int, Field(ge=0, le=1000)] = 6
    """Exemplars to picture beside their images."""

    @model_validator(mode="after")
    def _storable(self) -> MemorySettings:
        if self.quality is None and self.method != "whole":
            raise ValueError("'quality: null' keeps the image's file as it is; set 'method: whole', or a quality")
        if self.quality is None and self.lossless:
            raise ValueError("'quality: null' keeps the image's file as it is; leave 'lossless' out, or set a quality")
        if self.lossless and self.method == "uniform":
            raise ValueError("a reduced image is not lossless; leave 'lossless' out")
        if self.method == "true-box" and self.supervision != "masks":
            raise ValueError("'method: true-box' looks at ground-truth masks; set 'supervision: masks'")
        if self.cams is not None and not self.points:
            raise ValueError(f"'method: {self.method}' needs no maps; leave 'cams' out")
        return self

    @property
    def of_regions(self) -> bool:
        return True

    @property
    def points(self) -> bool:
        """Whether maps have a part in what is stored."""
        return self.method in (*BY_EXPLANATION, "random-box")

    @property
    def explains(self) -> bool:
        """Whether the network is explained."""
        return self.points and self.cams is None
