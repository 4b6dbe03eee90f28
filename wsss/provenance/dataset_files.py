"""The user's own files that a configuration names: what they are, so that the workflow can watch their content."""

from __future__ import annotations

import os

from wsss.settings import CocoSettings, DatasetSettings, FolderSettings, VocSettings


def tables(dataset: DatasetSettings) -> list[str]:
    """Small files that a dataset is described by."""
    s = dataset
    if isinstance(s, FolderSettings):
        classes = s.classes if isinstance(s.classes, str) else None
        return [path for path in (s.labels, classes, s.train, s.val) if path]
    if isinstance(s, VocSettings):
        return [voc_list(s.root, name) for name in (s.train, s.val, s.score) if name]
    if isinstance(s, CocoSettings):
        return [f"{s.root}/annotations/instances_{split}{s.year}.json" for split in ("train", "val")]
    return []


def trees(dataset: DatasetSettings) -> list[str]:
    """Folders of images and masks that a dataset reads."""
    s = dataset
    if isinstance(s, FolderSettings):
        return [path for path in (s.images, s.masks) if path]
    if isinstance(s, VocSettings):
        inside = [f"{s.root}/{part}" for part in ("JPEGImages", "Annotations", "SegmentationClass")]
        return inside + ([s.sbd] if s.sbd else [])
    if isinstance(s, CocoSettings):
        return [f"{s.root}/{split}{s.year}" for split in ("train", "val")]
    return []


def voc_list(root: str, name: str) -> str:
    """A list of VOC by its short name, or the path that was given."""
    named = f"{root}/ImageSets/Segmentation/{name}.txt"
    return name if os.path.isfile(name) and not os.path.isfile(named) else named
