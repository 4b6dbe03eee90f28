"""Inference over images, dense CRF and pseudo-labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import (
    Fraction,
    Neutral,
    Positive,
    Ref,
    Scales,
    ScatteredSettings,
    Settings,
    Splits,
    StoredMasksSettings,
    Veto,
    as_list,
    as_number,
    as_tuple,
)


class InferenceSettings(Settings):
    """What every inference over images has."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    """The image is seen at each of these scales."""
    flip: bool = True
    """Also see the mirrored image."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels at scale 1; larger images are reduced to it before the network sees them."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """``fp32`` (convolutions in TF32 on a GPU that has it); or by autocast, at half the bytes, ``fp16``: maps differ by
    up to 2 % of their maximum, on average by 0.1 %, or ``bf16``, eight times as coarse and without fp16's limit of
    65,504. A change makes results anew: they differ."""


CRF_PRESETS: dict[str, dict[str, Any]] = {
    # IRN, Puzzle-CAM, P-NOC: labels as unary, for maps, saliency and affinity labels
    "labels": {"unary": "labels", "confidence": 0.7, "iterations": 10, "gaussian": [3, 3], "bilateral": [50, 5, 10]},
    # P-NOC: pseudo-labels after the random walk
    "labels-1": {"unary": "labels", "confidence": 0.9, "iterations": 1, "gaussian": [3, 3], "bilateral": [50, 5, 10]},
    # DeepLabV2's set, segmentation inference of P-NOC's later code
    "deeplab": {"unary": "scores", "iterations": 10, "gaussian": [1, 3], "bilateral": [67, 3, 4]},
    # PSA, OC-CSE, Puzzle-CAM's segmentation inference. The kernels alone: the background score (1 - max_c)^alpha that
    # PSA and OC-CSE put beside the maps is not offered
    "psa": {"unary": "scores", "iterations": 10, "gaussian": [3, 3], "bilateral": [80, 13, 10]},
}


class CrfSettings(Settings):
    """Dense CRF (Kraehenbuehl and Koltun 2011)."""

    unary: Literal["labels", "scores"] = "labels"
    """``labels``: each pixel trusts its label with ``confidence``; ``scores``: minus the log of the probabilities."""
    confidence: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] = 0.7
    """Trust in a label, for ``unary: labels``."""
    iterations: Annotated[int, Field(ge=1, le=100)] = 10
    """Mean-field iterations."""
    gaussian: tuple[Positive, Positive] = (3.0, 3.0)
    """Smoothness kernel: (standard deviation in pixels, weight)."""
    bilateral: tuple[Positive, Positive, Positive] = (50.0, 5.0, 10.0)
    """Appearance kernel: (standard deviation in pixels, in grey levels, weight)."""


def _crf(value: Any) -> Any:
    """Replace a preset's name, or ``preset:`` inside a block, by its numbers, so that the numbers are what is
    compared."""
    if isinstance(value, str):
        value = {"preset": value}
    if isinstance(value, dict) and "preset" in value:
        name = value["preset"]
        if name not in CRF_PRESETS:
            raise ValueError(f"unknown CRF preset {name!r}; allowed: {', '.join(CRF_PRESETS)}")
        value = {**CRF_PRESETS[name], **{k: v for k, v in value.items() if k != "preset"}}
    return {k: as_tuple(v) for k, v in value.items()} if isinstance(value, dict) else value


Crf = Annotated[CrfSettings, BeforeValidator(_crf)]


class Threshold(Settings):
    """The background score that object scores must exceed."""

    policy: Literal["fixed", "calibrated", "oracle", "otsu"] = "fixed"
    """``fixed``: ``value``, chosen beforehand; ``calibrated``: best mIoU on ``evaluation.calibration_images`` masks
    of the training split; ``oracle``: best on all masks of the training split (reported as such); ``otsu``: for every
    map of every image the threshold that parts its values best (Otsu 1979), which looks at no mask."""
    value: Fraction = 0.3
    """For ``policy: fixed``."""
    per_class: bool = False
    """A threshold for every class (``calibrated`` and ``oracle``): best IoU of that class on the same masks. A pixel
    gets the strongest of the classes that exceed their own."""

    @model_validator(mode="after")
    def _looks(self) -> Threshold:
        if self.per_class and self.policy == "otsu":
            raise ValueError("policy otsu has a threshold for every map already; leave per_class out")
        if self.per_class and not self.looks_at_masks:
            raise ValueError("per_class thresholds are chosen on masks; set policy to calibrated or oracle")
        return self

    @property
    def looks_at_masks(self) -> bool:
        """Whether ground-truth masks choose it, by way of the scores of the maps."""
        return self.policy in ("calibrated", "oracle")


