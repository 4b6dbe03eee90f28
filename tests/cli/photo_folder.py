"""A folder of photos with tags as somebody might keep them, sound at first, and machines to look at them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsss.cli.hardware import Machine, Weights
from wsss.config.loader import Config, load
from wsss.config.yaml import read_yaml
from wsss.data.palette import write_mask

CPU, GPU = Machine(0, cores=2), Machine(2, "A GPU (80 GiB)", 16)
TRAINED = Weights("mobilenetv2_100", "w.safetensors", "w.safetensors (given)")
NONE = Weights("resnet10t", False, "none")


class PhotoFolder:
    """Twelve photos of cats and dogs, 64 wide and 48 high, in ``photos/``, and their tags in ``tags.csv``."""

    def __init__(self, root: Path, count: int = 12) -> None:
        self.root, self.photos, self.table = root, root / "photos", root / "tags.csv"
        self.tags = {f"p{k:02d}": [("cat",), ("dog",), ("cat", "dog")][k % 3] for k in range(count)}
        for k, id in enumerate(self.tags):
            self.paint(id, k)
        self.write()

    def paint(self, id: str, seed: int = 0, size: tuple[int, int] = (64, 48), suffix: str = ".jpg") -> Path:
        """Noise with a square; ``size``: (width, height)."""
        path = self.photos / f"{id}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        pixels = rng.integers(60, 160, (size[1], size[0], 3), np.uint8)
        y, x = rng.integers(0, max(1, size[1] - 20)), rng.integers(0, max(1, size[0] - 20))
        pixels[y : y + 20, x : x + 20] = (200, 40, 40) if seed % 3 == 0 else (40, 200, 40)
        Image.fromarray(pixels).save(path)
        return path

    def write(self, header: str = "id,labels", joined: str = ";") -> None:
        rows = [f'{id},"{joined.join(names)}"' for id, names in self.tags.items()]
        self.table.write_text("\n".join([header, *rows, ""]), "utf-8")

    def mask(self, id: str, value: int = 1, folder: str = "masks") -> None:
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, 10:30] = value
        write_mask(self.root / folder / f"{id}.png", mask)


def written(path: str = "config.yaml") -> Config:
    """What ``wsss init`` wrote."""
    return load(read_yaml(path))
