"""A little dataset with exact masks, its index, and maps that follow the masks roughly."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Index, Item, write_index
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder

CLASSES = ("cat", "dog", "red cow")
ROOT = Path(__file__).resolve().parents[2]


def truth_of(rng, height, width):
    """A mask of one or two rectangles on background, with an ignored frame around the first."""
    mask = np.zeros((height, width), np.uint8)
    for c in sorted(rng.permutation(len(CLASSES))[: rng.integers(1, 3)]):
        y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
        mask[y : y + height // 2, x : x + width // 2] = 255
        mask[y + 1 : y + height // 2 - 1, x + 1 : x + width // 2 - 1] = c + 1
    return mask


def make_index(folder, train=8, val=5, masks=True):
    rng = np.random.default_rng(3)
    items = []
    for number in range(train + val):
        split = "train" if number < train else "val"
        id = f"{split}/img {number}é"
        height, width = int(rng.integers(20, 40)), int(rng.integers(20, 40))
        mask = truth_of(rng, height, width)
        if number == 1:
            mask[:] = 0
        image = (mask[..., None] % 4 * 60 + rng.integers(0, 20, (height, width, 3))).astype(np.uint8)
        paths = []
        for kind, array in (("images", image), ("masks", mask)):
            path = folder / kind / f"{id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
            paths.append(path)
        labels = tuple(int(c) - 1 for c in np.unique(mask) if 0 < c < 255)
        scored = masks and number != 0
        items.append(Item(id, split, paths[0], paths[1] if masks else None, height, width, labels, scored))
    write_index(folder, CLASSES, items)
    report = {"dataset": "little", "dropped": [{"split": "train", "id": "lost", "reasons": []}]}
    (folder / "report.json").write_text(json.dumps(report))
    write_manifest(folder, {"stage": "index"})
    return Index.load(folder)


def make_cams(folder, index, splits=("train", "val"), leave_out=()):
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    items = [i for s in splits for i in index.split(s) if i.id not in leave_out]
    for number in range(2):
        with MapWriter(folder / shard_name(number, 2), scales=(1.0, 2.0), flip=False, stride=4) as writer:
            for item in items[number::2]:
                truth = np.asarray(Image.open(str(item.image).replace("/images/", "/masks/")))
                maps = []
                for step in (4, 2):
                    cells = np.stack([truth[::step, ::step] == c + 1 for c in item.labels]) if item.labels else []
                    maps.append(np.float32(cells) + 0.4 * rng.random(np.shape(cells)).astype(np.float32))
                writer.add(item.id, item.labels, (item.height, item.width), maps if item.labels else [])
    write_manifest(folder, {"stage": "cams", "settings": {"splits": list(splits)}, "seed": 0, "inputs": {}})
    return folder


def make_masks(folder, index, change=lambda mask: mask, splits=("train", "val"), **facts):
    out = MaskFolder(folder / "masks")
    for split in splits:
        for item in index.split(split):
            mask = np.array(Image.open(str(item.image).replace("/images/", "/masks/")))
            mask[mask == 255] = 0
            out.write(item.id, change(mask))
    write_manifest(folder, {"stage": "masks", "settings": {"splits": list(splits)}, "seed": 0, "inputs": {}, **facts})
    return folder


def run_stage(name, *arguments, code=0):
    """Run a stage program in this process (loading torch anew takes seconds); return what it printed on stderr."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        patch.syspath_prepend(ROOT / "stages")
        try:
            runpy.run_path(str(ROOT / "stages" / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            assert end.code == code, said.getvalue()
        else:
            assert code == 0
    return said.getvalue()


@pytest.fixture(scope="session")
def little():
    """The helpers of this file, for tests (which cannot import it)."""
    return SimpleNamespace(classes=CLASSES, index=make_index, cams=make_cams, masks=make_masks, run_stage=run_stage)


@pytest.fixture
def index(tmp_path):
    return make_index(tmp_path / "index")
