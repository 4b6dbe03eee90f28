"""Maps of the tagged classes: of a classifier, of CLIP (``wsss.settings.text``), spread by a random walk over edges or
features, of several together, or made elsewhere.

All of them are stored in the same format, so whatever reads maps (hints, affinity, masks, scores, ensembles) takes any.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Fraction, Neutral, Positive, Ref, ScatteredSettings, Splits, Veto, as_list
from wsss.settings.explaining import ExplainedSettings
from wsss.settings.features import FeatureSettings
from wsss.settings.masks import InferenceSettings
from wsss.settings.text import TextCamsSettings


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
    rivals: Annotated[Positive | None, Neutral(None)] = None
    """The tags of an image compete for its cells: each map is multiplied by the softmax of the tags' raw maps over
    this temperature, divided by its maximum; 2, say. An image with one tag stays as it is. null: they do not."""
    splits: Splits = ("train", "val")
    """Which images get maps."""

    @model_validator(mode="after")
    def _of_cam(self) -> CamsSettings:
        if self.rivals is not None and (self.normalise == "softmax" or self.explainer != "cam"):
            raise ValueError(
                "'rivals' is for the maps of explainer cam, each divided by its own maximum; leave it out, or leave "
                f"out {'normalise: softmax' if self.normalise == 'softmax' else f'explainer: {self.explainer}'}"
            )
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


class FeatureWalkSettings(FeatureSettings, ScatteredSettings):
    """Maps spread by a random walk over how alike the features of two cells are, of a backbone as it is: nothing is
    trained for it. With the stages of an ordinary network it is this project's own; with transformers trained without
    labels such walks are usual."""

    source: Literal["feature-walk"] = "feature-walk"
    cams: Annotated[str, Ref("cams")]
    """The maps that are spread."""
    transition: Annotated[Literal["temperature", "proxy", "ncut"] | None, Neutral(None)] = None
    """How a step's weight follows from a cosine c. ``temperature``: exp((c - 1) / tau); ``proxy``: exp(gamma c) where c
    is at least beta times the mean over all pairs of the image, else 0 (ProxyCLIP); ``ncut``: 1 where c is above
    ``threshold``, else 0.00001 (TokenCut); null: ``temperature`` for stages, ``proxy`` for patches and keys."""
    pairs: Annotated[Literal["near", "all"] | None, Neutral(None)] = None
    """``near``: a step leads to cells closer than ``radius``; ``all``: to any cell, ``all_steps`` times, in memory that
    grows with the square of their number; beyond 4,096 cells to those closer than 8, eight times as often. null:
    ``near`` for stages, ``all`` for patches and keys."""
    radius: Annotated[int, Field(ge=2, le=20)] = 5
    """Reach R of one step, in cells of the grid: neighbours closer than R."""
    temperature: Positive = 0.1
    """tau in exp((mean cosine - 1) / tau): smaller walks leave a neighbourhood of like features less."""
    beta: Annotated[Positive, Neutral(1.2)] = 1.2
    """For ``proxy``: cosines below this multiple of their mean count as unlike."""
    gamma: Annotated[Positive, Neutral(3.0)] = 3.0
    """For ``proxy``: factor of the cosines in the exponent."""
    threshold: Annotated[Fraction, Neutral(0.2)] = 0.2
    """For ``ncut``: cosines above it count as alike."""
    steps: Count = 64
    """Length t of the walk between near cells. It spreads over about sqrt(t) steps of the radius; 64 is for photos of
    320 pixels."""
    all_steps: Annotated[Annotated[int, Field(ge=1, le=64)], Neutral(2)] = 2
    """Length t of the walk between all cells."""
    normalise: Literal["image", "class"] = "class"
    """``class``: each map of an image is divided by its own maximum, as the maps of classifiers are; ``image``: all by
    their common one, which was worse on photos."""
    flip: bool = False
    """Also compare the features of the mirrored image."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels that the backbone sees."""
    splits: Splits = ("train", "val")
    """Which images get maps."""

    @property
    def weighting(self) -> Literal["temperature", "proxy", "ncut"]:
        """``transition``, its default resolved."""
        return self.transition or ("temperature" if self.features == "stages" else "proxy")

    @property
    def among_all(self) -> bool:
        """Whether a step leads to any cell."""
        return (self.pairs or ("near" if self.features == "stages" else "all")) == "all"


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
    """Maps made elsewhere (a CLIP or DINO seed, say) in the format of ``wsss.store.map_shards``."""

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
