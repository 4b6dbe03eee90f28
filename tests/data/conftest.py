"""A small folder of photos with tags, masks and lists, sound at first; tests break it in one place at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Index
from wsss.data.palette import write_mask
from wsss.errors import WsssError
from wsss.settings import FolderSettings
from wsss.stages.index import build_index

SIZE = (30, 40)


class Photos:
    """Eight images (six to train, two to validate) of cats and dogs, 30 high and 40 wide."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tags = {f"p{k}": ("cat",) if k % 2 else ("cat", "dog") for k in range(8)}
        self.lists = {"train": [f"p{k}" for k in range(6)], "val": ["p6", "p7"]}
        self.header = "id,labels"
        self.settings: dict = {}
        for k, (id, names) in enumerate(self.tags.items()):
            self.paint(id, k)
            mask = np.zeros(SIZE, np.uint8)
            mask[:5] = 255
            for value, name in enumerate(("cat", "dog"), 1):
                if name in names:
                    mask[10 * value - 5 : 10 * value] = value
            write_mask(root / "masks" / f"{id}.png", mask)

    def image(self, id: str) -> Path:
        return self.root / "images" / f"{id}.png"

    def mask(self, id: str) -> Path:
        return self.root / "masks" / f"{id}.png"

    def paint(self, id: str, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
        self.image(id).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(self.image(id))

    def build(self, **changes) -> Index:
        rows = [f"{id},{';'.join(names)}" for id, names in self.tags.items()]
        self.root.joinpath("tags.csv").write_text("\n".join([self.header, *rows, ""]), "utf-8")
        lists = {}
        for name, ids in self.lists.items():
            lists[name] = str(self.root / f"{name}.txt")
            Path(lists[name]).write_text("".join(f"{id}\n" for id in ids), "utf-8")
        base = {"images": self.root / "images", "labels": self.root / "tags.csv", "masks": self.root / "masks"}
        values = {**{k: str(v) for k, v in base.items()}, **lists, **self.settings, **changes}
        return build_index(FolderSettings.read(values), "photos", self.root / "index", threads=2)

    def complaint(self, **changes) -> list[str]:
        """The lines of the error, without the first and the hint at the end."""
        with pytest.raises(WsssError) as caught:
            self.build(**changes)
        return [line.strip() for line in str(caught.value).splitlines() if line.startswith("  ")]


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)
