"""Classifiers: one class a training objective; ``objective`` names the module in ``wsss.objectives``.

To add an objective, add a subclass of ``ClassifierSettings`` (or of the parts of it below) here, or in a file of its
own in ``wsss.settings.own``, and a module there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from operator import or_
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings import own
from wsss.settings.base import Augment, Count, Fraction, Neutral, NonNegative, Positive, Recolouring, Ref, as_number
from wsss.settings.training import NetworkSettings, Ramp, TrainingSettings


class ClassifierSettings(TrainingSettings):
    """What every classifier has. Subclasses add what their objective needs; ``objective`` names the module in
    ``wsss.objectives`` (a dash stands for an underscore)."""

    if TYPE_CHECKING:  # a field of the subclasses: those without one are parts, and no recipes
        objective: str

    head: Literal["linear", "kur"] = "linear"
    """``kur``: kernel usage regularisation, in which the classes compete for each channel of the features: the head's
    weights act as alpha W * softmax of W over the classes, and maps are made with these."""
    kur_alpha: Positive | None = None
    """alpha of ``head: kur``; null: the number of classes, with which equal weights act unchanged."""
    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """Another classifier whose weights this one starts from; null: the backbone's weights and a new head."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """``uniform``: every image once an epoch; ``balanced``: as many draws, each of a class first and then of one of its
    images, so that rare classes are seen as often as common ones."""
    features: Annotated[Literal["plain", "centred"], Neutral("plain")] = "plain"
    """``centred``: as the classifier of ``warm_start`` has it, which knows the centre."""
    positive_weight: Literal["balanced"] | Positive | None = None
    """Weight of the positive half of the classification loss; ``balanced``: of each class, its images without over its
    images with (within 1/100 and 100); null: 1."""

    @property
    def validation_side(self) -> int:
        """Longest side in pixels at which the network sees validation images."""
        return self.long_side[1]

    @model_validator(mode="after")
    def _alpha_has_a_head(self) -> ClassifierSettings:
        if self.kur_alpha is not None and self.head != "kur":
            raise ValueError("kur_alpha has no effect without head: kur; set the head, or leave kur_alpha out")
        return self

    @model_validator(mode="after")
    def _centre_is_known(self) -> ClassifierSettings:
        if self.features == "centred" and self.warm_start is None:
            raise ValueError(
                "features: centred needs a centre, which the objective linear finds; name such a classifier as "
                "warm_start, or take features: plain"
            )
        return self


class VanillaSettings(ClassifierSettings):
    """Ordinary multi-label classification."""

    objective: Literal["vanilla"] = "vanilla"
    augment: Augment = ("randaugment",)


class LinearSettings(NetworkSettings):
    """A linear layer fitted to the features of a frozen backbone (a linear probe, Alain and Bengio 2017), in one go:
    there are no epochs, and no rate."""

    objective: Literal["linear"] = "linear"
    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """Another classifier whose backbone is frozen and read; null: the backbone's own weights."""
    size: Annotated[int, Field(ge=32, le=2048)] = 512
    """Longest side in pixels that the backbone sees; larger images are reduced to it, smaller ones stay."""
    flip: bool = True
    """Learn from the mirrored images, too."""
    penalty: Positive = 1e-3
    """lambda of the penalty lambda/2 |w|^2 of a class, for features scaled to a mean squared norm of 1."""
    features: Annotated[Literal["plain", "centred"], Neutral("plain")] = "plain"
    """What the layer sees. ``plain``: the backbone's features, without a bias. ``centred``: divided by the norm of
    their mean over an image, less the mean of the training images, and divided by that norm again, with a bias (as
    SimpleShot, Wang et al. 2019): the fewer the photos, the more it gains."""
    positive_weight: Literal["balanced"] | Positive | None = None
    """As for other objectives."""

    head: ClassVar[Literal["linear"]] = "linear"
    kur_alpha: ClassVar[None] = None

    @property
    def validation_side(self) -> int:
        """Longest side in pixels at which the network sees validation images."""
        return self.size


