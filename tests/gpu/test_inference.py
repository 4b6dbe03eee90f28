"""Every network that is applied to images, the walks, affinities, explainers and the dense CRF on a GPU, which is
simulated where there is none: the CPU's values, and one wait for a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.gpu.simulated.device import Meter, metered
from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.explain import Classes, Regions, find, names, subject_of
from wsss.inference.batches import batches_of
from wsss.inference.cams import class_activation_maps, contested, tag_probabilities
from wsss.inference.feature_walk import feature_walked_maps
from wsss.inference.features import pooled_features
from wsss.inference.network import for_inference
from wsss.inference.saliency import border_test, saliency_maps
from wsss.inference.segmentation import mean_probabilities, pixel_probabilities
from wsss.inference.walk import walked_maps
from wsss.models.classifier import Classifier, save_classifier
from wsss.models.disentangler import Disentangler
from wsss.models.edge_network import EdgeNetwork
from wsss.models.encoder import create_encoder
from wsss.models.segmenter import Segmenter
from wsss.models.stage_features import StageFeatures
from wsss.refine.affinities import affinities
from wsss.refine.crf_torch import TorchCRF
from wsss.runtime.record import run_record
from wsss.runtime.run import Run
from wsss.settings import (
    CamsSettings,
    CrfSettings,
    FeatureWalkSettings,
    InferenceSettings,
    PredictSettings,
    SaliencyMapSettings,
    VanillaSettings,
    WalkSettings,
)
from wsss.stages.cams import make as write_cams
from wsss.stages.predictions import FinishPrediction, predicted
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

pytestmark = pytest.mark.gpu_sim

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
EXACT = 1e-4
"""Largest difference to the CPU, where values are about 1: another order of sums, and TF32 is off."""


@pytest.fixture(scope="module")
def items(tiny_index) -> list[Item]:
    index = Index.load(tiny_index)
    return [item for split in ("train", "val") for item in index.split(split)]


@pytest.fixture(scope="module")
def store(items, tmp_path_factory) -> MapStore:
    folder = tmp_path_factory.mktemp("maps")
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=False, stride=4) as writer:
        for number, item in enumerate(items):
            values = np.random.default_rng(number).random((len(item.labels), 10, 12), np.float32)
            writer.add(item.id, item.labels, (item.height, item.width), [values])
    write_manifest(folder, {})
    return MapStore(folder)


def on(device: torch.device, build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network, where = for_inference(build(), device.type, 1)
    assert where.type == device.type and {t.device for t in network.state_dict().values()} == {where}
    return network


def maps_of(found: Iterable[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """The last entry of each row, by the item's id; lists become arrays by number."""
    return {f"{item.id} {n}": one for item, *_, maps in found for n, one in enumerate(maps)}


def of_pixels(found: Iterable[tuple[Item, np.ndarray]]) -> dict[str, np.ndarray]:
    return {item.id: values for item, values in found}


