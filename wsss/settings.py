"""Typed settings of every stage: defaults, units, ranges, meaning.

A *recipe* is one named block of ``config.yaml``; the class that reads it stands here, one a kind of stage.
Nothing in this module imports torch, so the workflow can read settings while it is parsed.

How values are read: strictly. ``epochs: "3"`` is refused, and so is an unknown key. The one kindness is for
numbers: YAML 1.1 takes ``1e-4`` for a string (it wants ``1.0e-4``), so a string that is a number is read as one
wherever a fraction or a rate is expected.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _number(value: Any) -> Any:
    """Read ``"1e-4"`` as 0.0001; leave everything else to the strict check."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write it like 0.001 or 1.0e-3") from None
    return value


def _tupled(value: Any) -> Any:
    """Lists become tuples: what a validator returns is checked as Python, where a strict tuple is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    """Let one name stand for a list of one name."""
    return (value,) if isinstance(value, str) else _tupled(value)


@dataclass(frozen=True)
class Ref:
    """Marks a field that holds the name of another recipe; ``kind`` is the block that the name must stand in."""

    kind: str


Number = Annotated[float, BeforeValidator(_number)]
Fraction = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
NonNegative = Annotated[float, BeforeValidator(_number), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, BeforeValidator(_number), Field(gt=0, le=4)], ...], Field(min_length=1)]
Augmentation = Literal["colour-jitter", "randaugment"]
Augment = Annotated[tuple[Augmentation, ...], BeforeValidator(_listed)]
Split = Literal["train", "val"]
Splits = Annotated[tuple[Split, ...], BeforeValidator(_listed), Field(min_length=1)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Settings(BaseModel):
    """Base of all settings: strict, frozen, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, use_attribute_docstrings=True
    )

    @classmethod
    def read(cls, values: dict[str, Any]) -> Any:
        """Build from plain YAML or JSON values. Raises ``pydantic.ValidationError``."""
        return cls.model_validate_json(json.dumps(values, default=str), strict=True)

    def canonical(self, exclude: set[str] | None = None) -> str:
        """One JSON string, keys sorted, defaults filled in: equal settings give equal strings."""
        return json.dumps(self.model_dump(mode="json", exclude=exclude), sort_keys=True, ensure_ascii=False)


# --- datasets -----------------------------------------------------------------------------------------------------


class DatasetSettings(Settings):
    """What every dataset has."""

    broken: Literal["fail", "drop"] = "fail"
    """What to do with broken items: ``fail`` lists all problems and stops; ``drop`` leaves them out, lists them in
    ``report.json``, and every later count mentions them."""


class ScenesSettings(DatasetSettings):
    """Generated scenes with exact masks; see ``wsss.data.scenes`` for which effect shows where."""

    kind: Literal["scenes"] = "scenes"
    train: Count = 640
    """Number of training images."""
    val: Count = 160
    """Number of validation images."""
    size: Annotated[int, Field(ge=48, le=512)] = 96
    """Side of an image in pixels."""
    classes: Annotated[int, Field(ge=2, le=8)] = 6
    """Number of object classes."""
    difficulty: Fraction = 0.5
    """0: strong body texture, little noise or occlusion; 1: body texture near the noise level, clutter, occlusion."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the generator; independent of the run's seeds."""


class FolderSettings(DatasetSettings):
    """A folder of images and a CSV of tags."""

    kind: Literal["folder"] = "folder"
    images: str
    """Folder with the images; an id is the path below it without the suffix."""
    labels: str
    """CSV with columns ``id`` and ``labels`` (class names joined by the separator)."""
    separator: Annotated[str, Field(min_length=1, max_length=3)] = ";"
    """Between class names in the column ``labels``."""
    classes: str | tuple[str, ...] | None = None
    """Text file with one class name a line, or a list of names; absent: the sorted names found in the tags."""
    masks: str | None = None
    """Folder of 8-bit masks ``ID.png`` (0 background, c the c-th class, 255 ignore). Only scoring and
    ``supervision: masks`` read them."""
    train: str | None = None
    """Text file of ids, one a line; absent: a random share."""
    val: str | None = None
    """Text file of ids, one a line; absent: a random share."""
    val_share: Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)] = 0.1
    """Share of the ids drawn for validation where the lists are absent."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of that draw."""

    @model_validator(mode="after")
    def _both_lists(self) -> FolderSettings:
        if (self.train is None) != (self.val is None):
            raise ValueError(
                "give both lists, 'train' and 'val', or neither (then 'val_share' and 'split_seed' draw them)"
            )
        return self


class VocSettings(DatasetSettings):
    """PASCAL VOC 2012 as downloaded."""

    kind: Literal["voc"] = "voc"
    root: str
    """The folder ``VOC2012`` (with ``JPEGImages``, ``Annotations``, ``SegmentationClass``)."""
    train: str = "train_aug"
    """Training list: a name in ``ImageSets/Segmentation``, or a path to a list."""
    val: str = "val"
    """Validation list, likewise."""
    score: str | None = "train"
    """The part of the training list that scores are computed on; null: every training image with a mask."""
    sbd: str | None = None
    """Folder with SBD masks: ``SegmentationClassAug``-like PNG files, or SBD's own ``cls/*.mat``."""


