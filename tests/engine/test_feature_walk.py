"""The stage of the walk over features on a handful of images: shards, mirrors, whose features, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.engine.test_affinity_stages import write_maps
from wsss.data.images import read_image
from wsss.data.index import Index
from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.models.classifier import Classifier
from wsss.models.encoder import create_encoder, take_backbone
from wsss.models.patch_features import PatchFeatures
from wsss.models.stage_features import StageFeatures
from wsss.refine.feature_walk import by_proxy, by_temperature, by_threshold, feature_walk, walk_among_all
from wsss.runtime.shard import Shard
from wsss.settings import FeatureWalkSettings
from wsss.stages.feature_walk import make as write_walk
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.weights import save_weights


@pytest.fixture(scope="module")
def inputs(tiny_index, tmp_path_factory):
    """Index, maps that claim half of each square (none of p2), and a classifier with random weights."""
    folder, index = tmp_path_factory.mktemp("maps"), Index.load(tiny_index)

    def claims(item):
        return [(c, lambda t, c=c: 0.7 * (t == c + 1) + 0.2) for c in item.labels if item.id != "p2"]

    torch.manual_seed(3)
    about = {"backbone": "test_resnet", "classes": ["red", "green"], "output_stride": 16}
    save_weights(folder / "net" / "model.safetensors", Classifier("test_resnet", 2, 16).state_dict(), about)
    write_manifest(folder / "net", {})
    return {"index": tiny_index, "cams": write_maps(folder / "cams", index, claims), "warm_start": folder / "net"}


def settings(**more):
    given = {"cams": "x", "warm_start": "net", "backbone": "test_resnet", "output_stride": 16, "pretrained": False}
    return FeatureWalkSettings(**{**given, "steps": 8, "radius": 3, "normalise": "image", **more})


@pytest.fixture
def walked(make_run, inputs):
    """``walked(name, shards, **settings)``: the maps that the stage writes."""

    def make(name="out", shards=1, given=inputs, **more):
        run = make_run(settings(**more), given, name)
        run.stage = "feature_walk"
        for run.shard in (Shard(number, shards) for number in range(shards) if shards > 1):
            write_walk(run)
        run.shard = None
        write_walk(run)
        write_manifest(run.out, run.facts)
        return MapStore(run.out)

    return make


def test_walks_are_whole_and_do_not_depend_on_shards(walked, inputs):
    one, three = walked("one"), walked("three", 3)
    assert one.shards[0].path.read_bytes() == three.shards[0].path.read_bytes()
    assert one.ids == [item.id for item in Index.load(inputs["index"]).items] and not one.relative
    assert one.attributes["stride"] == one.attributes["round_to"] == 8
    assert one.full("p2").shape == (0, 40, 48)


@pytest.mark.parametrize(
    "more", [{}, {"flip": True}, {"grid_stride": 4, "stages": (4, 16)}, {"normalise": "class", "temperature": 0.5}]
)
@torch.inference_mode()
def test_maps_against_a_plain_twin(walked, inputs, more):
    """One image at a time, without folded layers, batches and kernels' batches."""
    store, before, given = walked(**more), MapStore(inputs["cams"]), settings(**more)
    encoder = create_encoder("test_resnet", 16, False).eval()
    take_backbone(encoder, inputs["warm_start"])
    network, stride = StageFeatures(encoder, given.stages, given.grid_stride), given.grid_stride
    for item in Index.load(inputs["index"]).split("val"):
        pixels = read_image(item.image)
        views = [pixels, np.ascontiguousarray(pixels[:, ::-1])][: 1 + given.flip]
        found = [network(torch.from_numpy(normalise(view))[None])[0] for view in views]
        features = torch.cat([found[0], *(each.flip(-1) for each in found[1:])]) / len(found) ** 0.5
        low = torch.from_numpy(before.low(item.id))
        start = F.interpolate(low[None], size=features.shape[1:], mode="bilinear", align_corners=False)[0]
        expected = feature_walk(start, features, by_temperature(given.temperature), radius=3, steps=8)
        big = F.interpolate(expected[None], scale_factor=stride, mode="bilinear")[0, :, :40, :48].numpy()
        over = big.max((1, 2), keepdims=True) if given.normalise == "class" else big.max()
        np.testing.assert_allclose(store.full(item.id), big / (over + 1e-5), atol=5e-5)
        assert store[item.id].classes.tolist() == list(item.labels)


