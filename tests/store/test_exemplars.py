"""The file of a memory: what is written is what is read, damage is noticed, and five lines read it without us."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.store.exemplars import Exemplar, Exemplars, jpeg, png, write_exemplars

SIZE = (20, 30)


def drawn(number):
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def some() -> list[Exemplar]:
    labels = np.zeros(SIZE, np.uint8)
    labels[4:9, 5:9], labels[:2] = 3, 255
    box = np.array([[2, 3, 12, 13]], np.uint16)
    two = np.array([[0, 0, 5, 5], [10, 20, 20, 30]], np.uint16)
    none = np.zeros((0, 4), np.uint16)
    image = drawn(0)
    crops = tuple(png(np.ascontiguousarray(image[t:b, left:r])) for t, left, b, r in two.tolist())
    return [
        Exemplar("a/b", SIZE, (2,), jpeg(image, 20), box, (png(image[2:12, 3:13].copy()),), encode_mask(labels)),
        Exemplar("é", SIZE, (), b"", two, crops, encode_mask(np.zeros(SIZE, np.uint8))),
        Exemplar("whole", SIZE, (0, 2), png(image), none, (), encode_mask(labels)),
    ]


@pytest.fixture
def memory(tmp_path):
    write_exemplars(tmp_path / "memory.h5", some(), {"method": "salient"})
    return tmp_path / "memory.h5"


def test_what_is_written_is_read(memory):
    found = Exemplars(memory)
    assert found.ids == ["a/b", "é", "whole"] and len(found) == 3 and "é" in found and "e" not in found
    assert found.attributes["method"] == "salient"
    for one, was in zip(found, some(), strict=True):
        for name in ("id", "size", "tags", "context", "crops", "mask", "bytes"):
            assert getattr(one, name) == getattr(was, name)
        np.testing.assert_array_equal(one.boxes, was.boxes)
    image = drawn(0)
    np.testing.assert_array_equal(found["whole"].image(), image)
    np.testing.assert_array_equal(found["a/b"].image()[2:12, 3:13], image[2:12, 3:13])
    np.testing.assert_array_equal(found["é"].image()[10:, 20:], image[10:, 20:])
    assert found["é"].reliable().sum() == 125 and found["whole"].reliable().all()
    labels = found["a/b"].labels()
    assert labels.dtype == np.uint8 and (labels[:2] == 255).all() and (labels == 3).sum() == 20
    with pytest.raises(WsssError, match="no exemplar 'x'"):
        found["x"]


def test_bytes_are_what_lies_in_the_file(memory):
    with h5py.File(memory) as file:
        lengths = sum(len(file[name]) for name in ("context", "crop", "labels")) + file["box"].size * 2
        assert all(file[name].ndim == 1 and file[name].dtype == np.uint8 for name in ("context", "crop", "labels"))
    assert Exemplars(memory).bytes == lengths == sum(one.bytes for one in some())


def test_another_program_needs_five_lines(memory):
    with h5py.File(memory) as file:
        start, end = file["context_end"][[0, 2]][0], file["context_end"][2]
        assert start == file["context_end"][1], "the second has no context"
        picture = Image.open(io.BytesIO(file["context"][start:end].tobytes()))
        np.testing.assert_array_equal(np.asarray(picture), drawn(0))


def test_an_empty_memory_can_be_read(tmp_path):
    write_exemplars(tmp_path / "memory.h5", [], {})
    found = Exemplars(tmp_path / "memory.h5")
    assert len(found) == 0 == found.bytes and list(found) == []


def test_equal_exemplars_make_equal_content(memory, tmp_path):
    write_exemplars(tmp_path / "again.h5", some(), {"method": "salient"})
    with h5py.File(memory) as one, h5py.File(tmp_path / "again.h5") as other:
        for name in one:
            np.testing.assert_array_equal(one[name][()], other[name][()])


def test_damage_is_noticed(memory, tmp_path):
    with pytest.raises(WsssError, match="cannot be read as a memory"):
        Exemplars(tmp_path / "nothing.h5")
    whole = memory.read_bytes()
    memory.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WsssError, match="make the memory again"):
        Exemplars(memory)
    memory.write_bytes(whole)
    with h5py.File(memory, "a") as file:
        kept = file["context"][:-3]
        del file["context"]
        file["context"] = kept
    with pytest.raises(WsssError, match="is damaged"):
        Exemplars(memory)
    memory.write_bytes(whole)
    with h5py.File(memory, "a") as file:
        file["context"][:20] = 0
    with pytest.raises(WsssError, match="exemplar 'a/b' cannot be decoded"):
        Exemplars(memory)["a/b"].image()
    with h5py.File(memory, "a") as file:
        file.attrs["format"] = "wsss-maps"
    with pytest.raises(WsssError, match="is no memory of version 1"):
        Exemplars(memory)


def test_a_killed_writer_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("wsss.store.exemplars._ends", fail)
    with pytest.raises(KeyboardInterrupt):
        write_exemplars(tmp_path / "memory.h5", some(), {})
    assert not list(tmp_path.iterdir())
