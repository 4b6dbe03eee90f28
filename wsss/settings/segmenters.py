"""Segmentation networks: one class a training objective, and how they are applied; ``objective`` names the module in
``wsss.objectives``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

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
    StoredMasksSettings,
    as_number,
)
from wsss.settings.masks import Crf, InferenceSettings
from wsss.settings.memories import ClassNames
from wsss.settings.training import Ramp, TrainingSettings

Architecture = Literal["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"]
OF_SEARCH = ("architecture", "backbone", "pretrained", "output_stride", "atrous_rates", "decoder_channels")
"""What a search decides in place of a recipe."""


def unfit_channels(architecture: str, channels: int | None) -> str | None:
    """Why an architecture cannot have so many channels in its decoder; None where it can."""
    if architecture == "fpn" and channels is not None and channels % 64:
        return f"fpn normalises its channels in groups: {channels} must be a multiple of 64"
    return None


class PredictSettings(InferenceSettings, StoredMasksSettings, ScatteredSettings):
    """How a trained segmentation network is applied."""

    combine_flips: Literal["average", "add"] = "average"
    """Logits of the image and its mirror are averaged, or added as published (which sharpens the softmax)."""
    crf: Crf | None = None
    """Dense CRF on the probabilities, as in ``masks``; null: none."""
    splits: Splits = ("val",)
    """Which images are predicted."""
    tag_threshold: Annotated[Fraction, Neutral(0.2)] = 0.2
    """With ``tags_from``: a class that the classifier gives a smaller probability is left out of an image, unless it is
    the most probable one."""


class SegmenterSettings(TrainingSettings):
    """What every segmentation network has, which is trained on masks. Subclasses add what their objective needs."""

    if TYPE_CHECKING:  # a field of the subclasses
        objective: str

    masks: Annotated[str, Ref("masks")] | None = None
    """The pseudo-labels it learns from; needed unless ``supervision: masks``."""
    supervision: Literal["pseudo", "masks", "classifier"] = "pseudo"
    """``masks``: learn from the ground-truth masks (fully supervised upper bound); ``classifier``: learn nothing, the
    heatmaps of a guided classifier are the network (``objective: segmentation``)."""
    gt_masks: Count | Literal["all"] = "all"
    """From how many with ``supervision: masks``: that many training images, chosen by the seed and evenly over the
    tagged classes, are all that it sees. ``objective: guided`` with the same number has the same ones."""
    architecture: Architecture = "deeplabv3plus"
    """Architecture of segmentation-models-pytorch."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per cell of the encoder's deepest map, for the two DeepLabs (8 or 16) and PAN (16 or 32), which
    dilate; the others take no notice of it."""
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    """Dilations of the ASPP, for the two DeepLabs."""
    decoder_channels: Annotated[Annotated[int, Field(ge=16, multiple_of=16)] | None, Neutral(None)] = None
    """Channels of the decoder: of the ASPP, of the pyramid (with half as many behind it), or of the first block of a
    U-Net, halved in each further one. A multiple of 16, for FPN of 64; null: 256, for PAN 32."""
    architecture_from: Annotated[Annotated[str, Ref("searches")] | None, Neutral(None)] = None
    """A search that says architecture, backbone and its weights, output_stride, atrous_rates and decoder_channels in
    place of this recipe."""
    rank: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^sample-([0-9]|1[01])$")], Neutral(0)
    ] = 0  # fmt: skip
    """Which of its networks: 0 is the best, 1 the next; ``sample-0`` to ``sample-11``: at even distances from the best
    to the worst, to see whether better ones are better."""
    lr: Positive = 0.007
    weight_decay: NonNegative = 4e-5
    accumulate_mode: Literal["sum", "mean"] = "mean"
    augment: MaskAugment = ("colour-jitter",)
    """Besides resize, flip and crop: nothing, or a list of ``colour-jitter``, ``strong-jitter``, ``grey``, ``blur`` and
    ``cutout`` (RandAugment moves pixels away from their mask). The last four are ST++'s strong set for a network that
    learns from another one's labels."""
    loss_cap: Annotated[Positive | None, Neutral(None)] = None
    """Once the mean cross entropy of a micro-batch with its masks is below it, pixels above it are taken for wrong
    labels and have no gradient; measured without label smoothing. PMM's code has 0.5; null: all pixels count."""
    predict: PredictSettings = PredictSettings()
    """How it is applied; a change here does not train again."""
    tags_from: Annotated[Annotated[str, Ref("classifiers")] | None, Neutral(None)] = None
    """A classifier that says which classes an image may hold when the network is applied: the probability of the others
    goes to those, pixel by pixel. With few images to learn from it knows classes better than the network does. A
    change here does not train again; null: the network decides alone."""

    @model_validator(mode="after")
    def _one_source(self) -> SegmenterSettings:
        if self.supervision == "classifier" and self.objective != "segmentation":
            raise ValueError("'supervision: classifier' trains nothing; leave 'objective' out")
        if self.supervision == "pseudo" and self.masks is None:
            raise ValueError(
                "name the pseudo-labels ('masks: NAME'), or set 'supervision: masks' to learn from the true ones"
            )
        if self.supervision == "masks" and self.masks is not None:
            raise ValueError("'supervision: masks' learns from the ground-truth masks; leave 'masks' out")
        if (problem := unfit_channels(self.architecture, self.decoder_channels)) is not None:
            raise ValueError(f"decoder_channels: {problem}")
        if self.supervision == "classifier" and self.architecture_from is not None:
            raise ValueError("'supervision: classifier' trains nothing; leave 'architecture_from' out")
        if getattr(self, "objective", "") == "continual" and self.architecture_from is not None:
            raise ValueError("steps of learning go on from one network; leave 'architecture_from' out")
        if self.architecture_from is None and self.rank != 0:
            raise ValueError("'rank' has no effect without 'architecture_from'; set it, or leave it out")
        if self.supervision == "pseudo" and self.gt_masks != "all":
            raise ValueError("'gt_masks' has no effect on pseudo-labels; set 'supervision: masks', or leave it out")
        return self


