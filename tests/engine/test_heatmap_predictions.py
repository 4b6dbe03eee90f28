"""A guided classifier as a segmentation network: predictions without tags, and maps at the layer that was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.engine.plain import seen
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.explain import Regions, find, subject_of
from wsss.interfaces import as_smp
from wsss.interfaces.export import export
from wsss.models.classifier import Classifier, load_classifier
from wsss.models.segmenter import Heatmaps, load_segmenter
from wsss.settings import CamsSettings, GuidedSettings, PredictSettings, SegmentationSettings
from wsss.stages.cams import make as write_cams
from wsss.stages.predictions import make as predict
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import save_weights

LAYERS = ["last", "backbone.layer2", "input"]


@pytest.fixture(params=LAYERS)
def guided(request, tmp_path):
    """A guided classifier's folder, and its layer."""
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8, heatmap_scale=0.5, guidance_layer=request.param).eval()
    torch.nn.init.normal_(network.background.weight, std=0.1)
    for module in network.modules():  # statistics that a training would have left
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.5)
            module.running_mean.normal_(0, 0.1)
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"], "heatmap_scale": 0.5}
    folder = tmp_path / "guided"
    folder.mkdir()
    save_weights(folder / "model.safetensors", network.state_dict(), about | {"guidance_layer": request.param})
    write_manifest(folder, {"stage": "classifier"})
    return folder, request.param


def plain_logits(folder, layer, images):
    """0.5 N sum_k A_k dz_c / dA_k of the background and both classes, a class and an image at a time."""
    network = load_classifier(folder)[0].eval()
    rows = []
    for image in images:
        maps = []
        for c in range(3):
            kept = []
            x = image[None].clone().requires_grad_()
            if layer == "input":
                kept.append(x)
            elif layer != "last":
                hook = network.get_submodule(layer).register_forward_hook(lambda _, __, a, kept=kept: kept.append(a))
            scores = network.with_background(x)
            if layer == "last":
                maps.append(0.5 * scores[0, c])
                continue
            if layer != "input":
                hook.remove()
            (slope,) = torch.autograd.grad(scores[0, c].mean(), kept[0])
            maps.append(0.5 * slope[0, 0].numel() * (slope * kept[0])[0].sum(0))
        rows.append(torch.stack(maps).detach())
    return torch.stack(rows)


def taken(make_run, tiny_index, folder, name="taken"):
    settings = SegmentationSettings(supervision="classifier", classifier="guided")
    run = make_run(settings, {"index": tiny_index, "classifier": folder}, name)
    train_segmenter(run)
    write_manifest(run.out, {"stage": "segmenter"})
    return run.out


def test_predictions_are_the_argmax_of_heatmaps(make_run, tiny_index, guided):
    folder, layer = guided
    network = taken(make_run, tiny_index, folder)
    settings = PredictSettings(scales=(1.0,), flip=True)
    run = make_run(settings, {"index": tiny_index, "segmenter": network}, "predicted")
    predict(run)
    masks, seen_labels = MaskFolder(run.out / "masks"), set()
    for item in Index.load(tiny_index).split("val"):
        image = seen(item.image, 1.0)
        both = torch.cat([image, image.flip(-1)])
        scores = F.interpolate(plain_logits(folder, layer, both), (40, 48), mode="bilinear", align_corners=False)
        mean = (scores[0] + scores[1].flip(-1)) / 2
        expected = mean.argmax(0).numpy()
        best = mean.topk(2, 0).values
        sure = (best[0] - best[1] > 1e-4 * mean.abs().max()).numpy()  # folded layers round differently
        found = masks.read(item.id)
        assert sure.mean() > 0.97 and np.array_equal(found[sure], expected[sure])
        seen_labels |= set(found.ravel().tolist())
    assert len(seen_labels) > 1


def test_maps_read_as_logits_are_those_of_the_layer(make_run, tiny_index, guided):
    folder, layer = guided
    settings = CamsSettings(classifier="x", normalise="softmax", scales=(1.0,), flip=False, splits=("val",))
    run = make_run(settings, {"index": tiny_index, "classifier": folder}, "maps")
    write_cams(run)
    write_manifest(run.out, {})
    store = MapStore(run.out)
    assert store.attributes["stride"] == {"last": 8, "backbone.layer2": 8, "input": 4}[layer]
    for item in Index.load(tiny_index).split("val"):
        scores = plain_logits(folder, layer, seen(item.image, 1.0))[0]
        if layer == "input":
            scores = scores.reshape(3, 10, 4, 12, 4).mean((2, 4))
        shares = scores[[0, *(c + 1 for c in item.labels)]].softmax(0)[1:]
        np.testing.assert_allclose(store[item.id].maps[0], shares.numpy(), atol=2e-4)


def test_what_else_such_a_network_can_do(make_run, tiny_index, guided, tmp_path):
    folder, layer = guided
    taken_to = taken(make_run, tiny_index, folder)
    network = load_segmenter(taken_to)[0]
    assert isinstance(network, Heatmaps)
    with pytest.raises(WsssError, match="no model of segmentation-models-pytorch"):
        as_smp(taken_to)
    if layer == "last":
        made = find("seg-hires-grad-cam")()(
            subject_of(network.eval()), torch.randn(1, 3, 40, 48), Regions([1], "image")
        )
        assert made.maps.shape == (1, 5, 6) and made.maps.abs().max() > 0
    else:
        with pytest.raises(WsssError, match="they explain"):
            subject_of(network)
        with pytest.raises(WsssError, match="exported networks cannot take"):
            export(taken_to, "torch.export", tmp_path / "a.pt2")


def test_classifiers_that_are_not_guided_are_refused(make_run, tiny_index, tmp_path):
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8)
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"]}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    write_manifest(tmp_path, {})
    with pytest.raises(WsssError, match="are for classifiers of the objective guided"):
        taken(make_run, tiny_index, tmp_path)
    run = make_run(SegmentationSettings(supervision="classifier", classifier="x"), {"index": tiny_index}, "none")
    with pytest.raises(WsssError, match="--classifier: name the folder"):
        train_segmenter(run)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"supervision": "classifier"}, "set both or neither"),
        ({"classifier": "a", "masks": "b"}, "set both or neither"),
        ({"supervision": "classifier", "classifier": "a", "masks": "b"}, "leave 'masks' and 'gt_masks' out"),
        ({"supervision": "classifier", "classifier": "a", "gt_masks": 3}, "leave 'masks' and 'gt_masks' out"),
    ],
)
def test_recipes_that_make_no_sense(settings, said):
    with pytest.raises(ValueError, match=said):
        SegmentationSettings.read(settings)


def test_only_settings_that_count_count():
    """The field came later than results: without it nothing is made again."""
    assert "classifier" not in SegmentationSettings(masks="x").counted()
    assert GuidedSettings().counted() == GuidedSettings(guidance_layer="last").counted()
