"""Affinity labels, the edge network's training and the walk, one after the other on a handful of images."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import wsss.inference.walk as walk
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.inference.walk import edge_maps
from wsss.models.classifier import Classifier
from wsss.models.edge_network import load_edge_network
from wsss.refine.random_walk import random_walk
from wsss.runtime.shard import Shard
from wsss.settings import AffinityLabelSettings, AffinitySettings, WalkSettings
from wsss.stages.affinity import make as train_affinity
from wsss.stages.affinity_labels import make as write_affinity_labels
from wsss.stages.walk import make as write_walk
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import load_weights, save_weights
from wsss.system.exit import Interrupted


def write_maps(folder, index, classes_of, low=0.0):
    """Small maps that know where the squares are."""
    folder.mkdir()
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=True, stride=4) as writer:
        for item in index.items:
            truth = MaskFolder(item.mask.parent).read(item.mask.stem)[::4, ::4]
            wanted = classes_of(item)
            maps = [np.stack([f(truth) for _, f in wanted]).astype(np.float32) + low] if wanted else []
            writer.add(item.id, [c for c, _ in wanted], (item.height, item.width), maps)
    write_manifest(folder, {})
    return folder


@pytest.fixture(scope="module")
def inputs(tiny_index, tmp_path_factory):
    """Index, maps that claim half of each square, and saliency."""
    folder, index = tmp_path_factory.mktemp("maps"), Index.load(tiny_index)
    cams = write_maps(
        folder / "cams", index, lambda item: [(c, lambda t, c=c: 0.7 * (t == c + 1) + 0.2) for c in item.labels]
    )
    saliency = write_maps(folder / "saliency", index, lambda item: [(0, lambda t: t > 0)])
    return {"index": tiny_index, "cams": cams, "saliency": saliency}


SETTINGS = {"cams": "x", "backbone": "test_resnet", "pretrained": False, "width": 8, "radius": 4, "crop": 32}
SETTINGS |= {"long_side": (40, 48), "batch_size": 4, "epochs": 2, "labels": AffinityLabelSettings(crf=None)}


@pytest.fixture
def stage_run(make_run):
    def make(stage, settings, inputs, name=None, threads=1):
        run = make_run(settings, inputs, name or stage)
        run.stage, run.args.threads = stage, threads
        return run

    return make


def made(run, work):
    work(run)
    write_manifest(run.out, run.facts)
    return run.out


@pytest.mark.parametrize("with_saliency", [False, True])
def test_labels_of_all_training_images(inputs, stage_run, with_saliency):
    given = inputs if with_saliency else {k: inputs[k] for k in ("index", "cams")}
    index = Index.load(inputs["index"])
    folders = []
    for threads in (1, 2):
        run = stage_run("affinity_labels", AffinityLabelSettings(background=0.1), given, f"t{threads}", threads)
        folders.append(MaskFolder(made(run, write_affinity_labels) / "masks"))
    assert sorted(folders[0].ids()) == sorted(item.id for item in index.split("train"))
    for item in index.split("train"):
        labels = folders[0].read(item.id)
        assert labels.shape == (40, 48) and set(np.unique(labels)) <= {0, 255, *(c + 1 for c in item.labels)}
        assert folders[0].file(item.id).read_bytes() == folders[1].file(item.id).read_bytes()
    shares = [run.facts[k] for k in ("background_share", "object_share", "ignored_share")]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and run.facts["images"] == 12


def test_labels_refuse_what_does_not_fit(inputs, stage_run, tmp_path):
    given = {k: inputs[k] for k in ("index", "cams")}
    with pytest.raises(WsssError, match="must not exceed foreground .0.3. without saliency"):
        write_affinity_labels(
            stage_run("affinity_labels", AffinityLabelSettings(foreground=0.3, background=0.8), given)
        )
    shutil.copytree(inputs["cams"], tmp_path / "few")
    with MapWriter(tmp_path / "few" / shard_name(0, 1), scales=(1.0,), flip=True, stride=4) as writer:
        writer.add("p1", [], (40, 48), [])
    with pytest.raises(WsssError, match="no maps of 11 images: 'p0'"):
        write_affinity_labels(
            stage_run("affinity_labels", AffinityLabelSettings(), {**given, "cams": tmp_path / "few"})
        )
    with pytest.raises(WsssError, match="saliency is one map an image"):
        write_affinity_labels(
            stage_run("affinity_labels", AffinityLabelSettings(crf=None), {**given, "saliency": inputs["cams"]})
        )


@pytest.fixture(scope="module")
def labels(tiny_index, tmp_path_factory):
    """The ground-truth masks as labels."""
    folder = tmp_path_factory.mktemp("labels")
    for item in Index.load(tiny_index).split("train"):
        MaskFolder(folder / "masks").write(item.id, MaskFolder(item.mask.parent).read(item.mask.stem))
    write_manifest(folder, {})
    return folder


@pytest.fixture
def edges(inputs, labels, stage_run):
    given = {"index": inputs["index"], "labels": labels}
    return made(stage_run("affinity", AffinitySettings(**SETTINGS), given), train_affinity)


def test_training_writes_weights_and_metrics(edges):
    network = load_edge_network(edges)
    assert network.edge.in_channels == 8 * 5
    lines = [json.loads(line) for line in (edges / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6 and {"loss", "loss_background", "loss_foreground", "loss_different"} <= set(lines[0])


def test_training_on_the_backbone_of_a_classifier(inputs, labels, stage_run, tmp_path):
    torch.manual_seed(3)
    classifier = Classifier("test_resnet", 2, 16)
    folder = tmp_path / "classifier"
    save_weights(folder / "model.safetensors", classifier.state_dict(), {"backbone": "test_resnet"})
    write_manifest(folder, {})
    settings = AffinitySettings(**SETTINGS, warm_start="vanilla")
    given = {"index": inputs["index"], "labels": labels}
    with pytest.raises(WsssError, match="--warm-start: .*'vanilla'"):
        train_affinity(stage_run("affinity", settings, given, "without"))
    out = made(stage_run("affinity", settings, {**given, "warm_start": folder}, "with"), train_affinity)
    weights, _ = load_weights(out / "model.safetensors")
    for key, value in classifier.backbone.state_dict().items():
        assert torch.equal(weights[f"encoder.{key}"], value), key


def test_training_names_missing_labels(inputs, stage_run, tmp_path):
    write_manifest(tmp_path / "empty", {})
    run = stage_run("affinity", AffinitySettings(**SETTINGS), {"index": inputs["index"], "labels": tmp_path / "empty"})
    with pytest.raises(WsssError, match="no masks of 12 images: 'p0'"):
        train_affinity(run)


def test_walks_are_whole_and_do_not_depend_on_shards(inputs, edges, stage_run):
    stores = []
    for shards in (1, 3):
        settings = WalkSettings(cams="x", affinity="x", steps=16)
        given = {"index": inputs["index"], "cams": inputs["cams"], "affinity": edges}
        run = stage_run("walk", settings, given, f"walk{shards}")
        for run.shard in (Shard(number, shards) for number in range(shards)):
            write_walk(run)
        run.shard = None
        stores.append(MapStore(made(run, write_walk)))
    one, three = stores
    index, before = Index.load(inputs["index"]), MapStore(inputs["cams"])
    assert one.ids == three.ids == [item.id for item in index.items] and not one.relative
    assert one.shards[0].path.read_bytes() == three.shards[0].path.read_bytes()
    network = load_edge_network(edges)
    for item, edge in edge_maps(network, list(index.items), settings, torch.device("cpu"), 1):
        full = one.full(item.id)
        assert full.shape == (len(item.labels), 40, 48) and 0.99 < full.max() < 1
        assert one[item.id].classes.tolist() == list(item.labels)
        walked = random_walk(torch.from_numpy(before.low(item.id))[None], edge[None], steps=16)
        big = F.interpolate(walked, scale_factor=4, mode="bilinear")[0]
        np.testing.assert_allclose(full, (big / (big.max() + 1e-5)).numpy(), atol=1e-6)  # one maximum for all classes


def test_each_map_over_its_own_maximum(inputs, edges, stage_run):
    stores = []
    for normalise in ("image", "class"):
        settings = WalkSettings(cams="x", affinity="x", steps=4, normalise=normalise)
        given = {"index": inputs["index"], "cams": inputs["cams"], "affinity": edges}
        stores.append(MapStore(made(stage_run("walk", settings, given, normalise), write_walk)))
    for id in stores[0].ids:
        common, own = (store.full(id) for store in stores)
        np.testing.assert_allclose(own, common / (common.max((1, 2), keepdims=True) + 1e-5), atol=1e-6)


def test_images_walk_together_like_alone(inputs, edges):
    """What a GPU does: images wait for others of their size."""
    index, store = Index.load(inputs["index"]), MapStore(inputs["cams"])
    network, settings = load_edge_network(edges), WalkSettings(cams="x", affinity="x", steps=4)
    cpu = torch.device("cpu")
    items = list(index.items)
    alone = {item.id: maps for item, _, maps in walk.walked_maps(network, store, items, settings, cpu, 1)}
    starts = [
        walk.Start(item, store[item.id].classes, torch.from_numpy(store.low(item.id)), edge)
        for item, edge in edge_maps(network, items, settings, cpu, 1)
    ]
    for item, classes, (maps,) in walk.walk_together(starts, settings):
        assert tuple(classes) == item.labels
        np.testing.assert_allclose(maps, alone[item.id][0], atol=1e-6)


def test_an_interrupted_walk_keeps_all_that_is_made(inputs, edges, stage_run, monkeypatch):
    settings = WalkSettings(cams="x", affinity="x", steps=4)
    run = stage_run("walk", settings, {"index": inputs["index"], "cams": inputs["cams"], "affinity": edges})
    seen, original = [], walk.walked_maps

    def counting(*args, **options):
        for result in original(*args, **options):
            seen.append(result[0].id)
            if len(seen) == 6:
                run.stop = "a test"
            yield result

    monkeypatch.setattr("wsss.stages.walk.walked_maps", counting)
    with pytest.raises(Interrupted):
        write_walk(run)
    assert not list(run.out.glob("shard-*"))
    run.stop = None
    write_walk(run)
    assert len(seen) == 6 + 10 and len(list(run.out.glob("shard-*.h5"))) == 1


def test_edges_of_large_images_and_of_mirrors(inputs, edges):
    network, items = load_edge_network(edges), Index.load(inputs["index"]).split("val")[:1]
    cpu = torch.device("cpu")
    for more in ({}, {"flip": False}, {"max_side": 32}):
        ((_, edge),) = edge_maps(network, items, WalkSettings(cams="x", affinity="x", **more), cpu, 1)
        assert edge.shape == (10, 12) and edge.dtype == torch.float32
        assert 0 <= edge.min() and edge.max() <= 1


def test_a_walk_refuses_missing_maps(inputs, edges, stage_run, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=True, stride=4) as writer:
        writer.add("p0", [], (40, 48), [])
    write_manifest(folder, {})
    run = stage_run(
        "walk",
        WalkSettings(cams="x", affinity="x"),
        {"index": inputs["index"], "cams": folder, "affinity": edges},
    )
    with pytest.raises(WsssError, match="no maps of 15 images: 'p1'"):
        write_walk(run)


def test_images_without_tags_have_no_maps(inputs, edges, stage_run, tmp_path):
    store = MapStore(inputs["cams"])
    folder = tmp_path / "untagged"
    folder.mkdir()
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=True, stride=4) as writer:
        for id in store.ids:
            record = store[id]
            writer.add(id, *(([], record.size, []) if id == "p2" else (record.classes, record.size, record.maps)))
    write_manifest(folder, {})
    run = stage_run(
        "walk",
        WalkSettings(cams="x", affinity="x", steps=4),
        {"index": inputs["index"], "cams": folder, "affinity": edges},
    )
    walked = MapStore(made(run, write_walk))
    assert len(walked) == 16 and walked.full("p2").shape == (0, 40, 48) and walked.full("p1").shape[0] == 1