class TiledSettings(ClassifierSettings):
    """What objectives with the puzzle term have."""

    tiles: Annotated[int, Field(ge=2, le=4)] = 2
    """The image is cut into tiles x tiles pieces."""
    reconstruction: Ramp = Ramp(start=0.0, end=0.3, ramp_fraction=0.5)
    """Weight of the L1 difference between the maps of the image and of its tiles. 0.3 over present classes pulls as
    hard as the published 4.0 over all 20 VOC classes at 1.5 labels an image (4.0 x 1.5 / 20)."""
    reconstruction_over: Literal["present", "all"] = "present"
    """Mean over the maps of present classes, or over all B x C maps as published (weight 0 to 4 there): the latter's
    pull depends on the number of classes."""
    reconstruction_norm: Literal["none", "scale", "relative", "contrast"] = "none"
    """``none``: the difference of the raw maps (published); on few classes and in short trainings it flattens them, for
    flat maps agree. ``scale``: over the mean absolute value of the image's present maps, as a constant: the loss does
    not fall when maps shrink. ``relative``: as ``scale``, and the divisor has its gradient too, so that shrinking both
    maps is not even tried. ``contrast``: over the standard deviation of each map over its cells, with its gradient
    (plus a hundredth of its mean absolute value, so that flat maps do not cost without bound): neither shrinking nor
    flattening helps."""
    entropy: Ramp = Ramp(start=0.0, end=0.0, ramp_fraction=1.0)
    """Weight of the entropy of each cell's distribution over the present classes."""

    @model_validator(mode="after")
    def _tiles_fit(self) -> TiledSettings:
        if self.crop % (self.tiles * self.output_stride):
            raise ValueError(
                f"crop ({self.crop}) must be a multiple of tiles x output_stride ({self.tiles * self.output_stride})"
            )
        return self


class ErasingSettings(ClassifierSettings):
    """What objectives have in which an ordinary classifier judges images with one class erased."""

    ordinary: Annotated[str, Ref("classifiers")]
    """The classifier that judges erased images."""
    erase_class: Literal["random", "balanced", "least-chosen", "focal"] = "random"
    """Which of an image's classes is erased. ``random``: each alike (published); ``balanced``: in inverse proportion to
    the share of training images that have it; ``least-chosen``: the one erased the fewest times so far; ``focal``: in
    proportion to (1 - p)^focal_gamma with p the generator's probability. All but ``random`` are this project's own."""
    focal_gamma: NonNegative = 2.0
    """Exponent of ``erase_class: focal``; 0: each alike."""
    erasing: Ramp = Ramp(start=0.3, end=1.0, ramp_fraction=1.0)
    """Weight of the ordinary classifier's loss on the softly erased image."""
    erasing_max: Literal["batch", "image"] = "batch"
    """The soft mask is divided by the largest value of the whole batch (published; over all devices) or of its
    image."""
    erase_saturation: Annotated[float, BeforeValidator(as_number), Field(gt=0, le=1)] = 1.0
    """Share of that largest value from which a pixel is erased wholly. 1 (published): the strongest pixel alone. Near
    the threshold at which maps are read, the class has to be hidden by what will be read as its mask."""
    erased_area: Ramp = Ramp(start=0.0, end=0.0, ramp_fraction=0.0)
    """Weight of the mean of the soft mask, a price on every erased pixel; published: none, so that erasing background
    costs nothing."""


class PuzzleSettings(TiledSettings):
    """Puzzle-CAM (Jo and Yu 2021): the maps of an image and of its tiles agree."""

    objective: Literal["puzzle"] = "puzzle"


class OcCseSettings(ErasingSettings):
    """OC-CSE (Kweon et al. 2021): once a class's activation is erased, an ordinary classifier must not find it."""

    objective: Literal["oc-cse"] = "oc-cse"
    augment: Augment = ("colour-jitter",)


class POcSettings(ErasingSettings, TiledSettings):
    """P-OC (David et al. 2024): Puzzle-CAM and OC-CSE together."""

    objective: Literal["p-oc"] = "p-oc"
    augment: Augment = ("colour-jitter",)