@pytest.mark.parametrize(
    "more",
    [
        {"features": "patches"},
        {"features": "keys", "flip": True, "transition": "ncut", "threshold": 0.05},
        {"features": "patches", "transition": "temperature", "pairs": "near", "temperature": 0.5},
    ],
)
@torch.inference_mode()
def test_maps_of_a_transformers_patches_against_a_plain_twin(walked, inputs, more):
    """40 x 48 pixels are 2.5 x 3 patches of 16: the grid of 3 x 3 covers the image exactly."""
    given = {name: inputs[name] for name in ("index", "cams")}
    more = {"warm_start": None, "backbone": "test_vit", **more}
    one, before, wanted = walked("one", 1, given, **more), MapStore(inputs["cams"]), settings(**more)
    assert one.shards[0].path.read_bytes() == walked("three", 3, given, **more).shards[0].path.read_bytes()
    assert (one.attributes["stride"], one.attributes["round_to"]) == (16, 1)
    torch.manual_seed(0)  # as the stage draws its weights
    network = PatchFeatures("test_vit", False, keys=wanted.features == "keys")
    for item in Index.load(inputs["index"]).split("val"):
        pixels = read_image(item.image)
        views = [pixels, np.ascontiguousarray(pixels[:, ::-1])][: 1 + wanted.flip]
        found = [network.of_pixels(torch.from_numpy(view).permute(2, 0, 1)[None].float())[0] for view in views]
        features = torch.cat([found[0], *(each.flip(-1) for each in found[1:])]) / len(found) ** 0.5
        assert features.shape[1:] == (3, 3)
        low = torch.from_numpy(before.low(item.id))
        start = F.interpolate(low[None], size=(3, 3), mode="bilinear", align_corners=False)[0]
        if wanted.among_all:
            weighting = by_threshold(0.05) if wanted.flip else by_proxy(features, 1.2, 3.0)
            expected = walk_among_all(start, features, weighting, steps=2)
        else:
            expected = feature_walk(start, features, by_temperature(0.5), radius=3, steps=8)
        big = F.interpolate(expected[None], size=(40, 48), mode="bilinear")[0].numpy()
        np.testing.assert_allclose(one.full(item.id), big / (big.max() + 1e-5), atol=1e-4)


def test_large_images_walk_on_their_own_grid(walked):
    store = walked(max_side=32)
    assert store["p1"].maps[0].shape[1:] == (5, 6) and 0.9 < store.full("p1").max() < 1


def test_without_a_classifier_the_backbone_is_as_pretrained_says(walked, inputs):
    given = {name: inputs[name] for name in ("index", "cams")}
    store = walked(given=given, warm_start=None)  # random weights
    assert len(store) == 16


def test_what_does_not_fit_is_refused(walked, inputs):
    given = {name: inputs[name] for name in ("index", "cams")}
    with pytest.raises(WsssError, match="--warm-start: .*'net'"):
        walked(given=given)
    with pytest.raises(WsssError, match="does not fit here .*use the same 'backbone'"):
        walked(backbone="resnet10t")
    with pytest.raises(WsssError, match="stages: this backbone has none of stride 2, 4; allowed: 16"):
        walked(given=given, warm_start=None, backbone="test_vit", stages=(2, 4, 16))
    with pytest.raises(WsssError, match="resnet10t: no vision transformer with patches"):
        walked(given=given, warm_start=None, backbone="resnet10t", features="patches")
    with pytest.raises(ValueError, match="patches are of a transformer as it was published; leave 'warm_start' out"):
        settings(features="patches")
