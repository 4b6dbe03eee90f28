"""Networks applied to whole images: against one image at a time; stages that resume or refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import wsss.inference.cams
import wsss.parts.masks
from tests.engine.plain import seen
from wsss.data.buckets import buckets
from wsss.data.images import read_image
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.inference.batches import outputs_of
from wsss.inference.cams import class_activation_maps, network_stride, tag_probabilities
from wsss.inference.segmentation import pixel_probabilities
from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.runtime.shard import Shard
from wsss.settings import CamsSettings, CrfSettings, InferenceSettings, PredictSettings
from wsss.stages.cams import make as write_cams
from wsss.stages.predictions import FinishPrediction
from wsss.stages.predictions import make as write_predictions
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8).eval()
    folder = tmp_path_factory.mktemp("classifier")
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})
    return network, folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    torch.manual_seed(0)
    network = Segmenter("deeplabv3plus", "test_resnet", 3).eval()
    folder = tmp_path_factory.mktemp("segmenter")
    about = {"architecture": "deeplabv3plus", "backbone": "test_resnet", "output_stride": 16}
    about |= {"atrous_rates": [6, 12, 18], "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})
    return network, folder


@torch.inference_mode()
def test_maps_against_one_view_at_a_time(tiny_index, classifier):
    network, _ = classifier
    items = Index.load(tiny_index).split("val")
    settings = CamsSettings(classifier="x", scales=(0.5, 1.0, 1.5))
    for item, classes, maps in class_activation_maps(network, items, settings, CPU, 1):
        assert tuple(classes) == item.labels
        for scale, ours in zip(settings.scales, maps, strict=True):
            view = seen(item.image, scale)
            plain = F.relu(network(view))[0] + F.relu(network(view.flip(-1)))[0].flip(-1)
            np.testing.assert_allclose(ours, plain[classes].numpy(), atol=1e-4)


@torch.inference_mode()
def test_heatmaps_as_logits_against_one_view_at_a_time(tiny_index, tmp_path, make_run):
    """Beside the background and the image's other classes; classes that are no tags have no part in it."""
    torch.manual_seed(0)
    network = Classifier("test_resnet", 2, 8, heatmap_scale=0.5).eval()
    torch.nn.init.normal_(network.background.weight, std=0.1)
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "green"], "heatmap_scale": 0.5}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), about)
    write_manifest(tmp_path, {})
    settings = CamsSettings(classifier="x", normalise="softmax", scales=(1.0, 1.5), splits=("val",))
    inputs = {"index": tiny_index, "classifier": tmp_path}
    write_cams(make_run(settings, inputs))
    write_cams(make_run(settings.model_copy(update={"flip": False}), inputs, "once"))
    stores = []
    for name in ("out", "once"):
        write_manifest(tmp_path / name, {})
        stores.append(MapStore(tmp_path / name))
    for item in Index.load(tiny_index).split("val"):
        for flip, store in zip((True, False), stores, strict=True):
            assert not store.relative
            total = 0
            for scale, ours in zip(settings.scales, store[item.id].maps, strict=True):
                view = seen(item.image, scale)
                scores = network.pixel_logits(view)[0]
                if flip:
                    scores = (scores + network.pixel_logits(view.flip(-1))[0].flip(-1)) / 2
                shares = scores.exp()
                shares = shares[1:] / (shares[0] + sum(shares[1 + c] for c in item.labels))
                np.testing.assert_allclose(ours, shares[list(item.labels)].numpy(), atol=1e-5)
                up = [-(-side // 8) * 8 for side in (item.height, item.width)]
                total = total + F.interpolate(torch.from_numpy(ours)[None], up, mode="bilinear")[0]
            mean = (total / 2)[:, : item.height, : item.width].numpy()
            np.testing.assert_allclose(store.full(item.id), mean, atol=1e-6)


def test_heatmaps_as_logits_want_a_guided_classifier(tiny_index, classifier, make_run):
    settings = CamsSettings(classifier="x", normalise="softmax")
    with pytest.raises(WsssError, match="no map of the background; 'normalise: softmax' and"):
        write_cams(make_run(settings, {"index": tiny_index, "classifier": classifier[1]}))


@torch.inference_mode()
def test_probabilities_against_one_view_at_a_time(tiny_index, segmenter):
    network, _ = segmenter
    items = Index.load(tiny_index).split("val")
    for combine, factor in (("average", 0.5), ("add", 1.0)):
        settings = PredictSettings(scales=(1.0, 1.5), combine_flips=combine)
        for item, ours in pixel_probabilities(network, items, settings, CPU, 1):
            total = 0
            for scale in settings.scales:
                view = seen(item.image, scale)
                scores = factor * (network(view) + network(view.flip(-1)).flip(-1))
                total += F.interpolate(scores, size=(item.height, item.width), mode="bilinear") / 2
            np.testing.assert_allclose(ours, total.softmax(1)[0].numpy(), atol=1e-4)
            np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)


@torch.inference_mode()
def test_a_result_does_not_depend_on_what_is_asked_for_beside_it(tiny_index, classifier):
    """To the last bit: a stage that resumes, and a shard of a scattered one, ask for some images only."""
    items = Index.load(tiny_index).items
    among, settings = buckets(items), InferenceSettings(scales=(0.5, 1.0, 2.0))
    assert max(map(len, among)) > 2
    given = (classifier[0], settings, CPU, 1, "x", among)
    whole = {item.id: found for item, found in outputs_of(given[0], items, *given[1:])}
    assert set(whole) == {item.id for item in items}
    for part in (items[3:4], items[1::3], items[-5:]):
        some = list(outputs_of(given[0], part, *given[1:]))
        assert sorted(item.id for item, _ in some) == sorted(item.id for item in part)
        for item, found in some:
            assert all(torch.equal(a, b) for a, b in zip(found, whole[item.id], strict=True))


@torch.inference_mode()
def test_images_of_many_sizes_and_small_batches(tiny_index, classifier, tmp_path, monkeypatch):
    monkeypatch.setitem(wsss.inference.batches.MOST_PIXELS, "cpu", 3 * 2 * 40 * 48)
    items = list(Index.load(tiny_index).items[:5])
    for number, size in enumerate([(40, 30), (33, 47), (40, 30)]):
        picture = Image.fromarray(read_image(items[number].image)).resize(size[::-1])
        picture.save(tmp_path / f"{number}.png")
        new = {"id": f"new{number}", "image": tmp_path / f"{number}.png", "height": size[0], "width": size[1]}
        items.append(replace(items[0], **new))
    shapes = []
    network = lambda images: (shapes.append(tuple(images.shape)), classifier[0](images))[1]  # noqa: E731
    settings = InferenceSettings(scales=(1.0,))
    found = {item.id: maps for item, (maps,) in outputs_of(network, items, settings, CPU, 1, "x")}
    assert shapes == [(6, 3, 40, 48), (4, 3, 40, 48), (4, 3, 40, 30), (2, 3, 33, 47)]
    for item in items:
        view = seen(item.image, 1.0)
        plain = classifier[0](torch.cat([view, view.flip(-1)]))
        np.testing.assert_allclose(found[item.id], plain, atol=1e-4)


def test_half_precision_is_close(tiny_index, classifier):
    items = Index.load(tiny_index).items
    maps = [
        {item.id: found for item, _, (found,) in class_activation_maps(classifier[0], items, settings, CPU, 1)}
        for settings in (CamsSettings(classifier="x", scales=(1.0,), precision=kind) for kind in ("fp32", "fp16"))
    ]
    differences = [np.abs(maps[0][id] - maps[1][id]) / maps[0][id].max() for id in maps[0] if maps[0][id].any()]
    assert len(differences) > 8
    assert 0 < max(d.max() for d in differences) < 0.02
    assert np.mean([d.mean() for d in differences]) < 1e-3


@torch.inference_mode()
def test_tag_probabilities(tiny_index, classifier):
    network, _ = classifier
    items = Index.load(tiny_index).split("val")
    settings = InferenceSettings(scales=(1.0,), flip=False)
    ours = tag_probabilities(network, items, settings, CPU, 1)
    plain = torch.cat([network(seen(i.image, 1.0)).mean((2, 3)).sigmoid() for i in items])
    np.testing.assert_allclose(ours, plain.numpy(), atol=1e-5)


def test_large_images_are_reduced_first(tiny_index, classifier):
    items = Index.load(tiny_index).split("val")[:1]
    settings = CamsSettings(classifier="x", scales=(1.0,), max_side=32)
    _, _, (maps,) = next(class_activation_maps(classifier[0], items, settings, CPU, 1))
    assert maps.shape[1:] == (4, 4)  # 40 x 48 becomes 27 x 32, at stride 8


def test_cams_are_whole_and_do_not_depend_on_shards(tiny_index, classifier, make_run):
    stores = []
    for shards in (1, 3):
        settings = CamsSettings(classifier="x", scales=(0.5, 1.0))
        run = make_run(settings, {"index": tiny_index, "classifier": classifier[1]}, f"cams{shards}")
        for run.shard in (*(Shard(number, shards) for number in range(shards)), None):
            write_cams(run)
        write_manifest(run.out, {})
        stores.append(MapStore(run.out))
    one, three = stores
    index = Index.load(tiny_index)
    assert one.ids == three.ids == [item.id for item in index.items]
    assert one.shards[0].path.read_bytes() == three.shards[0].path.read_bytes()
    for item in index.items:
        full, low = one.full(item.id), one.low(item.id)
        assert full.shape == (len(item.labels), 40, 48) and low.shape == (len(item.labels), 10, 12)
        for each in full:
            assert each.max() < 1 and (each.max() > 0.99 or not each.any())


def test_an_interrupted_cam_stage_keeps_all_that_is_made(tiny_index, classifier, make_run, monkeypatch):
    settings = CamsSettings(classifier="x", scales=(1.0,))
    run = make_run(settings, {"index": tiny_index, "classifier": classifier[1]})
    seen_items = []
    import wsss.stages.cams as apply

    original = apply.class_activation_maps

    def counting(network, items, *rest):
        for result in original(network, items, *rest):
            seen_items.append(result[0].id)
            if len(seen_items) == 6:
                run.stop = "a test"
            yield result

    monkeypatch.setattr(apply, "class_activation_maps", counting)
    with pytest.raises(Interrupted):
        write_cams(run)
    assert not list(run.out.glob("shard-*"))
    run.stop = None
    write_cams(run)
    assert len(seen_items) == 6 + 10 and len(list(run.out.glob("shard-*.h5"))) == 1
    # other settings: nothing old is kept
    write_cams(make_run(CamsSettings(classifier="x", scales=(0.5,)), run.inputs))
    assert len(seen_items) == 6 + 10 + 16


def test_predictions_with_and_without_crf(tiny_index, segmenter, make_run):
    for name, crf in (("plain", None), ("crf", CrfSettings(unary="scores", iterations=1))):
        settings = PredictSettings(scales=(1.0,), crf=crf)
        run = make_run(settings, {"index": tiny_index, "segmenter": segmenter[1]}, name)
        for _ in range(2):  # and when a killed run had made all masks
            run.recorded.clear()
            write_predictions(run)
            assert run.recorded.get("crf_backend") == (None if crf is None else "native")
        items = Index.load(tiny_index).split("val")
        masks = MaskFolder(run.out / "masks")
        assert sorted(masks.ids()) == sorted(i.id for i in items)
        if crf is None:
            for item, scores in pixel_probabilities(segmenter[0], items, settings, CPU, 1):
                assert np.array_equal(masks.read(item.id), scores.argmax(0))


def test_predictions_with_a_classifier_beside_the_network(tiny_index, segmenter, classifier, make_run):
    """Each image by itself, the classifier asked first; the shards together give the same bytes."""
    settings = PredictSettings(scales=(1.0,), tag_threshold=0.5)
    inputs = {"index": tiny_index, "segmenter": segmenter[1], "tags_from": classifier[1]}
    run = make_run(settings, inputs, "limited")
    write_predictions(run)
    items, masks = Index.load(tiny_index).split("val"), MaskFolder(run.out / "masks")
    view, differ = InferenceSettings(scales=(1.0,)), 0
    for item, scores in pixel_probabilities(segmenter[0], items, settings, CPU, 1):
        (tags,) = tag_probabilities(classifier[0], [item], view, CPU, 1)
        names = [c for c in range(2) if tags[c] >= 0.5 or tags[c] == tags.max()]
        objects = scores[1:].copy()
        for c in range(2):
            if c not in names:
                objects[c] = 0
        objects *= (1 - scores[0]) / objects.sum(0)
        expected = np.where(objects.max(0) > scores[0], 1 + objects.argmax(0), 0)
        assert (masks.read(item.id) == expected).mean() > 0.999, "folded layers round otherwise"
        differ += (masks.read(item.id) != scores.argmax(0)).any()
    assert differ
    shared = make_run(settings, inputs, "shared")
    for shared.shard in (*(Shard(number, 3) for number in range(3)), None):
        write_predictions(shared)
    there = MaskFolder(shared.out / "masks")
    for item in items:
        assert there.path_of(item.id).read_bytes() == masks.path_of(item.id).read_bytes()


def test_a_classifier_of_other_classes_is_refused(tiny_index, segmenter, classifier, make_run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    about = {"backbone": "test_resnet", "output_stride": 8, "classes": ["red", "blue"]}
    save_weights(other / "model.safetensors", classifier[0].state_dict(), about)
    write_manifest(other, {})
    run = make_run(PredictSettings(), {"index": tiny_index, "segmenter": segmenter[1], "tags_from": other})
    with pytest.raises(WsssError, match="other: knows the classes red, blue, but the segmentation network red, green"):
        write_predictions(run)


@pytest.mark.parametrize("crf, most", [(None, 1), (CrfSettings(unary="scores", iterations=1), 2)])
def test_few_probabilities_wait_in_memory(tiny_index, segmenter, make_run, monkeypatch, crf, most):
    """Without a CRF a mask is written at once; with one, probabilities wait up to a number of bytes."""
    import wsss.stages.predictions as apply

    original, handed, written, waiting = apply.pixel_probabilities, [], [], []

    def counting(*given):
        for pair in original(*given):
            handed.append(pair)
            yield pair
            waiting.append(len(handed) - len(written))

    write = MaskFolder.write
    monkeypatch.setattr(MaskFolder, "write", lambda self, id, mask: (written.append(id), write(self, id, mask))[1])
    monkeypatch.setattr(apply, "pixel_probabilities", counting)
    monkeypatch.setattr(wsss.parts.masks, "WAITING", most * 3 * 40 * 48 * 4)
    settings = PredictSettings(scales=(1.0,), crf=crf)
    run = make_run(settings, {"index": tiny_index, "segmenter": segmenter[1]})
    write_predictions(run)
    assert max(waiting) == most - 1 and len(written) == 4
    at_once = FinishPrediction(settings, MaskFolder(run.out / "again"))
    (run.out / "again").mkdir()
    for pair in handed:
        at_once(pair)
        names = (run.out / folder / f"{pair[0].id}.png" for folder in ("masks", "again"))
        assert len({path.read_bytes() for path in names}) == 1


def test_other_classes_are_refused(tiny_index, classifier, make_run, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(tiny_index, other)
    (other / "classes.txt").write_text("green\nred\n")
    run = make_run(CamsSettings(classifier="x"), {"index": other, "classifier": classifier[1]})
    with pytest.raises(WsssError, match="trained on the classes red, green, but .* has green, red"):
        write_cams(run)


def test_stride_is_measured(classifier):
    assert network_stride(classifier[0]) == 8