class PNocSettings(ErasingSettings, TiledSettings):
    """P-NOC (David et al. 2024): Puzzle-CAM's reconstruction, class-specific erasing judged by an ordinary classifier,
    and that classifier trained on in turn."""

    objective: Literal["p-noc"] = "p-noc"
    augment: Augment = ("colour-jitter",)
    ordinary: Annotated[str, Ref("classifiers")]
    """The classifier that judges erased images, and that becomes 'not so ordinary'."""
    adversary: Ramp = Ramp(start=0.0, end=1.0, ramp_fraction=1.0)
    """Weight of the loss that trains the ordinary classifier on hard-erased images."""
    adversary_lr_mult: Annotated[Positive, Neutral(1.0)] = 1.0
    """Learning rate of the ordinary classifier relative to the generator's. Published code has an option for it
    (``lr_alpha_oc``); from ImageNet's weights the ordinary classifier diverges at a rate that suits the generator."""
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


class GuidedSettings(ClassifierSettings):
    """A classifier whose own heatmaps are trained as segmentation logits: tags of all images, ground-truth masks of
    few.

    The heatmap of a class is gradient x activation at ``guidance_layer``. What is kept is an ordinary classifier; maps
    of it are read at the last stage, whatever the layer: there they are its heatmaps. Those of another layer are what
    ``wsss.explain`` calls hires-cam (with that layer) and gradient-x-input."""

    objective: Literal["guided"] = "guided"
    augment: Recolouring = ("colour-jitter",)
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey`` and ``blur``
    (RandAugment moves pixels away from their mask)."""
    gt_masks: Annotated[int, Field(ge=0)] | Literal["all"] = 20
    """Ground-truth masks of training images that the pixel loss learns from: so many, chosen by the seed and evenly
    over the tagged classes (a segmenter with the same number and seed has the same ones); ``all``; or 0, none."""
    masked_share: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] | None = 0.5
    """Share of the views of an epoch that are of images with such a mask, drawn with repetition; null: every image once
    an epoch (or as ``sampling`` says), and few masks are then seen seldom."""
    pixel: Ramp = Ramp(start=0.25, end=0.25, ramp_fraction=0.0)
    """Weight of the pixel loss, the mean cross entropy over labelled pixels, beside the classification loss
    (published: 1 / batch_size). On the generated scenes tags suffer at 1 and hardly at 0.25."""
    guidance_layer: str = "last"
    """Where heatmaps are taken. ``last``: the features before the head, where they are the class activation maps and
    cost nothing; ``input``: the image; else a module of the backbone that gives maps (``backbone.layer3``, say). Other
    layers than the last need second derivatives, are computed in fp32, and want ``batch_norm: fixed``."""
    gradient: Literal["one-pass", "class-by-class"] = "one-pass"
    """``class-by-class``: the graph of one heatmap is held at a time, for one more gradient a class; the result is the
    same but for rounding. Without effect at the last stage."""
    heatmap_scale: Positive = 1.0
    """Factor of heatmaps before the softmax over classes. At 1 the mean over the cells is the class's score (up to
    biases); published, at the input: their sum is, so 1 / number of pixels."""
    absent_classes: Annotated[int, Field(ge=0)] | None = None
    """How many classes that an image does not have stand beside those that it has and the background in the pixel loss,
    drawn anew for each view; null: all. Few of them make other layers than the last cheaper."""

    @model_validator(mode="after")
    def _images_stand_alone(self) -> GuidedSettings:
        if self.guidance_layer == "last":
            return self
        if self.batch_norm != "fixed":
            raise ValueError(
                f"guidance_layer ({self.guidance_layer!r}) has batch normalisation after it, and statistics of a batch "
                "mix its images' heatmaps; set batch_norm: fixed, or guidance_layer: last"
            )
        if self.compile:
            raise ValueError(
                f"guidance_layer ({self.guidance_layer!r}) needs second derivatives, which compiled networks lack; "
                "leave compile out, or set guidance_layer: last"
            )
        return self


def _recipes(cls: type[ClassifierSettings]) -> Iterator[type[ClassifierSettings]]:
    """The classes below ``cls`` that name an objective; those that only hold what several share do not."""
    for below in cls.__subclasses__():
        if "objective" in below.model_fields:
            yield below
        yield from _recipes(below)


for _one in iter_modules(own.__path__):
    import_module(f"{own.__name__}.{_one.name}")

if TYPE_CHECKING:
    Classifier = ClassifierSettings | LinearSettings
else:
    _every = dict.fromkeys((*_recipes(ClassifierSettings), LinearSettings))
    Classifier = Annotated[reduce(or_, _every), Field(discriminator="objective")]
