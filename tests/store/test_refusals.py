"""What the readers of stored maps and weights refuse, where no other test does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import MapShard, shard_paths
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.weights import load_weights


def test_shards_of_two_sets(tmp_path: Path) -> None:
    for name in ("shard-00000-of-00001.h5", "shard-00000-of-00002.h5"):
        (tmp_path / name).touch()
    with pytest.raises(WsssError, match=r"holds shards of several sets \(shard-00000-of-00001.h5, shard-00000-of-0000"):
        shard_paths(tmp_path)


def test_a_shard_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000-of-00001.h5"
    with MapWriter(path, scales=(1.0,), flip=False, stride=16) as writer:
        writer.add("a", np.array([0]), (32, 32), [np.ones((1, 2, 2), np.float32)])
    with h5py.File(path, "a") as file:
        kept = file["data"][:-1]
        del file["data"]
        file["data"] = kept
    with pytest.raises(WsssError, match="is damaged: 3 values, not as many as its table says"):
        MapShard(path)


def test_maps_of_an_image_that_was_replaced(tmp_path: Path) -> None:
    with MapWriter(tmp_path / "shard-00000-of-00001.h5", scales=(1.0,), flip=False, stride=16) as writer:
        writer.add("a", np.array([0]), (9, 9), [np.ones((1, 1, 1), np.float32)])
    write_manifest(tmp_path, {})
    item = Item("a", "train", tmp_path / "a.png", None, 4, 5, (0,), False)
    with pytest.raises(WsssError, match="are of a 9 x 9 image, .*a.png is 4 x 5 in the index; make the maps again"):
        MapStore(tmp_path).full_of(item)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="no such file of weights; check the path"):
        load_weights(tmp_path / "a.safetensors")