STAGES: dict[str, tuple[Callable[[], nn.Module], Callable[..., dict[str, np.ndarray]]]] = {
    "class activation maps": (
        lambda: Classifier("test_resnet", 2, 8),
        lambda n, i, _, d: maps_of(
            class_activation_maps(n, i, CamsSettings(classifier="x", scales=(0.5, 1.0, 1.5)), d, 1)
        ),
    ),
    "maps against the background": (
        lambda: Classifier("test_resnet", 3, 16),
        lambda n, i, _, d: maps_of(class_activation_maps(n, i, InferenceSettings(scales=(1.0,)), d, 1, read=contested)),
    ),
    "tags": (
        lambda: Classifier("test_resnet", 2, 8),
        lambda n, i, _, d: {"all": tag_probabilities(n, i, InferenceSettings(scales=(1.0,), flip=False), d, 1)},
    ),
    "features": (
        lambda: Classifier("test_resnet", 2, 8),
        lambda n, i, _, d: {"all": pooled_features(n.backbone, i, InferenceSettings(scales=(1.0,)), d, 1)},
    ),
    "saliency": (
        lambda: nn.Sequential(nn.Conv2d(3, 1, 5, 4, 2), nn.BatchNorm2d(1)),
        lambda n, i, _, d: maps_of(saliency_maps(n, i, SaliencyMapSettings(scales=(1.0, 1.5)), False, d, 1)),
    ),
    "fine saliency": (
        lambda: nn.Sequential(nn.Conv2d(3, 1, 5, 1, 2), nn.BatchNorm2d(1)),
        lambda n, i, _, d: maps_of(
            saliency_maps(n, i, SaliencyMapSettings(scales=(1.0,), activation="sigmoid"), True, d, 1)
        ),
    ),
    "border": (
        lambda: Disentangler("test_resnet", 8),
        lambda n, i, _, d: {"both": np.array(border_test(n, i, 48, d, 1))},
    ),
    "pixels": (
        lambda: Segmenter("deeplabv3plus", "test_resnet", 3),
        lambda n, i, _, d: maps_of(
            (a, [b]) for a, b in pixel_probabilities(n, i, PredictSettings(scales=(1.0, 1.5)), d, 1)
        ),
    ),
    "pixels of several networks": (
        lambda: Segmenter("deeplabv3plus", "test_resnet", 3),
        lambda n, i, _, d: maps_of(
            (a, [b]) for a, b in mean_probabilities([n, n], i, PredictSettings(scales=(1.0,)), d, 1)
        ),
    ),
    "walk": (
        lambda: EdgeNetwork("test_resnet", 32, 16),
        lambda n, i, s, d: maps_of(walked_maps(n, s, i, WalkSettings(cams="x", affinity="x", radius=3, steps=8), d, 1)),
    ),
    "walk over features": (
        lambda: StageFeatures(create_encoder("test_resnet", 16, False), [8, 16], 8),
        lambda n, i, s, d: maps_of(
            feature_walked_maps(n, s, i, FeatureWalkSettings(cams="x", radius=3, steps=8, backbone="test_resnet"), d, 1)
        ),
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_network_sees_on_a_gpu_what_it_sees_on_the_cpu(stage, items, store):
    build, apply = STAGES[stage]
    expected = apply(on(CPU, build), items, store, CPU)
    network = on(GPU, build)
    with metered() as meter:
        found = apply(network, items, store, GPU)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].dtype == values.dtype and found[key].shape == values.shape
        np.testing.assert_allclose(found[key], values, atol=EXACT, rtol=EXACT)
    batches = [batch for bucket in buckets(items) for batch in batches_of(bucket, InferenceSettings(), GPU)]
    assert sum(meter.waits.values()) == WAITS.get(stage, len(batches)) < len(items) + 1, meter.waits
    assert len(batches) == 2
    assert not meter.unpinned


WAITS = {"walk": 1, "walk over features": 16}
"""Sixteen images are two batches, for which the host waits once each. All walk together; over features one by one."""


def test_the_stage_of_maps_says_on_which_gpu_it_ran(tiny_index, items, tmp_path):
    torch.manual_seed(0)
    settings = VanillaSettings(backbone="test_resnet", pretrained=False)
    (tmp_path / "net").mkdir()
    save_classifier(tmp_path / "net", Classifier("test_resnet", 2, 16), settings, ("red", "green"))
    write_manifest(tmp_path / "net", {})
    arguments = SimpleNamespace(out=tmp_path / "out", state=None, seed=0, threads=1, device="auto")
    arguments.out.mkdir()
    run = Run(arguments, CamsSettings(classifier="x"), {"index": tiny_index, "classifier": tmp_path / "net"}, "cams")
    write_cams(run)
    said = run_record(arguments, 0.0)
    assert said["device"] == torch.cuda.get_device_name(GPU) and said["peak_gpu_memory_mib"] > 0
    write_manifest(run.out, run.facts)
    assert len(MapStore(run.out).ids) == len(items)


def test_affinities_and_their_gradient():
    def both(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        edges = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
        found = affinities(edges, 5)
        found.square().sum().backward()
        return found.detach(), edges.grad

    with metered() as meter:
        ours = both(GPU)
    assert sum(meter.waits.values()) == 1, "the copy of the edges"
    for found, expected in zip(ours, both(CPU), strict=True):
        torch.testing.assert_close(found.cpu(), expected, atol=1e-6, rtol=1e-6)


def test_the_dense_crf_in_torch():
    """A lattice needs its number of points; iterations wait for nothing."""
    rng = np.random.default_rng(0)
    image, energy = rng.integers(0, 255, (24, 30, 3), np.uint8), rng.random((3, 24, 30), np.float32)
    (expected,) = TorchCRF(image, CrfSettings(), CPU)([energy], 3)
    waits = []
    for iterations in (3, 6):
        with metered() as meter:
            (found,) = TorchCRF(image, CrfSettings(), GPU)([energy], iterations)
        waits.append(meter.waits)
        if iterations == 3:
            np.testing.assert_allclose(found, expected, atol=1e-4)
    assert waits[0] == waits[1] and sum(waits[0].values()) <= 16, waits


def explained(name: str, device: torch.device) -> tuple[Any, Meter]:
    torch.manual_seed(0)
    segments = name.startswith("seg-")
    network = Segmenter("unet", "test_resnet", 3) if segments else Classifier("test_resnet", 2, 8)
    network = network.eval().to(device)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(device)
    target = Regions("pred") if segments else Classes("gt", torch.tensor([[1, 0], [1, 1]]))
    subject = subject_of(network)
    with metered() as meter:
        found = find(name)()(subject, images, target, ids=["a", "b"])
    return found, meter


@pytest.mark.parametrize("name", names())
def test_an_explainer_says_on_a_gpu_what_it_says_on_the_cpu(name):
    (found, _), (expected, _) = explained(name, GPU), explained(name, CPU)
    assert found.maps.device == GPU and found.maps.shape == expected.maps.shape
    assert found.class_idx.tolist() == expected.class_idx.tolist()
    scale = float(expected.maps.abs().max().clamp(min=1e-6))
    torch.testing.assert_close(found.maps.cpu() / scale, expected.maps / scale, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["cam", "grad-cam", "minmax-cam", "gradient", "full-grad"])
def test_an_explainer_waits_for_its_rows_alone(name):
    """Which images and classes are asked for is known on the host in the end; no map is read there."""
    _, meter = explained(name, GPU)
    assert sum(meter.waits.values()) <= 8, meter.waits


IN_HALF = {
    "fp16": (torch.float16, 0.02, 1e-3),
    "bf16": (torch.bfloat16, 0.16, 8e-3),
}
"""Type, largest and mean difference to float32, as shares of the largest value: those of the settings' text, and eight
times as much, for bf16 has three bits less."""
APPLIED = {
    "class activation maps": (
        lambda: Classifier("test_resnet", 2, 8),
        lambda n, i, d, kind: maps_of(
            class_activation_maps(n, i, CamsSettings(classifier="x", scales=(0.5, 1.0), precision=kind), d, 1)
        ),
    ),
    "saliency": (
        lambda: nn.Sequential(nn.Conv2d(3, 1, 5, 4, 2), nn.BatchNorm2d(1)),
        lambda n, i, d, kind: maps_of(
            saliency_maps(n, i, SaliencyMapSettings(scales=(1.0,), precision=kind), False, d, 1)
        ),
    ),
    "predictions": (
        lambda: Segmenter("deeplabv3plus", "test_resnet", 3),
        lambda n, i, d, kind: of_pixels(
            pixel_probabilities(n, i, PredictSettings(scales=(1.0,), precision=kind), d, 1)
        ),
    ),
}


@pytest.mark.parametrize("precision", IN_HALF)
@pytest.mark.parametrize("stage", APPLIED)
def test_half_precision_is_as_close_as_the_settings_say(stage, precision, items):
    """The network computes in the narrow type, what is read and stored of it stays float32, and nobody waits more."""
    kind, largest, mean = IN_HALF[precision]
    build, apply = APPLIED[stage]
    expected = apply(on(CPU, build), items, CPU, "fp32")
    network, seen = on(GPU, build), set()
    next(m for m in network.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda _, given, found: seen.add(found.dtype)
    )
    with metered() as meter:
        found = apply(network, items, GPU, precision)
    assert seen == {kind} and sum(meter.waits.values()) == 2 and not meter.unpinned
    scale = max(float(np.abs(values).max()) for values in expected.values())
    apart = np.concatenate([np.abs(found[key] - values).ravel() for key, values in expected.items()]) / scale
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    assert 0 < apart.max() < largest and apart.mean() < mean


def test_the_crf_works_beside_the_network(items, tmp_path, monkeypatch):
    """In threads of the stage, where on a CPU the two take turns; the masks are those of the CPU."""
    settings = PredictSettings(scales=(1.0,), crf=CrfSettings(unary="scores", iterations=2))
    plain, found, names = FinishPrediction.__call__, {}, set()

    def noted(self: FinishPrediction, pair: tuple[Item, np.ndarray]) -> Any:
        names.add((folder.name, threading.current_thread().name.partition("_")[0]))
        return plain(self, pair)

    monkeypatch.setattr(FinishPrediction, "__call__", noted)
    for device in (CPU, GPU):
        folder = tmp_path / device.type
        folder.mkdir()
        masks, run = MaskFolder(folder), SimpleNamespace(check_stop=lambda: None)
        network = on(device, lambda: Segmenter("deeplabv3plus", "test_resnet", 3))
        written = list(predicted(network, items, settings, device, 1, buckets(items), masks, run))
        assert sorted(one.id for one in written) == sorted(item.id for item in items)
        found[device.type] = np.concatenate([masks.read(item.id).ravel() for item in items])
    assert names == {("cpu", "MainThread"), ("cuda", "masks")}
    assert np.mean(found["cpu"] == found["cuda"]) > 0.999