class CocoSettings(DatasetSettings):
    """COCO 2014 or 2017 as downloaded."""

    kind: Literal["coco"] = "coco"
    root: str
    """Folder that holds ``annotations/`` and the image folders."""
    year: Literal[2014, 2017] = 2014
    """Which release; names of files and folders follow from it."""


Dataset = Annotated[ScenesSettings | FolderSettings | VocSettings | CocoSettings, Field(discriminator="kind")]


# --- networks and training ----------------------------------------------------------------------------------------


class NetworkSettings(Settings):
    """Which backbone, and where its weights come from."""

    backbone: str = "resnet50"
    """Name of a timm model."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per feature cell."""
    pretrained: bool | str = True
    """``true``: timm's own weights (needs the network or a filled cache); a path: a safetensors or pth file;
    ``false``: random."""


class TrainingSettings(NetworkSettings):
    """What every training has: images, optimiser, schedule, precision."""

    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    """Side S of the training crop in pixels."""
    long_side: tuple[Count, Count] = (320, 640)
    """The longer side of an image is resized to a random integer in this range, in pixels."""
    epochs: Count = 15
    """Passes over the training images."""
    batch_size: Count = 16
    """Images in a micro-batch, over all devices together."""
    accumulate: Count = 1
    """Micro-batches an optimiser step."""
    accumulate_mode: Literal["sum", "mean"] = "sum"
    """``sum``: gradients of the micro-batches add up (published for classifiers); ``mean``: they are averaged."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Both have four groups: pretrained weights, pretrained biases, new weights, new biases."""
    lr: Positive = 0.1
    """Learning rate of pretrained weights."""
    momentum: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD; Nesterov's form where it is above 0. The published recipes train with none."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of weights; biases and normalisation offsets have none under SGD."""
    new_factor: Positive = 10.0
    """Rate of newly initialised weights relative to pretrained ones."""
    bias_factor: Positive = 2.0
    """Rate of biases relative to weights."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay: rate(t) = rate(0) (1 - t/T)^power."""
    warmup: Fraction = 0.0
    """Share of the optimiser steps over which the rate rises linearly from 0."""
    clip_norm: Positive | None = None
    """Largest gradient norm; null: no clipping."""
    label_smoothing: Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)] = 0.1
    """a in y' = (1 - a) y + a/2 (classifiers), or of the cross entropy (segmenters)."""
    augment: Augment = ()
    """Besides resize, flip and crop: ``colour-jitter``, ``randaugment``, or a list of both."""
    batch_norm: Literal["normal", "fixed"] = "normal"
    """``fixed``: running statistics are used and not updated, scale and offset are not trained."""
    precision: Precision = "auto"
    """Autocast type. ``auto``: bf16 where the device computes it natively, else fp16 on a GPU and fp32 on a CPU."""

    @model_validator(mode="after")
    def _ordered(self) -> TrainingSettings:
        low, high = self.long_side
        if low > high:
            raise ValueError(f"long_side: the first value ({low}) must not exceed the second ({high})")
        if self.crop % self.output_stride:
            raise ValueError(f"crop ({self.crop}) must be a multiple of output_stride ({self.output_stride})")
        return self


class Ramp(Settings):
    """A loss weight that moves linearly and then stays: w(t) = start + (end - start) min(1, t / (share T))."""

    start: NonNegative
    """Weight at the first step."""
    end: NonNegative
    """Weight from ``share`` of the training on."""
    share: Fraction = 1.0
    """Share of the training over which the weight moves; 0: constant at ``end``."""

    def at(self, progress: float) -> float:
        """Weight at ``progress`` in [0, 1], the share of micro-steps done."""
        moved = 1.0 if self.share == 0 else min(1.0, progress / self.share)
        return self.start + (self.end - self.start) * moved


# --- classifiers: one class an objective --------------------------------------------------------------------------


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


Classifier = Annotated[VanillaSettings | PNocSettings, Field(discriminator="objective")]


# --- maps and masks -----------------------------------------------------------------------------------------------


class InferenceSettings(Settings):
    """What every inference over images has."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    """The image is seen at each of these scales."""
    flip: bool = True
    """Also see the mirrored image."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels at scale 1; larger images are reduced to it before the network sees them."""


class CamsSettings(InferenceSettings):
    """Class activation maps of the tagged classes, stored at the network's own resolution."""

    classifier: Annotated[str, Ref("classifiers")]
    """The classifier that is looked into."""
    splits: Splits = ("train", "val")
    """Which images get maps."""
    shards: Annotated[int, Field(ge=1, le=4096)] = 4
    """Files that the maps are spread over; the content does not depend on it."""


