"""Maps of the tagged classes: of a classifier, of CLIP (``wsss.settings.text``), spread by a random walk over edges or
features, of several together, or made elsewhere.

All of them are stored in the same format, so whatever reads maps (hints, affinity, masks, scores, ensembles) takes any.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Positive, Ref, ScatteredSettings, Splits, Veto, as_list
from wsss.settings.explaining import ExplainedSettings
from wsss.settings.masks import InferenceSettings
from wsss.settings.text import TextCamsSettings
from wsss.settings.training import NetworkSettings


class CamsSettings(InferenceSettings, ExplainedSettings, ScatteredSettings):
    """Maps of the tagged classes, stored at the network's own resolution: class activation maps, or those of another
    explainer (those have no ``precision`` but fp32)."""

    source: Literal["classifier"] = "classifier"
    classifier: Annotated[str, Ref("classifiers")]
    """The classifier that is looked into."""
    normalise: Literal["class", "softmax"] = "class"
    """``class``: each map of an image is divided by its own maximum, a tag vouches for its class; ``softmax``: the maps
    of a guided classifier as the logits that they were trained as, in a softmax with each other and the background's.
    The natural threshold is then 0.5."""
    splits: Splits = ("train", "val")
    """Which images get maps."""

    @model_validator(mode="after")
    def _of_cam(self) -> CamsSettings:
        if self.normalise == "softmax" and self.explainer != "cam":
            raise ValueError(
                f"normalise: softmax reads a guided classifier's own maps, and the explainer is {self.explainer!r}; "
                "leave one of them out"
            )
        return self


class WalkSettings(ScatteredSettings):
    """Maps spread by a random walk over pixel affinities (AffinityNet, Ahn and Kwak 2018; IRN, Ahn et al. 2019)."""

    source: Literal["walk"] = "walk"
    cams: Annotated[str, Ref("cams")]
    """The maps that are spread."""
    affinity: Annotated[str, Ref("affinity")]
    """The network that says where edges are."""
    radius: Annotated[int, Field(ge=2, le=20)] = 5
    """Reach R of one step, in cells of the stride-4 grid: neighbours closer than R."""
    beta: Positive = 10.0
    """Exponent of the affinities: larger walks cross weak edges less."""
    steps: Count = 256
    """Length t of the walk, x T^t. It spreads over about sqrt(t) cells: 256 is for photos of 500 pixels, images of a
    quarter of that want a sixteenth."""
    normalise: Literal["image", "class"] = "image"
    """``image``: all maps of an image are divided by their common maximum (published); ``class``: each by its own, so
    that a small object is not lost beside a large one."""
    flip: bool = True
    """Edges are the mean of the image's and its mirror's."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels that the edge network sees."""
    splits: Splits = ("train", "val")
    """Which images get maps."""


class FeatureWalkSettings(NetworkSettings, ScatteredSettings):
    """Maps spread by a random walk over how alike the features of neighbours are, of a backbone as it is: nothing is
    trained for it (this project's own; with transformers trained without labels such walks are usual)."""

    source: Literal["feature-walk"] = "feature-walk"
    cams: Annotated[str, Ref("cams")]
    """The maps that are spread."""
    output_stride: Literal[8, 16, 32] = 32
    """Input pixels per cell of the last stage. With ``warm_start``: as the classifier has it."""
    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """A trained classifier whose backbone is read in place of ``pretrained``; name one where that is ``false``, for
    random features tell little."""
    stages: Annotated[tuple[Literal[2, 4, 8, 16, 32], ...], Field(min_length=1)] = (4, 8, 16, 32)
    """The stages whose features are compared, by their strides (those that they have without dilation). Coarse ones
    alone know objects and not their borders."""
    grid_stride: Literal[4, 8, 16] = 8
    """Input pixels per cell of the walk's grid."""
    radius: Annotated[int, Field(ge=2, le=20)] = 5
    """Reach R of one step, in cells of the grid: neighbours closer than R."""
    temperature: Positive = 0.1
    """tau in exp((mean cosine - 1) / tau): smaller walks leave a neighbourhood of like features less."""
    steps: Count = 64
    """Length t of the walk. It spreads over about sqrt(t) steps of the radius; 64 is for photos of 320 pixels."""
    normalise: Literal["image", "class"] = "class"
    """``class``: each map of an image is divided by its own maximum, as the maps of classifiers are; ``image``: all by
    their common one, which was worse on photos."""
    flip: bool = False
    """Also compare the features of the mirrored image."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels that the backbone sees."""
    splits: Splits = ("train", "val")
    """Which images get maps."""


class EnsembleSettings(ScatteredSettings):
    """Maps of several recipes put together, pixel by pixel, at stride 4: those of classifiers each divided by its
    maximum, those that are meant absolutely (walks) as they are."""

    source: Literal["ensemble"] = "ensemble"
    members: Annotated[tuple[Annotated[str, Ref("cams")], ...], BeforeValidator(as_list), Field(min_length=2)]
    """The maps that are put together."""
    rule: Literal["mean", "max", "geometric", "noisy-or", "calibrated"] = "mean"
    """``geometric``: the geometric mean, a soft *and*; ``noisy-or``: 1 - prod(1 - a); ``calibrated``: the mean weighted
    with each member's mIoU at its calibrated threshold on the ``evaluation.calibration_images`` masks themselves."""
    splits: Splits = ("train", "val")
    """Which images get maps."""


class ExternalCamsSettings(ScatteredSettings):
    """Maps made elsewhere (a CLIP or DINO seed, say) in the format of ``wsss.store.maps``."""

    source: Literal["external"] = "external"
    path: str
    """Folder of the shards, or one HDF5 file; ``{seed}`` in it stands for the run's seed."""
    supervision: str = "not stated"
    """What went into them, in words (image tags, image-text pairs, ...): every table repeats it."""
    veto: Veto = None
    """``tags``: maps of classes that their image is not tagged with are left out, tags without a map get one of zeros,
    and ``tags.csv`` beside the maps names both; null: either is refused."""
    splits: Splits = ("train", "val")
    """Which images have maps there."""


Cams = Annotated[
    CamsSettings | TextCamsSettings | WalkSettings | FeatureWalkSettings | EnsembleSettings | ExternalCamsSettings,
    Field(discriminator="source"),
]
