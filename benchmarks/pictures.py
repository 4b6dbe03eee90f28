"""Pictures and maps to measure with: drawn, or real photos from a folder; the same in each run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from wsss.errors import WsssError

_folder: list[Path] = []


def use(folder: Path | None) -> None:
    """Real photos from here on; None: drawn pictures."""
    _folder[:] = [] if folder is None else [folder]


def picture(size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3): photos side by side at their own resolution, or smooth fields with sharp borders and grain."""
    return photos(_folder[0], size) if _folder else drawn(size)


def drawn(size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    fields = gaussian_filter(rng.normal(size=(6, *size)), (0, 20, 20), truncate=3)
    fields /= fields.std()
    colours = np.where(fields[3:] > 0, 160, 60) + 35 * fields[:3]
    grain = gaussian_filter(rng.normal(size=(3, *size)), (0, 0.6, 0.6))  # as a camera's, after JPEG: not white
    return np.clip(colours + 3 * grain / grain.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def photos(folder: Path, size: tuple[int, int]) -> np.ndarray:
    paths = iter(sorted(folder.glob("*.jpg")))
    canvas = np.zeros((*size, 3), np.uint8)
    top = 0
    try:
        while top < size[0]:
            left = low = 0
            while left < size[1]:
                photo = np.asarray(Image.open(next(paths)).convert("RGB"))
                part = canvas[top:, left:][: photo.shape[0], : photo.shape[1]]
                part[:] = photo[: part.shape[0], : part.shape[1]]
                left += photo.shape[1]
                low = min(low or photo.shape[0], photo.shape[0])
            top += low
    except StopIteration:
        raise WsssError(f"{folder} has too few JPEG files for a picture of {size[0]} x {size[1]}") from None
    return canvas


def probabilities(size: tuple[int, int], likely: int, labels: int, seed: int) -> np.ndarray:
    """float32 (labels, H, W) that sum to 1: ``likely`` labels contend, the others stay below 1 %."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(labels, *size)), (0, 20, 20), truncate=3)
    fields *= 4 / fields.std()
    fields[likely:] = fields[likely:] / 8 - 8 + fields[:likely].max(0)
    scores = np.exp(fields - fields.max(0))
    return (scores / scores.sum(0)).astype(np.float32)