CRF_PRESETS: dict[str, dict[str, Any]] = {
    # IRN, Puzzle-CAM, P-NOC: labels as unary, for maps, saliency and affinity labels
    "labels": {"unary": "labels", "confidence": 0.7, "iterations": 10, "gaussian": [3, 3], "bilateral": [50, 5, 10]},
    # P-NOC: pseudo masks after the random walk
    "labels-1": {"unary": "labels", "confidence": 0.9, "iterations": 1, "gaussian": [3, 3], "bilateral": [50, 5, 10]},
    # DeepLabV2's set, P-NOC's segmentation inference
    "deeplab": {"unary": "scores", "iterations": 10, "gaussian": [1, 3], "bilateral": [67, 3, 4]},
    # PSA, OC-CSE, Puzzle-CAM's segmentation inference
    "psa": {"unary": "scores", "iterations": 10, "gaussian": [3, 3], "bilateral": [80, 13, 10]},
}


class CrfSettings(Settings):
    """Dense CRF (Kraehenbuehl and Koltun 2011)."""

    unary: Literal["labels", "scores"] = "labels"
    """``labels``: each pixel trusts its label with ``confidence``; ``scores``: minus the log of the probabilities."""
    confidence: Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)] = 0.7
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
    return {k: _tupled(v) for k, v in value.items()} if isinstance(value, dict) else value


Crf = Annotated[CrfSettings, BeforeValidator(_crf)]


class Threshold(Settings):
    """The constant background score that object scores must exceed."""

    policy: Literal["fixed", "calibrated", "oracle"] = "fixed"
    """``fixed``: ``value``, chosen beforehand; ``calibrated``: best mIoU on ``evaluation.calibration_images`` masks
    of the training split; ``oracle``: best on all masks of the training split (reported as such)."""
    value: Fraction = 0.3
    """For ``policy: fixed``."""


class MasksSettings(Settings):
    """Pseudo masks."""

    cams: Annotated[str, Ref("cams")]
    """The maps they are made from."""
    threshold: Threshold = Threshold()
    """Where an object ends."""
    crf: Crf | None = CrfSettings()
    """A preset's name (labels, labels-1, deeplab, psa), a block (``preset:`` and what differs), or null for none."""
    splits: Splits = ("train", "val")
    """Which images get masks."""


class PredictSettings(InferenceSettings):
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
    """The pseudo masks it learns from; needed unless ``supervision: masks``."""
    supervision: Literal["pseudo", "masks"] = "pseudo"
    """``masks``: learn from the true masks (fully supervised upper bound)."""
    architecture: Literal["deeplabv3plus", "deeplabv3", "unet", "fpn", "pan", "upernet"] = "deeplabv3plus"
    """Architecture of segmentation-models-pytorch."""
    atrous_rates: tuple[Count, Count, Count] = (6, 12, 18)
    """Dilations of the ASPP, for the two DeepLabs."""
    lr: Positive = 0.007
    weight_decay: NonNegative = 4e-5
    accumulate_mode: Literal["sum", "mean"] = "mean"
    augment: Annotated[tuple[Literal["colour-jitter"], ...], BeforeValidator(_listed)] = ("colour-jitter",)
    """Besides resize, flip and crop: ``colour-jitter`` or nothing (RandAugment moves pixels away from their mask)."""
    predict: PredictSettings = PredictSettings()
    """How it is applied; a change here does not train again."""

    @model_validator(mode="after")
    def _one_source(self) -> SegmenterSettings:
        if self.supervision == "pseudo" and self.masks is None:
            raise ValueError(
                "name the pseudo masks ('masks: NAME'), or set 'supervision: masks' to learn from the true ones"
            )
        if self.supervision == "masks" and self.masks is not None:
            raise ValueError("'supervision: masks' learns from the true masks; leave 'masks' out")
        return self


# --- the run ------------------------------------------------------------------------------------------------------


class EvaluationSettings(Settings):
    """How scores are computed and thresholds chosen."""

    threshold: Fraction = 0.3
    """Policy *fixed*: the background score chosen beforehand."""
    calibration_images: Annotated[int, Field(ge=1)] = 20
    """Policy *calibrated*: number of training images whose masks may be looked at to choose the threshold."""
    thresholds: Annotated[int, Field(ge=10, le=1000)] = 100
    """The grid of thresholds is 0, 1/n, ..., (n-1)/n."""


class WorkstationSettings(Settings):
    """This machine; changes here re-run nothing."""

    gpus: Annotated[int, Field(ge=0)] = 1
    """GPU jobs that may run at once when Snakemake runs jobs here."""


KINDS: dict[str, Any] = {
    "datasets": Dataset,
    "classifiers": Classifier,
    "cams": CamsSettings,
    "masks": MasksSettings,
    "segmenters": SegmenterSettings,
}
"""Blocks of named recipes in the order of the chain, and what reads each."""


def classes_of(annotation: Any) -> tuple[str | None, dict[str, type[Settings]]]:
    """The settings classes of a union by the value of the key that chooses between them, and that key.

    A plain class gives ``(None, {"": cls})``.
    """
    if isinstance(annotation, type):
        return None, {"": annotation}
    union, field = get_args(annotation)[:2]
    key = field.discriminator
    return key, {get_args(cls.model_fields[key].annotation)[0]: cls for cls in get_args(union)}


def variants(kind: str) -> dict[str, type[Settings]]:
    """The settings classes of a kind by the value of their discriminator (``{"": cls}`` where there is only one)."""
    return classes_of(KINDS[kind])[1]
