"""Mask folders."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Item
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.stages.segmenter import OwnOr
from wsss.store.masks import FileOf, MaskFolder
from wsss.system.packs import write_packs


def test_what_goes_in_comes_out(tmp_path):
    rng = np.random.default_rng(0)
    folder = MaskFolder(tmp_path / "masks")
    masks = {id: rng.integers(0, 256, (7, 11)).astype(np.uint8) for id in ("a", "deep/er/ñ 1", "2.5.x", "b.png")}
    for id, mask in masks.items():
        folder.write(id, mask)
    assert folder.ids() == sorted(masks)
    for id, mask in masks.items():
        found = folder.read(id)
        assert found.dtype == np.uint8 and id in folder
        np.testing.assert_array_equal(found, mask)
    assert "c" not in folder


def test_viewers_see_voc_colours(tmp_path):
    folder = MaskFolder(tmp_path)
    folder.write("a", np.array([[0, 1, 15, 255]], np.uint8))
    with Image.open(folder.file("a")) as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(colours[0], [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]])


def test_equal_masks_give_equal_bytes_and_nothing_is_left(tmp_path):
    folder = MaskFolder(tmp_path)
    for id in ("a", "b"):
        folder.write(id, np.ones((3, 4), np.uint8))
    assert folder.file("a").read_bytes() == folder.file("b").read_bytes()
    with pytest.raises(ValueError):
        folder.write("c", np.ones((3, 4), np.int64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_wrong_files_are_refused(tmp_path):
    folder = MaskFolder(tmp_path)
    with pytest.raises(WsssError, match="missing.*'a'"):
        folder.read("a")
    Image.new("RGB", (4, 3)).save(tmp_path / "rgb.png")
    with pytest.raises(WsssError, match="8-bit"):
        folder.read("rgb")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    with pytest.raises(WsssError, match="cannot be read"):
        folder.read("broken")
    for id in ("../out", "/etc/x", ""):
        with pytest.raises(WsssError, match="file name"):
            folder.write(id, np.zeros((1, 1), np.uint8))


def test_a_folder_as_the_target_of_a_training_can_be_sent_to_loader_processes(tmp_path):
    """From Python 3.14 on they are no copies of this one."""
    item = Item("a/b", "train", tmp_path / "i.png", None, 2, 3, (0,), True)
    assert pickle.loads(pickle.dumps(FileOf(MaskFolder(tmp_path))))(item) == tmp_path / "a" / "b.png"
    own = pickle.loads(pickle.dumps(OwnOr({"x": tmp_path / "x.png"}, FileOf(MaskFolder(tmp_path)))))
    assert own(item) == tmp_path / "a" / "b.png" and own(replace(item, id="x")) == tmp_path / "x.png"


def test_the_page_on_formats_reads_packed_masks(tmp_path, monkeypatch):
    mask = np.array([[0, 1, 255]], np.uint8)
    write_packs(tmp_path / "masks", [("val-00000.png", encode_mask(mask))], 1)
    page = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page.split("### Packed masks")[1].split("\n### ")[0], re.S)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    np.testing.assert_array_equal(np.asarray(names["mask"]), mask)
