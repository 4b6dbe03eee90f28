"""What the examples of all readers have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss.data.index import Item
from wsss.errors import WsssError

SIZE = (12, 17)
LABELS = {"a": (0, 2), "b": (1,), "c/d": ()}
CLASSES = ("cat", "dog", "owl")
SHARD = "shard-00000-of-00001.h5"
LARGEST = 4_000_000
"""Pixels of what is decoded here; readers may give more, but not more than Pillow would open."""


def photo(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).convert(mode)


def items() -> list[Item]:
    return [Item(id, "train", Path(f"{id}.jpg"), None, *SIZE, labels, False) for id, labels in LABELS.items()]


def is_texts(values: Any) -> bool:
    return all(type(one) is str for one in values)


class Named(WsssError):
    """An error whose text was checked already."""
