"""Saliency: what in an image is an object of any class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from wsss.settings.base import (
    Count,
    Fraction,
    MaskAugment,
    NonNegative,
    Positive,
    Recolouring,
    Ref,
    Scales,
    ScatteredSettings,
    Splits,
    StoredMasksSettings,
    as_number,
)
from wsss.settings.features import FeatureSettings
from wsss.settings.masks import Crf, CrfSettings, InferenceSettings
from wsss.settings.training import TrainingSettings


class SaliencyMapSettings(InferenceSettings, ScatteredSettings):
    """How a trained network is applied."""

    activation: Literal["relu", "sigmoid"] = "relu"
    """``relu``: the rectified logit over the image's maximum (published for C2AM); ``sigmoid``: a probability."""
    splits: Splits = ("train", "val")
    """Which images get maps."""


class SaliencyMaskSettings(StoredMasksSettings, ScatteredSettings):
    """From saliency maps to masks of two labels, 0 and 1."""

    threshold: Literal["otsu"] | Fraction = 0.2
    """Pixels above it are salient; ``otsu``: above the threshold that parts each image's map best (Otsu 1979)."""
    crf: Crf | None = CrfSettings()
    """Dense CRF over the two labels; null: none."""


class SaliencyNetMapSettings(SaliencyMapSettings):
    """How a saliency network is applied: it answers with a probability, at one scale as published."""

    activation: Literal["sigmoid"] = "sigmoid"
    scales: Scales = (1.0,)
    flip: bool = False


class SaliencyNetMaskSettings(SaliencyMaskSettings):
    """Masks of a saliency network's probabilities."""

    threshold: Literal["otsu"] | Fraction = 0.5
    crf: Crf | None = None


class SaliencySettings(TrainingSettings):
    """What every saliency recipe has; ``objective`` names the module in ``wsss.objectives``."""

    if TYPE_CHECKING:  # a field of the subclasses
        objective: str

    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """A classifier whose backbone it starts from, for backbones without pretrained weights; null: ``pretrained``."""
    label_smoothing: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.0
    augment: MaskAugment = ()
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey``, ``blur`` and
    ``cutout`` (RandAugment moves pixels away from masks)."""
    maps: SaliencyMapSettings = SaliencyMapSettings()
    """How it is applied; a change here does not train again."""
    refine: SaliencyMaskSettings = SaliencyMaskSettings()
    """Masks made of its maps: what a saliency network learns from, and what is scored."""


class ContrastSettings(SaliencySettings):
    """What C2AM and its variant with hints have."""

    alpha: NonNegative = 0.25
    """Decay of the weight of positive pairs with their rank, exp(-alpha (rank - 1))."""
    epochs: Annotated[int, Field(ge=1)] = 10
    lr: Positive = 1e-3
    batch_size: Annotated[int, Field(ge=2)] = 64
    resize: Literal["long-side", "square"] = "square"
    crop: Annotated[int, Field(ge=32, le=2048)] = 448
    long_side: tuple[Count, Count] = (515, 515)
    augment: Recolouring = ()
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey`` and ``blur``
    (RandAugment moves pixels away from hints and masks)."""


class C2amSettings(ContrastSettings):
    """C2AM (Xie et al. 2022): foreground and background features told apart by contrast, without labels."""

    objective: Literal["c2am"] = "c2am"
    label_smoothing: Literal[0] = 0
    """It has no targets to smooth."""


class C2amHSettings(ContrastSettings):
    """C2AM-H (David et al. 2024): C2AM with what the maps are sure of as a hint to the foreground."""

    objective: Literal["c2am-h"] = "c2am-h"
    hints: Annotated[str, Ref("cams")]
    """Maps whose strong activations hint at the foreground."""
    hint_threshold: Literal["otsu"] | Fraction = 0.4
    """A pixel is a hint where the maximum over the tagged classes' maps is at least this; ``otsu``: where a map exceeds
    the threshold that parts its own values best (Otsu 1979)."""
    hint_weight: NonNegative = 1.0
    """Weight of the hint loss."""
    label_smoothing: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.1
    """a in the hint's target 1 - a/2."""


class SaliencyNetSettings(SaliencySettings):
    """A saliency network that learns from another recipe's masks."""

    objective: Literal["saliency"] = "saliency"
    saliency: Annotated[str, Ref("saliency")]
    """The saliency whose masks (``refine``) it learns from."""
    architecture: Literal["poolnet", "deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"] = "poolnet"
    """PoolNet (Liu et al. 2019), or an architecture of segmentation-models-pytorch."""
    epochs: Annotated[int, Field(ge=1)] = 9
    batch_size: Count = 10
    accumulate_mode: Literal["sum", "mean"] = "mean"
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """Published: Adam, one rate for all weights, one image at a time with ``batch_norm: fixed``."""
    lr: Positive = 5e-5
    weight_decay: NonNegative = 5e-4
    head_lr_mult: Positive = 1.0
    bias_factor: Positive = 1.0
    long_side: tuple[Count, Count] = (500, 500)
    maps: SaliencyNetMapSettings = SaliencyNetMapSettings()
    refine: SaliencyNetMaskSettings = SaliencyNetMaskSettings()


class TokenCutMapSettings(SaliencyMapSettings):
    """How the cut is made: once, of the whole image, as published."""

    activation: Literal["relu"] = "relu"
    """The maps are between 0 and 1 as they are."""
    scales: Scales = (1.0,)
    flip: bool = False
    max_side: Annotated[int, Field(ge=32)] = 480
    """Longest side in pixels that is seen; time grows with the cube of the number of cells, 900 at 480 pixels and
    patches of 16."""


class TokenCutMaskSettings(SaliencyMaskSettings):
    """Masks of a cut."""

    threshold: Literal["otsu"] | Fraction = "otsu"


class TokenCutSettings(FeatureSettings):
    """TokenCut (Wang et al. 2022): the normalised cut of the graph of like patches of one image. Nothing is trained,
    and it looks at no tag."""

    objective: Literal["token-cut"] = "token-cut"
    backbone: str = "vit_small_patch16_224.dino"
    """Name of a timm model; published: DINO's small transformer."""
    features: Literal["stages", "patches", "keys"] = "keys"
    """``keys``: of the last attention of a vision transformer (published); ``patches``: its patch tokens; ``stages``:
    the mean over several stages of a backbone, of the cosines of their features."""
    grid_stride: Literal[4, 8, 16] = 16
    """Input pixels per cell of the grid, for stages."""
    threshold: Fraction = 0.2
    """Cosines above it count as alike."""
    maps: TokenCutMapSettings = TokenCutMapSettings()
    """How it is applied."""
    refine: TokenCutMaskSettings = TokenCutMaskSettings()
    """Masks made of its maps: what a saliency network learns from, and what is scored."""


Saliency = Annotated[
    C2amSettings | C2amHSettings | SaliencyNetSettings | TokenCutSettings, Field(discriminator="objective")
]
