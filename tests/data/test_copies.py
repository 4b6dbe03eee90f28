"""Copies of images on a disk of the machine that trains: whatever lies there, the pixels are those of the index."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.data.copies import Copies
from wsss.data.images import read_image
from wsss.data.index import Item
from wsss.data.loading import TrainingViews
from wsss.errors import WsssError
from wsss.settings import VanillaSettings

SETTINGS = VanillaSettings(crop=32, long_side=(32, 48), augment=("colour-jitter",))
Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def item(tmp_path: Path) -> Item:
    return photo(tmp_path / "image.png", 1)


def photo(path: Path, seed: int) -> Item:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Item(path.stem, "train", path, None, 20, 30, (0,), True, digest)


def copies_in(folder: Path) -> Copies:
    found = Copies.below(str(folder))
    assert found is not None
    return found


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_views_are_the_same_bits_and_the_shared_disk_is_read_once(tmp_path: Path) -> None:
    for folder in ("here", "shared"):
        (tmp_path / folder).mkdir()
    items = [photo(tmp_path / "here" / f"{number}.png", number % 3) for number in range(4)]
    away = [replace(one, image=Path(shutil.copy(one.image, tmp_path / "shared"))) for one in items]
    copies = copies_in(tmp_path / "node")
    plain, copied = TrainingViews(items, 2, SETTINGS, 0), TrainingViews(away, 2, SETTINGS, 0, copies=copies)
    for epoch in range(3):
        for position in range(len(items)):
            one, other = plain[(epoch, position)], copied[(epoch, position)]
            assert torch.equal(one.pixels, other.pixels) and torch.equal(one.draws, other.draws)
        if epoch == 0:
            shutil.rmtree(tmp_path / "shared")  # the first epoch read it; nothing does again
    assert [path.name for path in files(copies.folder)] == sorted({one.sha256 for one in items})


def test_several_recipes_and_processes_share_copies(item: Item, tmp_path: Path) -> None:
    several = [copies_in(tmp_path / "node") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda one: read_image(one.of(item)), several * 4))
    assert all(np.array_equal(one, read_image(item.image)) for one in read)
    assert [path.name for path in files(tmp_path / "node")] == [item.sha256]
    sent = pickle.loads(pickle.dumps(several[0]))  # to loader processes that are no copies of this one
    assert str(sent.of(item)) == str(item.image)


@pytest.mark.parametrize("spoil", ["cut short", "empty", "another picture", "gone", "a folder"])
def test_a_copy_that_is_not_what_its_name_says_is_made_again(spoil: str, item: Item, tmp_path: Path) -> None:
    copies = copies_in(tmp_path / "node")
    copies.of(item)
    (copy,) = files(copies.folder)
    other = photo(tmp_path / "other.png", 2).image.read_bytes()
    copy.unlink()
    if spoil == "a folder":
        copy.mkdir()
    elif spoil != "gone":
        copy.write_bytes({"cut short": item.image.read_bytes()[:-9], "empty": b"", "another picture": other}[spoil])
    assert np.array_equal(read_image(copies.of(item)), read_image(item.image))
    if spoil != "a folder":
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == item.sha256
    assert not [path for path in copies.folder.rglob(".*")], "nothing is left half written"


def test_an_image_that_changed_since_the_index_is_read_where_it_lies(item: Item, tmp_path: Path) -> None:
    photo(item.image, 3)
    copies = copies_in(tmp_path / "node")
    assert copies.of(item) == item.image and not files(copies.folder)


def test_one_that_is_gone_is_named(item: Item, tmp_path: Path) -> None:
    item.image.unlink()
    with pytest.raises(WsssError, match=r"image\.png: no such image"):
        read_image(copies_in(tmp_path / "node").of(item))


def test_a_full_disk_and_one_that_cannot_be_written_cost_nothing_but_speed(
    item: Item, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for disk, error in ((Disk(1000, 960, 40), None), (Disk(10**9, 0, 10**9), OSError(28, "No space left on device"))):
        copies = copies_in(tmp_path / "node")
        with monkeypatch.context() as patch:
            patch.setattr("wsss.data.copies.shutil.disk_usage", lambda _, disk=disk: disk)
            if error is not None:

                def refuse(path: Path, data: bytes, error: OSError = error) -> int:
                    path.touch()
                    raise error

                patch.setattr(Path, "write_bytes", refuse)
            assert np.array_equal(read_image(copies.of(item)), read_image(item.image))
            assert copies.closed and not files(copies.folder)


def test_where_copies_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_NODE_DISK", str(tmp_path / "job"))
    made = Copies.below("$WSSS_NODE_DISK/images")
    assert made is not None and made.folder.parent == tmp_path / "job" / "images"
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    monkeypatch.delenv("WSSS_NODE_DISK")
    assert Copies.below("${WSSS_NODE_DISK}") is None and Copies.below(None) is None
    (tmp_path / "file").touch()
    assert Copies.below(str(tmp_path / "file")) is None
    trap = tmp_path / "trap" / f"wsss-images-{os.getuid()}"
    trap.parent.mkdir()
    trap.symlink_to(tmp_path)
    assert Copies.below(str(trap.parent)) is None