class SegmentationSettings(SegmenterSettings):
    """Cross entropy on the masks as they are: what is meant where a recipe names no objective."""

    objective: Annotated[Literal["segmentation"], Neutral("segmentation")] = "segmentation"
    classifier: Annotated[Annotated[str, Ref("classifiers")] | None, Neutral(None)] = None
    """The guided classifier with ``supervision: classifier``: its heatmaps of the background and of all classes, at the
    layer where they were trained, are the logits of the pixels. No tags are used; all that concerns training has no
    effect."""
    tags: Annotated[NonNegative, Neutral(0.0)] = 0.0
    """With ``supervision: masks``, weight of a classification loss on the tags of all training images: a linear layer
    on the encoder's pooled features learns them beside the pixels of the images whose mask is shown, and is left out in
    the end. What ``objective: guided`` learns from, too. 0: tags are not used."""
    masked_share: Annotated[Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] | None, Neutral(0.5)] = 0.5
    """With ``tags``: share of the views of an epoch that are of images with a shown mask, drawn with repetition; null:
    every image once an epoch."""
    soft_weight: Annotated[Fraction, Neutral(0.0)] = 0.0
    """w in L = (1 - w) CE(mask) + w T^2 KL(q^(1/T), p^(1/T)): share of the probabilities q of the networks that made
    the masks (``source: segmenter`` with ``keep_probabilities: true``); 0: masks alone."""
    soft_temperature: Annotated[Positive, Neutral(2.0)] = 2.0
    """T: above 1, labels that q holds less likely count more. Without effect for ``soft_weight: 0``."""

    @model_validator(mode="after")
    def _one_way(self) -> SegmentationSettings:
        if (self.supervision == "classifier") != (self.classifier is not None):
            raise ValueError("'supervision: classifier' and 'classifier: NAME' go together; set both or neither")
        if self.supervision == "classifier" and (self.masks is not None or self.gt_masks != "all"):
            raise ValueError("'supervision: classifier' learns from no masks; leave 'masks' and 'gt_masks' out")
        if self.tags and self.supervision != "masks":
            raise ValueError("'tags' stand beside ground-truth masks; set 'supervision: masks', or leave it out")
        if self.masked_share != 0.5 and not self.tags:
            raise ValueError("'masked_share' has no effect without 'tags'; set it, or leave it out")
        if self.supervision == "masks" and self.soft_weight:
            raise ValueError(
                "'soft_weight' learns from networks' probabilities beside their masks, and 'supervision: "
                "masks' has none; leave it out"
            )
        return self


class EmaTeacherSettings(SegmenterSettings):
    """A student that learns from the masks and from a teacher, the moving average of its own weights, restricted to the
    tags; objects are pasted from one image into another (after CSRM and U2PL)."""

    objective: Literal["ema-teacher"] = "ema-teacher"
    momentum: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 1e-4
    clip_norm: Positive | None = 1.0
    teacher_warmup: Annotated[int, Field(ge=0)] = 1
    """Epochs in which the student learns from the masks alone; the teacher then starts as its copy."""
    teacher_decay: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.99
    """Largest d in T <- d T + (1 - d) S, after every optimiser step; d = n / (n + 1) in the first ones."""
    teacher_weight: NonNegative = 1.0
    """Weight of the loss on the teacher's labels, beside that on the masks."""
    teacher_drop: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.2
    """Share of the pixels, those of the highest entropy of the teacher, that the loss leaves out; it falls to 0 over
    the training."""
    class_mix: Fraction = 0.5
    """Share of the images into which half of the classes of another one are pasted; 0: none."""
    kept: Literal["teacher", "student"] = "teacher"
    """Which of the two networks is the result."""

    @model_validator(mode="after")
    def _teaches(self) -> EmaTeacherSettings:
        if self.teacher_warmup >= self.epochs:
            raise ValueError(f"teacher_warmup ({self.teacher_warmup}) must be below epochs ({self.epochs})")
        if self.class_mix and self.batch_size % (2 * self.processes):
            raise ValueError(
                f"class_mix takes images two by two: batch_size ({self.batch_size}) must be a multiple of 2 x "
                f"processes ({2 * self.processes}), or class_mix 0"
            )
        if self.kept == "teacher" and (self.ema is not None or self.average_last is not None):
            raise ValueError("ema and average_last average the student, and the teacher is kept; set kept: student")
        return self


