"""What happens around the walk itself: edges of mirrors, settings, and which images walk together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import wsss.inference.walk as walk
from wsss.data.index import Item
from wsss.data.transforms import normalise
from wsss.models.edge_network import EdgeNetwork
from wsss.refine.random_walk import random_walk
from wsss.settings import WalkSettings
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore

CPU = torch.device("cpu")


def settings(**more) -> WalkSettings:
    return WalkSettings(cams="x", affinity="x", steps=3, **more)


@torch.inference_mode()
@pytest.mark.parametrize("width", [41, 42, 43])
def test_edges_of_an_image_and_its_mirror_against_a_plain_twin(tmp_path, width):
    """The mirror is padded on its own right side, which is the left of the image, and turned back cell by cell."""
    pixels = np.random.default_rng(0).integers(0, 255, (30, width, 3), dtype=np.uint8)
    pixels[:, : width // 3] //= 4
    Image.fromarray(pixels).save(tmp_path / "a.png")
    item = Item("a", "train", tmp_path / "a.png", None, 30, width, (0,), True)
    torch.manual_seed(0)
    network = EdgeNetwork("test_resnet", 8).eval()
    network.edge.weight *= 5

    def logits(image):
        canvas = np.zeros((1, 3, 32, 48), np.float32)  # multiples of 16
        canvas[0, :, :30, :width] = normalise(image)
        return network(torch.from_numpy(canvas))[0, :8, :11].numpy()  # ceil(30 / 4), ceil(width / 4)

    plain, mirrored = logits(pixels), logits(np.ascontiguousarray(pixels[:, ::-1]))[:, ::-1]
    expected = {False: plain, True: (plain + mirrored) / 2}
    assert np.abs(plain - mirrored).max() > 0.1
    for flip, wanted in expected.items():
        ((_, edges),) = walk.edge_maps(network, [item], settings(flip=flip), CPU, 1)
        np.testing.assert_allclose(edges.numpy(), 1 / (1 + np.exp(-wanted)), atol=1e-5)


@pytest.mark.parametrize("radius, beta", [(3, 10.0), (5, 2.0), (7, 1.0)])
def test_walks_follow_radius_and_beta(radius, beta):
    generator = torch.Generator().manual_seed(1)
    item = Item("a", "train", "a.png", None, 40, 48, (0, 2), True)
    maps, edges = torch.rand(2, 10, 12, generator=generator), torch.rand(10, 12, generator=generator)
    start = walk.Start(item, np.array([0, 2]), maps, edges)

    def expected(**how):
        found = random_walk(maps[None], edges[None], steps=3, **how)
        largest = F.interpolate(found, scale_factor=4, mode="bilinear").max()
        return (found[0] / (largest + 1e-5)).numpy()

    ((_, classes, (ours,)),) = walk.walk_together([start], settings(radius=radius, beta=beta))
    assert classes.tolist() == [0, 2]
    np.testing.assert_allclose(ours, expected(radius=radius, beta=beta), atol=1e-6)
    assert np.abs(ours - expected()).max() > 1e-3


def test_images_of_one_size_wait_for_each_other(tmp_path, monkeypatch):
    """Three of a size walk at once; with twelve waiting, those of the commonest size walk; the rest at the end."""
    order = "a b a a c c d d e e f f g g h b".split()
    items, edges = [], {}
    generator = torch.Generator().manual_seed(0)
    with MapWriter(tmp_path / shard_name(0, 1), scales=(1.0,), flip=False, stride=4) as writer:
        for number, size in enumerate(order):
            width = 8 + 4 * "abcdefgh".index(size)
            item = Item(f"{size}{number}", "train", tmp_path / "none.png", None, 12, width, (0,), True)
            edges[item.id] = torch.rand(3, width // 4, generator=generator)
            writer.add(item.id, [0], (12, width), [torch.rand(1, 3, width // 4, generator=generator).numpy()])
            items.append(item)
    write_manifest(tmp_path, {})
    store, groups, original = MapStore(tmp_path), [], walk.walk_together

    def seen(starts, how):
        groups.append([start.item.id for start in starts])
        return original(starts, how)

    monkeypatch.setattr(walk, "edge_maps", lambda network, items, *_: ((item, edges[item.id]) for item in items))
    monkeypatch.setattr(walk, "walk_together", seen)
    found = {item.id: maps for item, _, (maps,) in walk.walked_maps(None, store, items, settings(), CPU, 1, together=3)}
    assert groups == [
        ["a0", "a2", "a3"],
        ["c4", "c5"],  # b1 and five pairs wait when h14 comes as the twelfth
        ["b1", "b15"],
        *(["d6", "d7"], ["e8", "e9"], ["f10", "f11"], ["g12", "g13"], ["h14"]),
    ]
    groups.clear()
    alone = {item.id: maps for item, _, (maps,) in walk.walked_maps(None, store, items, settings(), CPU, 1)}
    assert groups == [[item.id] for item in items]  # on a CPU
    assert found.keys() == alone.keys() == edges.keys()
    for id, maps in found.items():
        np.testing.assert_allclose(maps, alone[id], atol=1e-6)
