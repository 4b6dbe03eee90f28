"""The stage that fits a linear layer on frozen features: features, the classifier that is kept, stopping."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.engine.plain import seen
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.inference.features import pooled_features
from wsss.models.backbone import feature_maps
from wsss.models.centred_features import centred
from wsss.models.classifier import Classifier, load_classifier, logits
from wsss.objectives import find, find_learner
from wsss.objectives.linear import Linear
from wsss.settings import InferenceSettings, LinearSettings, VanillaSettings
from wsss.stages.classifier import make as train_classifier
from wsss.store.manifest import write_manifest
from wsss.store.weights import load_weights
from wsss.system.exit import Interrupted


@torch.inference_mode()
def test_pooled_features_of_images_and_mirrors(tiny_index):
    items = list(Index.load(tiny_index).items)[:5]
    torch.manual_seed(0)
    backbone = Classifier("test_resnet", 2, 16).eval().backbone
    for side, scale in ((512, 1.0), (32, 32 / 48)):
        view = InferenceSettings(scales=(1.0,), flip=True, max_side=side)
        found = pooled_features(backbone, items, view, torch.device("cpu"), 1)
        assert found.shape == (5, 2, 96) and found.dtype == np.float32
        for item, row in zip(items, found, strict=True):
            image = seen(item.image, scale)
            for pixels, features in zip((image, image.flip(-1)), row, strict=True):
                expected = feature_maps(backbone, pixels)[0].mean((1, 2)).numpy()
                np.testing.assert_allclose(features, expected, atol=1e-5)


def settings(**more):
    given = {"backbone": "test_resnet", "output_stride": 16, "pretrained": False, "penalty": 1e-2}
    return LinearSettings(**{**given, **more})


def test_what_is_kept_is_an_ordinary_classifier(tiny_index, make_run):
    files = []
    for name in ("once", "again"):
        run = make_run(settings(), {"index": tiny_index}, name)
        train_classifier(run)
        write_manifest(run.out, run.facts)
        files.append([(run.out / file).read_bytes() for file in ("model.safetensors", "metrics.jsonl")])
    assert files[0] == files[1]
    network, classes = load_classifier(run.out)
    assert classes == ("red", "green") and run.facts["images"] == 12
    assert files[0][1].decode().splitlines()[0] == '{"step": 0, "epoch": 0, "loss": 1.386294}'
    items = Index.load(tiny_index).split("val")
    rows = (run.out / "predictions.csv").read_text().splitlines()[1:]
    for item, row in zip(items, rows, strict=True):
        with torch.inference_mode():
            expected = logits(network.eval()(seen(item.image, 1.0))).sigmoid()[0]
        np.testing.assert_allclose([float(p) for p in row.split(",")[2:]], expected.numpy(), atol=1e-5)


def test_the_head_is_the_minimum_on_the_images_as_they_are(tiny_index, make_run):
    """Without folded layers and batches; the backbone keeps its weights, those of the other classifier."""
    plain = {"backbone": "test_resnet", "pretrained": False, "crop": 64, "long_side": (56, 72), "epochs": 1}
    first = make_run(VanillaSettings(**plain, batch_size=4, precision="fp32"), {"index": tiny_index}, "first")
    train_classifier(first)
    write_manifest(first.out, {})
    run = make_run(settings(warm_start="first", flip=False), {"index": tiny_index, "warm_start": first.out}, "second")
    train_classifier(run)
    before, after = (load_weights(one.out / "model.safetensors")[0] for one in (first, run))
    assert before.keys() == after.keys()
    assert [name for name in after if not torch.equal(before[name], after[name])] == ["head.weight"]
    write_manifest(run.out, {})
    network = load_classifier(run.out)[0].eval()
    items = Index.load(tiny_index).training_items()
    with torch.inference_mode():
        rows = [feature_maps(network.backbone, seen(item.image, 1.0))[0].mean((1, 2)) for item in items]
    labels = np.array([[float(c in item.labels) for c in range(2)] for item in items])
    features = torch.stack(rows).double().numpy()
    weights = after["head.weight"][:, :, 0, 0].double().numpy()
    scale = math.sqrt((features**2).sum(1).mean())
    residual = 1 / (1 + np.exp(-features @ weights.T)) - labels
    slope = residual.T @ features / scale / len(items) + 1e-2 * weights * scale
    assert np.abs(slope).max() < 1e-4


def test_centred_features_and_their_minimum(tiny_index, make_run):
    """What is kept says of the images as they are what the minimum of the formula says."""
    run = make_run(settings(features="centred", flip=False), {"index": tiny_index})
    train_classifier(run)
    write_manifest(run.out, run.facts)
    network = load_classifier(run.out)[0].eval()
    items = Index.load(tiny_index).training_items()
    with torch.inference_mode():
        features = torch.cat([feature_maps(network.backbone, seen(i.image, 1.0)).mean((2, 3)) for i in items]).numpy()
        given = torch.cat([logits(network(seen(item.image, 1.0))) for item in items]).double().numpy()
    rows, centre = centred(features)
    np.testing.assert_allclose(network.centring.centre.numpy(), centre, atol=1e-5)
    labels = np.array([[float(c in item.labels) for c in range(2)] for item in items])
    weights = np.column_stack([network.head.weight[:, :, 0, 0].detach(), network.head.bias.detach()]).astype(float)
    rows = np.column_stack([rows, np.ones(len(rows))])
    np.testing.assert_allclose(given, rows @ weights.T, atol=1e-3)
    residual = 1 / (1 + np.exp(-rows @ weights.T)) - labels
    slope = residual.T @ rows / math.sqrt(2) / len(items) + 1e-2 * weights * math.sqrt(2)
    assert np.abs(slope).max() < 1e-4


def test_a_fit_that_is_stopped_leaves_nothing(tiny_index, make_run):
    run = make_run(settings(), {"index": tiny_index})
    run.stop = "a test"
    with pytest.raises(Interrupted):
        train_classifier(run)
    assert not list(run.out.glob("*.*"))
    run.stop = None
    train_classifier(run)
    assert (run.out / "model.safetensors").is_file()


def test_the_engine_is_not_given_it():
    assert find_learner("linear") is Linear and find_learner("vanilla") is find("vanilla")
    with pytest.raises(WsssError, match="one class made from Objective is needed"):
        find("linear")
