"""Datasets: one class per kind; ``kind`` names the module in ``wsss.data``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Fraction, Neutral, Settings, as_number


class DatasetSettings(Settings):
    """What every dataset has."""

    broken: Literal["fail", "drop"] = "fail"
    """What to do with broken items: ``fail`` lists all problems and stops; ``drop`` leaves them out, lists them in
    ``report.json``, and every later count mentions them."""


class ScenesSettings(DatasetSettings):
    """Generated scenes with exact masks; see ``wsss.data.kinds.scenes`` for which effect shows where."""

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
    """Text file with one class name per line, or a list of names; absent: the sorted names found in the tags."""
    masks: str | None = None
    """Folder of 8-bit masks ``ID.png`` (0 background, c the c-th class, 255 ignore). Only scoring and
    ``supervision: masks`` read them."""
    mask_order: Annotated[Literal["test", "trust"], Neutral("test")] = "test"
    """``test``: stop where masks fit the tags much better in another order of classes; ``trust``: the order is right,
    however noisy the tags are."""
    train: str | None = None
    """Text file of ids, one per line; absent: a random share."""
    val: str | None = None
    """Text file of ids, one per line; absent: a random share."""
    val_share: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] = 0.1
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