class EarlyLearningSettings(SegmenterSettings):
    """Masks that are corrected, class by class, from where the network begins to memorise their errors (ADELE)."""

    objective: Literal["early-learning"] = "early-learning"
    correction_start: Fraction = 0.9
    """A class is corrected once the curve of its IoU with the masks has lost more than this share of its first slope;
    looked at after each epoch, from the third on."""
    sure: Fraction = 0.8
    """Probability above which a correction takes place."""
    guard: bool = True
    """A class that would be left with less than half of its pixels in a crop, and less than 5 % of it, gets its pixels
    back."""
    teacher_decay: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.99
    """Decay of the moving average of the weights that corrects; d = n / (n + 1) in the first steps."""


class CoTrainingSettings(SegmenterSettings):
    """Two networks that learn from the masks where these have a label, and from each other elsewhere (BECO); the first
    is kept."""

    objective: Literal["co-training"] = "co-training"
    lr: Positive = 0.01
    momentum: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 1e-4
    mutual: Ramp = Ramp(start=1.0, end=1.0, ramp_fraction=0.0)
    """Weight of the pixels without a label; published: constant."""


class ContinualSettings(SegmenterSettings):
    """One step of class-incremental learning: cross entropy among the classes known so far, on images of the step's own
    classes and on a memory of earlier ones."""

    objective: Literal["continual"] = "continual"
    classes: ClassNames | None = None
    """Names of the classes that this step learns; pixels of others are background in its masks. Its images are those
    tagged with one of them (the overlapped setting). null: all classes, from all images."""
    disjoint: bool = False
    """Leave out images tagged with a class that neither this step nor one before learns (the disjoint setting)."""
    warm_start: Annotated[str, Ref("segmenters")] | None = None
    """The network of the step before, of the same architecture: this one begins with its weights, a new class with
    those of the background. null: the first step."""
    memory: Annotated[str, Ref("memories")] | None = None
    """Exemplars of earlier classes that are replayed; null: none."""
    replay_share: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] = 0.5
    """Share of the views that are of exemplars. An epoch is so long that it has about as many views of the step's own
    images as there are images."""
    outside: Literal["learn", "ignore", "background-only"] = "learn"
    """Labels of exemplars outside their boxes: learnt like others, left out, or left out where they show an object."""
    outside_weight: Fraction = 1.0
    """Weight in the loss of what is learnt outside the boxes of exemplars."""
    old_confidence: Fraction | None = 0.7
    """Background of the step's masks becomes an earlier class where the network of the step before is at least so sure
    of it (Cha et al. 2021); null: it stays background."""
    distil: NonNegative = 0.0
    """Weight of T^2 KL(old network, new network) among the classes that the old one knows (Li and Hoiem 2017)."""
    distil_temperature: Positive = 2.0
    """T. Without effect for ``distil: 0``."""

    @model_validator(mode="after")
    def _stepwise(self) -> ContinualSettings:
        if self.warm_start is not None and self.classes is None:
            raise ValueError("name the classes that this step learns ('classes: [NAME, ...]')")
        if self.warm_start is None and (self.memory is not None or self.distil):
            raise ValueError("'memory' and 'distil' are for steps after the first; name the one before ('warm_start')")
        if self.disjoint and self.classes is None:
            raise ValueError("'disjoint' has no effect without 'classes'; name them, or leave it out")
        if self.loss_cap is not None and self.outside_weight < 1:
            raise ValueError("'loss_cap' knows no weights; leave it out, or set outside_weight to 1")
        if self.gt_masks != "all":
            raise ValueError("'gt_masks' is for objectives that learn all classes at once; leave it out")
        if self.tags_from is not None:
            raise ValueError("'tags_from' is for networks that know all classes, and a step does not; leave it out")
        return self


Segmenter = Annotated[
    SegmentationSettings | EmaTeacherSettings | EarlyLearningSettings | CoTrainingSettings | ContinualSettings,
    Field(discriminator="objective"),
]
