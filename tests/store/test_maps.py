"""The map store: what goes in comes out, views equal their definition, broken folders are refused."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss.errors import WsssError
from wsss.store.map_shards import MapShard, shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.views import decode_full, decode_low

SCALES = (0.5, 1.0, 2.0)


def make_image(rng, n, size):
    shapes = [(max(1, round(s * size[0]) // 16 + 1), max(1, round(s * size[1]) // 16 + 1)) for s in SCALES]
    return [rng.random((n, h, w)).astype(np.float32) for h, w in shapes]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    sizes = {"a": (33, 50), "deep/ñ 1": (64, 48), "none": (17, 31), "d": (5, 4), "e": (40, 40)}
    counts = {"a": 2, "deep/ñ 1": 1, "none": 0, "d": 3, "e": 1}
    return {id: (list(range(4, 4 + counts[id])), size, make_image(rng, counts[id], size)) for id, size in sizes.items()}


def write(folder, images, shards=2, **kwargs):
    folder.mkdir(exist_ok=True)
    settings = {"scales": SCALES, "flip": True, "stride": 16, **kwargs}
    for i in range(shards):
        with MapWriter(folder / shard_name(i, shards), **settings) as writer:
            for id in list(images)[i::shards]:
                writer.add(id, *images[id])
    (folder / "manifest.json").write_text("{}")
    return folder


def straight(maps, size, target, crop):
    """The definition, in PyTorch, one map at a time."""
    views = []
    for k in range(len(maps[0])):
        one = [torch.tensor(m[k])[None, None] for m in maps]
        resized = [F.interpolate(m, target, mode="bilinear", align_corners=False)[0, 0] for m in one]
        total = sum(resized[1:], start=resized[0])[: crop[0], : crop[1]]
        views.append((total / (total.max() + 1e-5)).numpy())
    return np.stack(views) if views else np.zeros((0, *crop), np.float32)


def bilinear(map_, height, width):
    """The definition of a bilinear resize, pixel by pixel in float64."""
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * map_.shape[0] / height - 0.5, 0), map_.shape[0] - 1)
            u = min(max((x + 0.5) * map_.shape[1] / width - 0.5, 0), map_.shape[1] - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, map_.shape[0] - 1), min(x0 + 1, map_.shape[1] - 1)
            a, b = v - y0, u - x0
            above, below = map_[y0, x0] * (1 - b) + map_[y0, x1] * b, map_[y1, x0] * (1 - b) + map_[y1, x1] * b
            out[y, x] = above * (1 - a) + below * a
    return out


@pytest.mark.parametrize("shards", [1, 2, 5, 7])
def test_what_goes_in_comes_out(tmp_path, images, shards):
    store = MapStore(write(tmp_path / "maps", images, shards))
    assert sorted(store.ids) == sorted(images) and len(store) == len(images)
    for id, (classes, size, maps) in reversed(images.items()):
        record = store[id]
        assert record.classes.dtype == np.int64 and record.classes.tolist() == classes and record.size == size
        assert len(record.maps) == len(SCALES)
        for got, expected in zip(record.maps, maps, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, expected)
    assert "none" in store and "nobody" not in store


def test_views_are_bit_exact(tmp_path, images):
    store = MapStore(write(tmp_path / "maps", images))
    for id, (_, (h, w), maps) in images.items():
        low, full = store.low(id), store.full(id)
        assert low.shape == (len(maps[0]), (h - 1) // 4 + 1, (w - 1) // 4 + 1) and low.dtype == np.float32
        assert full.shape == (len(maps[0]), h, w) and full.dtype == np.float32
        np.testing.assert_array_equal(low, straight(maps, (h, w), low.shape[1:], low.shape[1:]))
        rounded = ((h + 15) // 16 * 16, (w + 15) // 16 * 16)
        np.testing.assert_array_equal(full, straight(maps, (h, w), rounded, (h, w)))
        # specification, section 22, check 6
        assert (full >= 0).all() and (full < 1).all() and (full.max(axis=(1, 2)) > 0.99).all()


def test_view_against_pixel_by_pixel_definition():
    rng = np.random.default_rng(1)
    maps = make_image(rng, 1, (9, 14))
    total = sum(bilinear(m[0].astype(np.float64), 16, 16) for m in maps)[:9, :14]
    np.testing.assert_allclose(decode_full(maps, (9, 14))[0], total / (total.max() + 1e-5), atol=1e-6)


def test_view_by_hand():
    maps = [np.array([[[0.0, 1.0]]], np.float32)]
    # cells of 2 pixels: sampling points at -0.25, 0.25, 0.75, 1.25 between the two values
    expected = np.array([0, 0.25, 0.75, 1]) / (1 + 1e-5)
    np.testing.assert_allclose(decode_full(maps, (1, 4), round_to=1)[0, 0], expected, atol=1e-7)
    np.testing.assert_array_equal(decode_low([np.zeros((2, 3, 3), np.float32)], (8, 9)), np.zeros((2, 2, 3)))


def test_round_to_is_kept(tmp_path, images):
    store = MapStore(write(tmp_path / "maps", images, round_to=1))
    _, size, maps = images["a"]
    np.testing.assert_array_equal(store.full("a"), decode_full(maps, size, 1))
    assert not np.array_equal(store.full("a"), decode_full(maps, size, 16))


def test_attributes(tmp_path, images):
    folder = write(tmp_path / "maps", images, attributes={"weights": "abc"})
    store = MapStore(folder)
    assert store.attributes["weights"] == "abc" and store.attributes["stride"] == 16 and store.attributes["flip"]
    assert store.attributes["scales"].tolist() == list(SCALES)
    with h5py.File(folder / shard_name(0, 2)) as file:
        assert file["data"].dtype == np.float32 and file["data"].ndim == 1


def _read(folder, ids, queue):
    store = MapStore(folder)
    queue.put(sum(float(store.full(id).sum()) for id in ids))


def _read_open(store, ids, queue):
    queue.put(sum(float(store[id].maps[0].sum()) for id in ids))


def test_many_readers_and_forks(tmp_path, images):
    store = MapStore(write(tmp_path / "maps", images))
    expected = sum(float(store[id].maps[0].sum()) for id in images)  # opens the handles in this process
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_read_open, args=(store, list(images), queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=20) for _ in workers] == [expected] * 3
    for worker in workers:
        worker.join()


def _write_and_hang(path, ready):
    with MapWriter(path, scales=[1], flip=False, stride=16) as writer:
        writer.add("a", [0], (8, 8), [np.ones((1, 1024, 1200), np.float32)])
        ready.set()
        time.sleep(60)


def test_killed_writer_leaves_no_shard(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=_write_and_hang, args=(tmp_path / shard_name(0, 1), ready))
    worker.start()
    assert ready.wait(20)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    (tmp_path / "manifest.json").write_text("{}")
    assert not list(tmp_path.glob("shard-*"))
    with pytest.raises(WsssError, match="no shard"):
        MapStore(tmp_path)


def test_a_shard_lies_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, order = tmp_path / shard_name(0, 1), []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append(os.readlink(f"/proc/self/fd/{file}")), flush(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(str(b)), rename(a, b)))
    with MapWriter(path, scales=[1], flip=False, stride=16) as writer:
        writer.add("a", [0], (8, 8), [np.ones((1, 2, 2), np.float32)])
    flushed, renamed = order
    assert flushed.endswith(".tmp") and renamed == str(path) and MapShard(path).ids == ["a"]


def test_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), MapWriter(tmp_path / shard_name(0, 1), scales=[1], flip=False, stride=16):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_broken_folders_are_refused(tmp_path, images):
    folder = write(tmp_path / "maps", images, 3)
    with pytest.raises(WsssError, match="'nobody'"):
        MapStore(folder)["nobody"]
    (folder / "manifest.json").unlink()
    with pytest.raises(WsssError, match="manifest"):
        MapStore(folder)
    (folder / "manifest.json").write_text("{}")
    content = (folder / shard_name(1, 3)).read_bytes()
    (folder / shard_name(1, 3)).write_bytes(content[: len(content) // 2])
    with pytest.raises(WsssError, match="shard-00001-of-00003.h5"):
        MapStore(folder)
    (folder / shard_name(1, 3)).unlink()
    with pytest.raises(WsssError, match="missing shard-00001-of-00003.h5"):
        MapStore(folder)
    with MapWriter(folder / shard_name(1, 3), scales=SCALES, flip=True, stride=16) as writer:
        writer.add("a", *images["a"])
    with pytest.raises(WsssError, match="'a'"):
        MapStore(folder)
    with h5py.File(folder / shard_name(1, 3), "w"):
        pass
    with pytest.raises(WsssError, match="no map shard"):
        MapShard(folder / shard_name(1, 3))


def test_shards_of_two_settings_are_refused(tmp_path, images):
    folder = write(tmp_path / "maps", {"a": images["a"], "e": images["e"]}, 2)
    with MapWriter(folder / shard_name(1, 2), scales=SCALES, flip=False, stride=16) as writer:
        writer.add("e", *images["e"])
    with pytest.raises(WsssError, match="'flip'"):
        MapStore(folder)


@pytest.mark.parametrize(
    ("id", "classes", "maps", "said"),
    [
        ("a", [0], [np.ones((1, 2, 2))], "twice"),
        ("b", [0, 0], [np.ones((2, 2, 2))], "differ"),
        ("b", [0], [np.ones((2, 2, 2))], "shape"),
        ("b", [0], [np.ones((1, 2, 2))] * 2, "shape"),
        ("b", [0], [np.full((1, 2, 2), np.nan)], "NaN"),
        ("b", [0], [np.full((1, 2, 2), -1.0)], "ReLU"),
    ],
)
def test_wrong_additions_are_refused(tmp_path, id, classes, maps, said):
    with MapWriter(tmp_path / shard_name(0, 1), scales=[1], flip=False, stride=16) as writer:
        writer.add("a", [0], (8, 8), [np.ones((1, 2, 2), np.float32)])
        with pytest.raises(WsssError, match=said):
            writer.add(id, classes, (8, 8), maps)


@pytest.mark.parametrize("maps", [[], [np.zeros((0, 2, 2), np.float32)]])
def test_only_empty_images(tmp_path, maps):
    with MapWriter(tmp_path / shard_name(0, 1), scales=[1], flip=False, stride=16) as writer:
        writer.add("a", [], (8, 9), maps)
    (tmp_path / "manifest.json").write_text("{}")
    store = MapStore(tmp_path)
    assert store.full("a").shape == (0, 8, 9) and store.low("a").shape == (0, 2, 3)


def test_absolute_maps_are_averaged_and_not_divided(tmp_path, images):
    store = MapStore(write(tmp_path / "maps", images, attributes={"relative": 0}))
    assert not store.relative and MapStore(write(tmp_path / "others", images)).relative
    for id, (_, (h, w), maps) in images.items():
        for view, target, size in (
            (store.low(id), ((h - 1) // 4 + 1, (w - 1) // 4 + 1), ((h - 1) // 4 + 1, (w - 1) // 4 + 1)),
            (store.full(id), (-(-h // 16) * 16, -(-w // 16) * 16), (h, w)),
        ):
            assert view.shape == (len(maps[0]), *size)
            for k, map_ in enumerate(view):
                mean = sum(bilinear(m[k], *target) for m in maps) / len(maps)
                np.testing.assert_allclose(map_, mean[: size[0], : size[1]], atol=1e-5)


def test_shares_are_kept_in_levels(tmp_path):
    """Every level comes back as itself, so that copies of copies are equal; other programs' version is not theirs."""
    maps = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(1, 16, 16)
    attributes = {"relative": 0, "levels": 255}
    options = {"scales": (1.0,), "flip": False, "stride": 4, "round_to": 1, "attributes": attributes}
    given = np.minimum(maps + np.float32(0.001), 1)
    for name in ("a.h5", "b.h5"):
        with MapWriter(tmp_path / name, **options) as writer:
            writer.add("x", [3], (64, 64), [given])
        shard = MapShard(tmp_path / name)
        first = given = shard.record(0).maps[0]
        np.testing.assert_array_equal(first, maps)
        assert first.dtype == np.float32 and shard.attributes["version"] == 2
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["data"].dtype == np.uint8 and (file["data"][:] == np.arange(256)).all()
    with pytest.raises(WsssError, match="'y' are to be stored as shares, and exceed 1"):
        with MapWriter(tmp_path / "c.h5", **options) as writer:
            writer.add("y", [3], (64, 64), [maps * 2])
