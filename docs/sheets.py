"""What the pictures of the documentation share: a finished study, colours, and sheets of pictures as small files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from wsss.data.images import read_image, read_mask
from wsss.data.index import Index, Item
from wsss.data.transforms import normalise
from wsss.models.classifier import Classifier, load_classifier
from wsss.report.panels import choose_items, paint_mask
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

LARGEST = 149_000
"""Bytes of a picture."""


@dataclass
class Study:
    """A finished run: its index, and its artefacts by the names that the study gives them."""

    folder: Path

    @cached_property
    def index(self) -> Index:
        return Index.load(self.folder / "index")

    @cached_property
    def shown(self) -> list[Item]:
        """Images to show: every class is there, and each has several."""
        return [item for item in choose_items(self.index, 40) if len(item.labels) in (2, 3)]

    def at(self, kind: str, name: str) -> Path:
        return self.folder / "s0" / kind / f"ablation-{name}"

    def maps(self, name: str) -> MapStore:
        return MapStore(self.at("cams", name))

    def masks(self, kind: str, name: str) -> MaskFolder:
        return MaskFolder(self.at(kind, name) / "masks")

    def classifier(self, name: str) -> Classifier:
        return load_classifier(self.at("classifiers", name))[0].eval()


def heat(values: np.ndarray) -> np.ndarray:
    """Values (H, W) in [0, 1] as colours."""
    return (mpl.colormaps["magma"](np.clip(values, 0, 1))[..., :3] * 255).astype(np.uint8)


def over(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map over the image in grey, as colours."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    return (0.4 * grey + 0.6 * heat(values)).astype(np.uint8)


def signed(values: np.ndarray) -> np.ndarray:
    """Values (H, W) of any sign as colours: red above 0, blue below."""
    most = np.abs(values).max() or 1
    return (mpl.colormaps["seismic"](0.5 + values / (2 * most))[..., :3] * 255).astype(np.uint8)


def pixels(tensor: torch.Tensor) -> np.ndarray:
    """A normalised image (3, H, W) as a picture."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((tensor.float() * std + mean).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def tensor(item: Item) -> torch.Tensor:
    """An image as a batch of one, normalised."""
    return torch.from_numpy(normalise(read_image(item.image)))[None]


def truth(item: Item) -> np.ndarray:
    return paint_mask(read_image(item.image), read_mask(item.mask))


def save(figure: Figure, path: Path) -> None:
    """As a small PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    shrink(Image.open(buffer), path)


def shrink(picture: Image.Image, path: Path) -> None:
    """Write a picture as a small PNG of few colours."""
    picture = picture.convert("RGB")
    for colours in (256, 128, 64):
        picture.quantize(colours, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)
        size = path.stat().st_size
        if size <= LARGEST:
            print(f"{path}: {size / 1000:.0f} kB")
            return
    raise SystemExit(f"{path} has {size} bytes, more than {LARGEST}: show less")


def sheet(path: Path, heads: Sequence[str], rows: Sequence[Sequence[np.ndarray | None]], cell: float = 1.25) -> None:
    """A table of pictures under heads."""
    width, height = cell * len(heads), cell * len(rows) + 0.3
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(rows), len(heads), left=0.005, right=0.995, bottom=0.005, top=1 - 0.28 / height, wspace=0.04, hspace=0.04
    )
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            axes = figure.add_subplot(grid[r, c])
            axes.set_axis_off()
            if picture is not None:
                axes.imshow(picture, interpolation="nearest")
            if r == 0:
                axes.set_title(heads[c], fontsize=8, pad=3)
    save(figure, path)
