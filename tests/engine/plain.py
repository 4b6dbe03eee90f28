"""Slow and obviously right forms that several tests compare with."""

from __future__ import annotations

from pathlib import Path

import torch

from wsss.data.images import read_image
from wsss.data.loading import resized
from wsss.data.transforms import normalise


def seen(path: Path, scale: float) -> torch.Tensor:
    """One normalised view (1, 3, h, w) of a picture."""
    picture = read_image(path)
    size = tuple(round(side * scale) for side in picture.shape[:2])
    return torch.from_numpy(normalise(resized(torch.from_numpy(picture), size).numpy()))[None]
