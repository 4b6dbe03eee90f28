"""A few pictures with tags, maps of them, and runs without a command line."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import wsss.stages.ensemble
import wsss.stages.vote
from tests.refine.shared import SETTINGS
from wsss.data.index import Index, Item, write_index
from wsss.runtime.run import Run
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

CLASSES = ("cat", "dog", "red cow")


@pytest.fixture(scope="session")
def pictures():
    """``pictures(folder)``: an index of 6 training and 3 validation images of several sizes, two without tags."""

    def build(folder):
        items = []
        for number in range(9):
            rng = np.random.default_rng(number)
            height, width = 17 + 3 * (number % 4), 22 + number
            id, split = f"deep/é {number}", "train" if number < 6 else "val"
            path = folder / "images" / f"{id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
            labels = () if number in (4, 8) else tuple(sorted(rng.permutation(3)[: 1 + number % 2].tolist()))
            items.append(Item(id, split, path, None, height, width, labels, False))
        write_index(folder, CLASSES, items)
        write_json(folder / "report.json", {"dataset": "pictures", "dropped": []})
        write_manifest(folder, {"stage": "index"})
        return Index.load(folder)

    return build


@pytest.fixture(scope="session")
def make_maps():
    """``make_maps(folder, index, of)``: a store in which ``of(item)`` gives an image's classes and maps (n, h, w)."""

    def make(folder, index, of, *, relative=1, shards=2, leave_out=(), size=None, **manifest):
        folder.mkdir(parents=True)
        items = [item for item in index.items if item.id not in leave_out]
        for number in range(shards):
            path, about = folder / shard_name(number, shards), {"relative": relative}
            with MapWriter(path, scales=(1.0,), flip=False, stride=4, attributes=about) as writer:
                for item in items[number::shards]:
                    classes, maps = of(item)
                    writer.add(item.id, classes, size or (item.height, item.width), [maps] if len(classes) else [])
        write_manifest(folder, {"settings": {"splits": ["train", "val"]}, "seed": 0, "inputs": {}, **manifest})
        return folder

    return make


@pytest.fixture
def make_run(tmp_path):
    """``make_run(stage, settings, inputs, name)``: a run of a stage in a folder of its own; ``shard``: of a shard."""

    def make(stage, settings, inputs, name="out", seed=0, threads=1, shard=None):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        args = SimpleNamespace(out=out, state=None, seed=seed, threads=threads, device="cpu", shard=shard)
        return Run(args, settings, inputs, stage)

    return make


@pytest.fixture
def members(tmp_path, pictures, make_maps):
    """Two members that are maps and masks in one."""
    index = pictures(tmp_path / "index")
    folders = []
    for number in range(2):
        rng = np.random.default_rng(number)

        def of(item, rng=rng):
            return item.labels, rng.random((len(item.labels), 5, 6))

        folder = make_maps(tmp_path / f"m{number}", index, of)
        for item in index.items:
            mask = rng.choice([0, 1, 3, 255], (item.height, item.width)).astype(np.uint8)
            MaskFolder(folder / "masks").write(item.id, mask)
        folders.append(folder)
    return {"index": index.folder, "members.0": folders[0], "members.1": folders[1]}


@pytest.fixture
def at(make_run, members):
    """``at(stage, name, shard=..., threads=...)``: a run on these inputs."""

    def make(stage, name="out", shard=None, **more):
        settings = more.pop("settings", SETTINGS[stage])
        return make_run("vote" if stage == "packed" else stage, settings, members, name, shard=shard, **more)

    return make


@pytest.fixture
def counted(monkeypatch):
    """Grows with each image that is worked on in this process."""
    seen = []

    def counting(original):
        return lambda *given: (seen.append(1), original(*given))[1]

    monkeypatch.setattr(wsss.stages.ensemble, "combine", counting(wsss.stages.ensemble.combine))
    monkeypatch.setattr(wsss.stages.vote, "count_pairs", counting(wsss.stages.vote.count_pairs))
    return seen


@pytest.fixture
def index_and_maps(tmp_path, pictures, make_maps):
    """An index, maps and saliency of it."""
    index = pictures(tmp_path / "index")
    rng = np.random.default_rng(1)
    cams = make_maps(tmp_path / "cams", index, lambda item: (item.labels, rng.random((len(item.labels), 5, 6))))
    saliency = make_maps(tmp_path / "saliency", index, lambda item: ((0,), rng.random((1, 9, 11))), relative=0)
    return index, cams, saliency