class IgnoreBand(Settings):
    """Pixels on which a sure and a generous reading of the maps disagree become 255 (IRN's two-threshold rule)."""

    foreground: Fraction = 0.4
    """Background score of the sure reading: what it calls an object is one."""
    background: Fraction = 0.1
    """Background score of the generous reading: what it calls background is background."""

    @model_validator(mode="after")
    def _ordered(self) -> IgnoreBand:
        if self.background > self.foreground:
            raise ValueError(f"background ({self.background}) must not exceed foreground ({self.foreground})")
        return self


class CorrectableSettings(StoredMasksSettings):
    """What every source of masks has."""

    corrected: Annotated[str | None, Neutral(None)] = None
    """A folder of corrections by hand, ``ID.png`` for each image that has one, of the image's size: 0 background, c
    the c-th class, 254 leave the pixel out, 255 keep what the pseudo-label says; null: none. Counts as supervision."""


class MasksSettings(CorrectableSettings, ScatteredSettings):
    """Pseudo-labels from maps, alone or with saliency as the background score."""

    source: Literal["cams"] = "cams"
    cams: Annotated[str, Ref("cams")]
    """The maps they are made from."""
    saliency: Annotated[str, Ref("saliency")] | None = None
    """Saliency whose complement, 1 - s, is the background score in place of the constant threshold; null: none."""
    saliency_threshold: Annotated[Fraction | Literal["agreement"] | None, Neutral(None)] = None
    """Saliency alone says where objects are: a pixel above this is one, of the class whose map is strongest there;
    ``agreement``: above the threshold at which it agrees with the maps of the training images on most pixels, which
    looks at no mask; null: a map must exceed 1 - s."""
    threshold: Threshold = Threshold()
    """Where an object ends; without effect beside ``saliency`` or ``ignore``, so that ``defaults`` may hold one."""
    ignore: IgnoreBand | None = None
    """Leave out (255) what two thresholds disagree on, in place of ``threshold``; null: every pixel gets a label."""
    crf: Crf | None = CrfSettings()
    """A preset's name (labels, labels-1, deeplab, psa), a block (``preset:`` and what differs), or null for none."""
    splits: Splits = ("train", "val")
    """Which images get masks."""

    @model_validator(mode="after")
    def _one_rule(self) -> MasksSettings:
        if self.saliency_threshold is not None:
            if self.saliency is None:
                raise ValueError("saliency_threshold needs 'saliency', the maps that it is a threshold of")
            if self.crf is not None and self.crf.unary == "scores":
                raise ValueError("a threshold of saliency gives labels, no scores; set crf.unary to labels")
        if self.saliency is not None and self.ignore is not None:
            raise ValueError("with 'saliency' the background score is 1 - saliency; leave 'ignore' out")
        chosen = self.saliency is None and self.ignore is None
        if chosen and self.threshold.per_class and self.crf is not None and self.crf.unary == "scores":
            raise ValueError("thresholds of each class give labels, no scores; set crf.unary to labels")
        if chosen and self.threshold.policy == "otsu" and self.crf is not None and self.crf.unary == "scores":
            raise ValueError("thresholds of each map give labels, no scores; set crf.unary to labels")
        return self


class VoteSettings(CorrectableSettings, ScatteredSettings):
    """Pseudo-labels that other pseudo-labels vote on, pixel by pixel."""

    source: Literal["vote"] = "vote"
    members: Annotated[tuple[Annotated[str, Ref("masks")], ...], BeforeValidator(as_list), Field(min_length=2)]
    """The masks that vote."""
    rule: Literal["majority", "agreement"] = "majority"
    """``majority``: the label most members give (255 where two or more lead); ``agreement``: the label that all give,
    255 elsewhere. A member's 255 is an abstention."""
    splits: Splits = ("train", "val")
    """Which images get masks."""


class ChoiceSettings(CorrectableSettings):
    """The pseudo-labels of the best of several recipes, chosen on the training images by what may be looked at."""

    source: Literal["choice"] = "choice"
    members: Annotated[tuple[Annotated[str, Ref("masks")], ...], BeforeValidator(as_list), Field(min_length=2)]
    """The masks to choose from; the first is taken among equals."""
    by: Literal["agreement", "masks"] = "agreement"
    """``agreement``: best mean of the mIoU with each of the others, at least two, which looks at no mask; ``masks``:
    best mIoU on a few ground-truth masks, those that calibrated thresholds look at (reported as such)."""
    calibration_images: Annotated[int, Field(ge=1)] | None = None
    """For ``by: masks``: number of training images whose masks may be looked at; null:
    ``evaluation.calibration_images``."""
    splits: Splits = ("train", "val")
    """Which images get masks. Training images are always compared."""
    keep: bool = True
    """``false``: the files are deleted once all that reads them is made, as of other masks."""

    @model_validator(mode="after")
    def _judges(self) -> ChoiceSettings:
        for name in self.members:
            if self.members.count(name) > 1:
                raise ValueError(f"members names {name!r} twice; a copy agrees with itself")
        if self.by == "agreement" and len(self.members) < 3:
            raise ValueError(
                "two members agree with each other alike, which chooses none; name a third member, or set by to masks"
            )
        return self


