"""Pseudo-labels from maps."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from wsss.data.index import write_index
from wsss.errors import WsssError
from wsss.refine.agreeing import agreeing_threshold, salient_counts
from wsss.refine.crf import refine_scores
from wsss.refine.pseudo_masks import banded_mask, best_labels, object_or_not, pseudo_mask
from wsss.runtime.shard import Shard
from wsss.settings import AffinityLabelSettings, CrfSettings, IgnoreBand, MasksSettings, Threshold
from wsss.stages.affinity_labels import make as write_affinity_labels
from wsss.stages.masks import chosen_threshold
from wsss.stages.masks import make as write_pseudo_masks
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder


def slow_mask(maps, classes, threshold):
    """Pixel by pixel: the strongest of the classes that exceed the background score (a number, one a class, or one a
    pixel)."""
    out = np.zeros(maps.shape[1:], np.uint8)
    limits = np.asarray(threshold, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            value = -1
            for k, (c, map_) in enumerate(zip(classes, maps, strict=True)):
                limit = limits[k] if limits.ndim == 1 else limits[y, x] if limits.ndim == 2 else limits
                if map_[y, x] > limit and map_[y, x] > value:
                    out[y, x], value = c + 1, map_[y, x]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_slow_twin_with_ties(seed):
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 5, (3, 7, 9)).astype(np.float32) / np.float32(10)
    classes = np.array([1, 4, 19])
    planes = rng.integers(0, 5, (7, 9)).astype(np.float32) / np.float32(10)
    for threshold in (0, 0.1, 0.2, 0.35, np.array([0.2, 0.1, 0.3]), np.array([0.4, 0, 0]), planes):
        found = pseudo_mask(maps, classes, threshold)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, slow_mask(maps, classes, threshold))


def test_by_hand():
    maps = np.array([[[0.3, 0.31, 0.5, 0.4]], [[0.1, 0.2, 0.5, 0.6]]], np.float32)
    assert best_labels(maps, 0.3).tolist() == [[0, 1, 1, 2]]  # a tie goes to the background, then to the first
    assert pseudo_mask(maps, np.array([2, 7]), 0.3).tolist() == [[0, 3, 3, 8]]


def test_thresholds_of_each_class_by_hand():
    maps = np.array([[[0.5, 0.5, 0.3, 0.6, 0.6]], [[0.4, 0.2, 0.2, 0.6, 0.7]]], np.float32)
    limits = np.array([0.5, 0.2], np.float32)
    # the first equals its limit, so the second may; both equal theirs; none; a tie to the first; the second is stronger
    assert best_labels(maps, limits).tolist() == [[2, 0, 0, 1, 2]]


def test_saliency_as_background_by_hand():
    maps = np.array([[[0.3, 0.3, 0.3]], [[0.1, 0.2, 0.8]]], np.float32)
    saliency = np.array([[0.6, 0.7, 0.75]], np.float32)  # background 0.4, 0.3 (a tie goes to it), 0.25
    assert pseudo_mask(maps, np.array([4, 6]), 1 - saliency).tolist() == [[0, 0, 7]]


def test_saliency_alone_by_hand():
    maps = np.array([[[0.3, 0.0, 0.0, 0.9]], [[0.1, 0.2, 0.0, 0.8]]], np.float32)
    saliency = np.array([[0.6, 0.51, 0.7, 0.5]], np.float32)  # where no map has a value the first class; a tie is none
    assert pseudo_mask(maps, np.array([4, 6]), object_or_not(saliency, 0.5)).tolist() == [[5, 7, 5, 0]]


@pytest.mark.parametrize("crf", [None, CrfSettings(iterations=2), CrfSettings(unary="scores", iterations=2)])
def test_ignore_band_is_two_readings(crf):
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (3, 4, 3)), 6, 0), 6, 1).astype(np.uint8)
    maps = np.repeat(np.repeat(rng.random((2, 3, 4)), 6, 1), 6, 2).astype(np.float32)
    classes, band = np.array([0, 8]), IgnoreBand(foreground=0.7, background=0.2)
    found = banded_mask(maps, classes, band, image, crf)
    sure, generous = (pseudo_mask(maps, classes, t, image, crf) for t in (0.7, 0.2))
    if crf is not None:
        planes = np.concatenate([np.full((1, 18, 24), 0.7, np.float32), maps])
        np.testing.assert_array_equal(sure, np.array([0, 1, 9])[refine_scores(image, planes, crf)])
    for y in range(18):
        for x in range(24):
            expected = sure[y, x] if sure[y, x] else 0 if not generous[y, x] else 255
            assert found[y, x] == expected
    assert set(np.unique(found)) == {0, 1, 9, 255} or crf is not None
    assert not banded_mask(np.zeros((0, 4, 5), np.float32), np.zeros(0, int), band, None, crf).any()


def test_without_labels_all_is_background():
    mask = pseudo_mask(np.zeros((0, 4, 5), np.float32), np.zeros(0, int), 0.3, crf=CrfSettings())
    assert mask.shape == (4, 5) and mask.dtype == np.uint8 and not mask.any()


def test_crf_sees_the_tagged_classes_only():
    image = np.zeros((12, 10, 3), np.uint8)
    image[:, 5:] = 200
    maps = np.zeros((2, 12, 10), np.float32)
    maps[0, :, 7:] = 0.9
    maps[0, 6, 1] = 0.9
    settings = CrfSettings(bilateral=(5.0, 20.0, 10.0))
    mask = pseudo_mask(maps, np.array([3, 11]), 0.3, image, settings)
    assert set(np.unique(mask)) == {0, 4}
    np.testing.assert_array_equal(mask > 0, np.tile(np.arange(10) >= 5, (12, 1)))


def scores(tmp_path, policies):
    (tmp_path / "scores.json").write_text(json.dumps({"splits": {"train": {"policies": policies}}}))
    return tmp_path


def test_chosen_threshold(tmp_path):
    assert chosen_threshold(Threshold(value=0.25), None) == (0.25, {"value": 0.25, "policy": "fixed"})
    folder = scores(tmp_path, {"calibrated": {"threshold": 0.4, "threshold_images": 20}})
    value, facts = chosen_threshold(Threshold(policy="calibrated"), folder)
    assert value == 0.4 and facts == {"value": 0.4, "policy": "calibrated", "masks_looked_at": 20}
    with pytest.raises(WsssError, match="no oracle threshold"):
        chosen_threshold(Threshold(policy="oracle"), folder)
    with pytest.raises(WsssError, match="--scores"):
        chosen_threshold(Threshold(policy="oracle"), None)
    with pytest.raises(WsssError, match="training split"):
        chosen_threshold(Threshold(policy="oracle"), tmp_path / "nowhere")


def test_chosen_thresholds_of_each_class(tmp_path):
    policy = {"threshold": 0.4, "threshold_images": 20, "thresholds_per_class": {"cat": 0.25, "red cow": 0.5}}
    folder = scores(tmp_path, {"calibrated": policy})
    settings = Threshold(policy="calibrated", per_class=True)
    value, facts = chosen_threshold(settings, folder, ("cat", "red cow"))
    assert value.dtype == np.float32 and value.tolist() == [0.25, 0.5]
    assert facts["per_class"] == {"cat": 0.25, "red cow": 0.5} and facts["masks_looked_at"] == 20
    with pytest.raises(WsssError, match="no thresholds of the classes cat, dog"):
        chosen_threshold(settings, folder, ("cat", "dog"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"threshold": {"per_class": True}}, "set policy to calibrated or oracle"),
        ({"threshold": {"per_class": True, "policy": "oracle"}, "crf": {"unary": "scores"}}, "set crf.unary to labels"),
        ({"saliency": "s", "ignore": {}}, "leave 'ignore' out"),
        ({"ignore": {"foreground": 0.2, "background": 0.3}}, "must not exceed"),
    ],
)
def test_settings_that_contradict_each_other(values, said):
    with pytest.raises(ValidationError, match=said):
        MasksSettings.read({"cams": "x", **values})


def test_a_default_threshold_may_stand_beside_the_other_rules():
    each = {"policy": "oracle", "per_class": True}
    for rule in ({"saliency": "s"}, {"ignore": {}}):
        assert MasksSettings.read({"cams": "x", "crf": {"unary": "scores"}, "threshold": each, **rule})


def test_manifests_name_what_computed_the_crf(index_and_maps, make_run):
    index, cams, _ = index_and_maps
    inputs = {"index": index.folder, "cams": cams}
    for name, crf in (("none", None), ("some", CrfSettings(iterations=1))):
        masks = make_run("masks", MasksSettings(cams="x", crf=crf), inputs, f"masks-{name}")
        write_pseudo_masks(masks)
        labels = make_run("affinity_labels", AffinityLabelSettings(crf=crf), inputs, f"labels-{name}")
        write_affinity_labels(labels)
        for run in (masks, labels):
            assert run.recorded.get("crf_backend") == (None if crf is None else "native")


def test_saliency_in_the_stage(index_and_maps, make_run, tmp_path):
    index, cams, saliency = index_and_maps
    settings = MasksSettings(cams="x", saliency="s", crf=None)
    inputs = {"index": index.folder, "cams": cams}
    with pytest.raises(WsssError, match="give its maps with --saliency"):
        write_pseudo_masks(make_run("masks", settings, inputs))
    run = make_run("masks", settings, inputs | {"saliency": saliency})
    write_pseudo_masks(run)
    assert run.facts["threshold"] == {"policy": "1 - saliency"} and "ignored_share" not in run.facts
    maps, salient, masks = MapStore(cams), MapStore(saliency), MaskFolder(run.out / "masks")
    for item in index.items:
        expected = slow_mask(maps.full(item.id), item.labels, 1 - salient.full(item.id)[0])
        np.testing.assert_array_equal(masks.read(item.id), expected)
    # the constant threshold plays no part
    again = MasksSettings(cams="x", saliency="s", crf=None, threshold=Threshold(value=0.9))
    run = make_run("masks", again, inputs | {"saliency": saliency}, "again")
    write_pseudo_masks(run)
    item = index.items[2]
    np.testing.assert_array_equal(MaskFolder(run.out / "masks").read(item.id), masks.read(item.id))


def test_saliency_alone_in_the_stage(index_and_maps, make_run):
    index, cams, saliency = index_and_maps
    settings = MasksSettings(cams="x", saliency="s", saliency_threshold=0.4, crf=None)
    run = make_run("masks", settings, {"index": index.folder, "cams": cams, "saliency": saliency})
    write_pseudo_masks(run)
    assert run.facts["threshold"] == {"policy": "saliency above", "value": 0.4}
    maps, salient, masks, seen = MapStore(cams), MapStore(saliency), MaskFolder(run.out / "masks"), set()
    for item in index.items:
        expected, each, said = np.zeros((item.height, item.width), np.uint8), maps.full(item.id), salient.full(item.id)
        for y, x in np.ndindex(expected.shape):
            if item.labels and said[0, y, x] > 0.4:
                strongest = max(range(len(each)), key=lambda k, y=y, x=x: (each[k, y, x], -k))
                expected[y, x] = sorted(item.labels)[strongest] + 1
        np.testing.assert_array_equal(masks.read(item.id), expected)
        seen |= set(np.unique(expected).tolist())
    assert len(seen) > 2


def test_saliency_that_agrees_with_the_maps(index_and_maps, make_run):
    """One threshold for all images, from the training images, whichever get masks; every shard finds the same."""
    index, cams, saliency = index_and_maps
    maps, salient = MapStore(cams), MapStore(saliency)
    tagged = [item for item in index.split("train") if item.labels]
    value = agreeing_threshold(salient_counts(salient.full(i.id)[0], maps.full(i.id)) for i in tagged)
    inputs = {"index": index.folder, "cams": cams, "saliency": saliency}
    expected = MasksSettings(cams="x", saliency="s", saliency_threshold=value, crf=None)
    write_pseudo_masks(plain := make_run("masks", expected, inputs, "plain"))
    for splits in (("train", "val"), ("val",)):
        settings = MasksSettings(cams="x", saliency="s", saliency_threshold="agreement", crf=None, splits=splits)
        run = make_run("masks", settings, inputs, f"agreed-{len(splits)}")
        for run.shard in (Shard(0, 2), Shard(1, 2), None):
            write_pseudo_masks(run)
        assert run.facts["threshold"] == {
            "policy": "saliency above", "value": value, "agrees_with": "maps", "images_looked_at": len(tagged)
        }  # fmt: skip
        for item in (item for split in splits for item in index.split(split)):
            masks = (MaskFolder(one.out / "masks").read(item.id) for one in (plain, run))
            np.testing.assert_array_equal(*masks)


def test_no_training_image_to_agree_on(index_and_maps, make_run, tmp_path):
    index, cams, saliency = index_and_maps
    shutil.copytree(index.folder, tmp_path / "untagged")
    items = [replace(item, labels=() if item.split == "train" else item.labels) for item in index.items]
    write_index(tmp_path / "untagged", index.classes, items)
    settings = MasksSettings(cams="x", saliency="s", saliency_threshold="agreement", crf=None)
    inputs = {"index": tmp_path / "untagged", "cams": cams, "saliency": saliency}
    with pytest.raises(WsssError, match="'agreement' is chosen on tagged training images, and there is none"):
        write_pseudo_masks(make_run("masks", settings, inputs))


def test_saliency_that_does_not_fit(index_and_maps, make_run, make_maps, tmp_path):
    index, cams, _ = index_and_maps
    settings, lost = MasksSettings(cams="x", saliency="s", crf=None), index.items[3]
    assert lost.labels

    def attempt(name, *args, **options):
        inputs = {"index": index.folder, "cams": cams, "saliency": make_maps(tmp_path / name, index, *args, **options)}
        write_pseudo_masks(make_run("masks", settings, inputs, f"out-{name}"))

    one = np.zeros((1, 5, 5))
    with pytest.raises(WsssError, match=f"few has no maps of 1 images: {lost.id!r}"):
        attempt("few", lambda item: ((0,), one), leave_out=(lost.id,))
    with pytest.raises(WsssError, match="2 maps of image .*saliency is one map"):
        attempt("two", lambda item: ((0, 1), np.zeros((2, 5, 5))))
    with pytest.raises(WsssError, match="are of a 7 x 8 image"):
        attempt("size", lambda item: ((0,), one), size=(7, 8))
    attempt("unlabelled", lambda item: ((0,), one), leave_out=[i.id for i in index.items if not i.labels])


def test_ignore_band_and_thresholds_of_each_class_in_the_stage(index_and_maps, make_run, tmp_path):
    index, cams, _ = index_and_maps
    inputs = {"index": index.folder, "cams": cams}
    band = IgnoreBand(foreground=0.6, background=0.3)
    run = make_run("masks", MasksSettings(cams="x", ignore=band, crf=None), inputs, "band")
    write_pseudo_masks(run)
    maps, masks, left_out, total = MapStore(cams), MaskFolder(run.out / "masks"), 0, 0
    for item in index.items:
        mask = masks.read(item.id)
        np.testing.assert_array_equal(mask, banded_mask(maps.full(item.id), maps[item.id].classes, band))
        left_out, total = left_out + (mask == 255).sum(), total + mask.size
    assert run.facts["ignored_share"] == round(left_out / total, 4) > 0
    assert run.facts["threshold"] == {"policy": "ignore band", "foreground": 0.6, "background": 0.3}

    each = {"cat": 0.2, "dog": 0.7, "red cow": 0.4}
    (tmp_path / "scores").mkdir()
    policy = {"oracle": {"threshold": 0.4, "threshold_images": 6, "thresholds_per_class": each}}
    inputs["scores"] = scores(tmp_path / "scores", policy)
    write_manifest(tmp_path / "scores", {})
    settings = MasksSettings(cams="x", threshold=Threshold(policy="oracle", per_class=True), crf=None)
    run = make_run("masks", settings, inputs, "each")
    write_pseudo_masks(run)
    for item in index.items:
        limits = np.array([list(each.values())[c] for c in item.labels])
        expected = slow_mask(maps.full(item.id), item.labels, limits)
        np.testing.assert_array_equal(MaskFolder(run.out / "masks").read(item.id), expected)
    assert run.facts["threshold"]["per_class"] == each