class SegmenterMasksSettings(CorrectableSettings, InferenceSettings, ScatteredSettings):
    """Labels from trained segmentation networks, restricted to the tags and mixed with the masks that they correct:
    self-training, or a teacher of several networks."""

    source: Literal["segmenter"] = "segmenter"
    segmenters: Annotated[tuple[Annotated[str, Ref("segmenters")], ...], Field(min_length=1)]
    """The networks, one or several; their probabilities are averaged."""
    prior: Annotated[str, Ref("masks")] | None = None
    """The masks that are corrected, usually those that the networks learnt from; null: none, and then
    ``prior_weight`` counts as 0, and ``ignore`` and ``guard`` have no effect."""
    prior_weight: Fraction = 0.2
    """Share of the prior in the mixture with the networks' probabilities: 0 the networks alone, 1 the prior alone. From
    0.5 on next to nothing overrules the prior."""
    crf: Crf | None = CrfSettings(**_crf("deeplab"))
    """Dense CRF on the mixture, as in the masks of CAMs; null: its most probable label."""
    ignore: Literal["agreement"] | None = "agreement"
    """``agreement``: a pixel whose new label is not that of the prior is left out (255), unless the networks give a
    label at least ``sure``; null: every pixel gets a label."""
    sure: Fraction = 0.9
    """Probability from which the networks may overrule the prior, for ``ignore: agreement``."""
    guard: bool = True
    """A tag that would be left with less than half of its pixels in the prior, and less than 5 % of the image, gets its
    pixels of the prior back."""
    keep_probabilities: Annotated[bool, Neutral(False)] = False
    """Also keep the networks' probabilities of the tags, at a quarter of the resolution in 255 levels, for segmenters
    with a ``soft_weight``: some kilobytes an image and tag."""
    scales: Scales = (0.75, 1.0, 1.25)
    splits: Splits = ("train",)
    """Which images get masks."""


class RegionMasksSettings(CorrectableSettings, ScatteredSettings):
    """Pseudo-labels snapped to regions that were cut out elsewhere: masks of SAM or SAM 2, superpixels (the rule of
    SEPL, Chen et al. 2023, in a form in which no order matters)."""

    source: Literal["regions"] = "regions"
    masks: Annotated[str, Ref("masks")]
    """The pseudo-labels that are snapped."""
    regions: str
    """Folder with ``ID.json`` (COCO RLE, as segment-anything's script writes it) or ``ID.png`` (a label for each
    region, 0 none) for each image; ``{seed}`` in it stands for the run's seed."""
    covered: Fraction = 0.5
    """A region takes a class that covers more than this share of it ..."""
    covering: Fraction = 0.85
    """... or of whose pixels it holds at least this share."""
    whole: Fraction = 0.95
    """A region larger than this share of the image is no region."""
    supervision: str = "not stated"
    """What made the regions, in words (a network trained on 11 M images with masks; superpixels: nothing): every table
    repeats it."""
    splits: Splits = ("train", "val")
    """Which images get masks."""


class ExternalMasksSettings(CorrectableSettings, ScatteredSettings):
    """Masks made elsewhere: a folder of 8-bit PNG, one ``ID.png`` an image, 0 background, c the c-th class, 255
    ignore."""

    source: Literal["external"] = "external"
    path: str
    """The folder; ``{seed}`` in it stands for the run's seed."""
    supervision: str = "not stated"
    """What went into them, in words (image tags, image-text pairs, boxes, ...): every table repeats it."""
    veto: Veto = None
    """``tags``: pixels of classes that their image is not tagged with are taken out, and ``tags.csv`` beside the masks
    names each, and each tag without a pixel; null: masks stay as they are, and such pixels are counted and
    reported."""
    vetoed: Annotated[Literal["background", "ignore"], Neutral("background")] = "background"
    """What ``veto`` makes of them: background (0), or left out (255)."""
    splits: Splits = ("train", "val")
    """Which images have masks there."""


Masks = Annotated[
    MasksSettings
    | VoteSettings
    | ChoiceSettings
    | SegmenterMasksSettings
    | RegionMasksSettings
    | ExternalMasksSettings,
    Field(discriminator="source"),
]
