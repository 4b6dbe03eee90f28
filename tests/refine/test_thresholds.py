"""Otsu's threshold: beside its definition tried candidate by candidate, by hand, and in the stages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

import wsss.stages.masks
from wsss.refine.affinity_labels import labels_by_thresholds, labels_with_saliency
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.refine.thresholds import Band, described, otsu, otsu_band, otsu_of_each
from wsss.runtime.shard import Shard
from wsss.settings import (
    AffinityLabelSettings,
    AffinitySettings,
    CrfSettings,
    MasksSettings,
    SaliencyMaskSettings,
    Threshold,
)
from wsss.stages.affinity_labels import make as write_affinity_labels
from wsss.stages.masks import make as write_pseudo_masks
from wsss.stages.saliency_masks import make as write_saliency_masks
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder

OTSU = Threshold(policy="otsu")
BY_OTSU = AffinityLabelSettings(policy="otsu", crf=None)


def slow_otsu(values):
    """All 64 candidates; each pixel stands for the middle of the bin whose upper border it does not exceed."""
    pixels = [min(k for k in range(64) if v <= (k + 1) / 64) + 0.5 for v in values.ravel().tolist()]
    best, found = 0.0, None
    for k in range(64):
        low, high = ([p for p in pixels if (p < k) == under] for under in (True, False))
        if low and high:
            shares = len(low) / len(pixels), len(high) / len(pixels)
            variance = shares[0] * shares[1] * (sum(high) / len(high) - sum(low) / len(low)) ** 2
            if variance > best * (1 + 1e-9):
                best, found = variance, k / 64
    return (pixels[0] + 0.5) / 64 if found is None else found


@pytest.mark.parametrize("seed", range(8))
def test_slow_twin(seed):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.95)
    low, high = rng.beta(2, 8, 400), rng.beta(*rng.uniform(2, 9, 2), 400)
    values = np.where(rng.random(400) < share, low, high).astype(np.float32).reshape(16, 25)
    for map_ in (values, np.round(values * 64) / np.float32(64), np.round(values, 1), values.reshape(-1)):
        found = otsu(map_)
        assert found.dtype == np.float32 and found == slow_otsu(map_)
    # what exceeds the threshold is the upper class, value by value
    assert 0 < (values > otsu(values)).sum() < values.size


def test_values_on_the_border_of_a_bin_are_below_it():
    values = np.float32([0.25, 0.25, 0.5, 0.5])
    assert otsu(values) == 0.25 and (values > otsu(values)).tolist() == [False, False, True, True]
    above = np.nextafter(np.float32(0.25), np.float32(1))
    assert otsu(np.float32([above, above, 0.5, 0.5])) == np.float32(17 / 64)


def test_few_large_values_count_by_their_share():
    """One pixel of 100 does not draw the threshold to itself: halves do."""
    values = np.float32([0.1] * 50 + [0.5] * 49 + [1.0])
    assert 0.1 < otsu(values) < 0.5


@pytest.mark.parametrize("value", [0.0, 0.01, 0.25, 0.3, 1.0])
def test_a_map_of_one_value_claims_nothing(value):
    map_ = np.full((1, 4, 5), value, np.float32)
    assert value <= otsu(map_) <= 1 and otsu(map_) == slow_otsu(map_)
    assert not pseudo_mask(map_, np.array([3]), otsu_of_each(map_)).any()


def test_a_map_that_lies_in_one_bin_claims_nothing():
    map_ = np.linspace(0.251, 0.264, 20, dtype=np.float32).reshape(1, 4, 5)
    assert otsu(map_) == np.float32(17 / 64)
    assert not pseudo_mask(map_, np.array([3]), otsu_of_each(map_)).any()


def test_a_map_of_one_pixel_and_a_map_of_none():
    assert otsu(np.ones((1, 1), np.float32)) == 1
    assert otsu_of_each(np.zeros((0, 3, 4), np.float32)).shape == (0,)
    with pytest.raises(ValueError, match="without pixels"):
        otsu(np.zeros((0, 4), np.float32))


def test_values_outside_count_as_0_or_1():
    assert otsu(np.float32([-1, 0.5, 0.5, 7])) == otsu(np.float32([0, 0.5, 0.5, 1]))


def test_every_map_has_its_own():
    maps = np.float32([[[0, 0, 0.2, 0.2]], [[0.5, 0.9, 0.5, 0.5]]])
    assert otsu_of_each(maps).tolist() == [otsu(maps[0]), otsu(maps[1])] == [1 / 64, 0.5]
    # 0.2 exceeds the first map's though it is the smaller value; the second yields there, its 0.5 equals its own
    assert pseudo_mask(maps, np.array([2, 7]), otsu_of_each(maps)).tolist() == [[0, 8, 3, 3]]


def test_the_band_lies_a_third_to_either_side():
    maps = np.float32([[[0.25, 0.25, 1, 1]], [[0.5, 0.5, 0.5, 0.5]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    band = otsu_band(maps)
    assert isinstance(band, Band) and all(each.dtype == np.float32 for each in band)
    np.testing.assert_allclose(band.foreground, [0.5, 2 / 3, 1 / 64 + 63 / 192, 1], rtol=1e-6)
    np.testing.assert_allclose(band.background, [1 / 6, 1 / 3, 1 / 96, 2 / 3], rtol=1e-6)
    assert (band.background < band.foreground).all()


def test_affinity_labels_of_two_readings_by_hand():
    maps = np.float32([[[0.25, 0.25, 1, 1, 0.45, 0.1]], [[0, 0, 0, 0, 0, 0]]])
    t = slow_otsu(maps[0])
    strict, generous = t + (1 - t) / 3, 2 * t / 3
    expected = [[4 if v > strict else 255 if v > generous else 0 for v in maps[0, 0]]]
    assert set(expected[0]) == {0, 4, 255}
    found = labels_by_thresholds(maps, np.array([3, 8]), BY_OTSU)
    assert found.dtype == np.uint8 and found.tolist() == expected
    # a map that says the same everywhere leaves all open, one of zeros says background
    assert labels_by_thresholds(maps[:1] * 0 + 0.5, np.array([3]), BY_OTSU).tolist() == [[255] * 6]
    assert labels_by_thresholds(maps[1:], np.array([8]), BY_OTSU).tolist() == [[0] * 6]


def test_affinity_labels_with_saliency_by_hand():
    saliency = np.float32([[0.2, 0.2, 0.7, 0.7, 0.7]])
    maps = np.float32([[[0.9, 0.1, 0.9, 0.2, 0.1]], [[0.0, 0.0, 0.0, 0.3, 0.0]]])
    found = labels_with_saliency(maps, np.array([3, 8]), saliency, BY_OTSU)
    # 0.2 does not exceed Otsu's 13/64 of the saliency; 0.3 exceeds the second map's; 0.1 of the last no map's
    assert otsu(saliency) == np.float32(13 / 64) and found.tolist() == [[0, 0, 4, 9, 255]]
    fixed = AffinityLabelSettings(crf=None)
    assert labels_with_saliency(maps, np.array([3, 8]), saliency, fixed).tolist() == [[4, 255, 4, 255, 255]]
    assert labels_with_saliency(maps, np.array([3, 8]), 0 * saliency, BY_OTSU).tolist() == [[0] * 5]


@pytest.mark.parametrize(
    ("cls", "values", "said"),
    [
        (MasksSettings, {"cams": "x", "threshold": {"policy": "otsu", "per_class": True}}, "leave per_class out"),
        (MasksSettings, {"cams": "x", "threshold": {"policy": "otsu"}, "crf": "psa"}, "set crf.unary to labels"),
        (AffinityLabelSettings, {"policy": "otsu", "crf": "psa"}, "set crf.unary to labels"),
        (SaliencyMaskSettings, {"threshold": "otso"}, "otsu"),
        (SaliencyMaskSettings, {"threshold": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other(cls, values, said):
    with pytest.raises(ValidationError, match=said):
        cls.read(values)


def test_fixed_scores_play_no_part_in_otsu():
    crossed = {"foreground": 0.1, "background": 0.4}
    with pytest.raises(ValidationError, match="must not exceed"):
        AffinitySettings.read({"cams": "x", "labels": crossed})
    assert AffinitySettings.read({"cams": "x", "labels": {**crossed, "policy": "otsu"}})
    beside = {"cams": "x", "crf": "psa", "threshold": {"policy": "otsu"}}
    assert MasksSettings.read({**beside, "saliency": "s"}) and MasksSettings.read({**beside, "ignore": {}})


def test_the_identities_of_others_stay():
    """What came new counts only where it is used."""
    assert "policy" not in AffinityLabelSettings().counted()
    assert BY_OTSU.counted()["policy"] == "otsu"
    assert SaliencyMaskSettings().counted()["threshold"] == 0.2
    assert SaliencyMaskSettings.read({"threshold": "0.3"}).threshold == 0.3


def test_only_some_policies_look_at_masks():
    looked = {policy: Threshold(policy=policy).looks_at_masks for policy in ("fixed", "calibrated", "oracle", "otsu")}
    assert looked == {"fixed": False, "calibrated": True, "oracle": True, "otsu": False}


def limits_of(store, items):
    """Otsu's thresholds of all images, by the slow form."""
    return [[slow_otsu(each) for each in store.full(item.id)] for item in items]


@pytest.mark.parametrize("threads", [1, 2])
def test_masks_in_the_stage(index_and_maps, make_run, threads):
    index, cams, _ = index_and_maps
    settings = MasksSettings(cams="x", threshold=OTSU, crf=None)
    run = make_run("masks", settings, {"index": index.folder, "cams": cams}, threads=threads)
    write_pseudo_masks(run)  # no scores are given: none are read
    store, masks = MapStore(cams), MaskFolder(run.out / "masks")
    every = limits_of(store, index.items)
    assert len({limit for limits in every for limit in limits}) > 1
    for item, limits in zip(index.items, every, strict=True):
        expected = pseudo_mask(store.full(item.id), store[item.id].classes, np.float32(limits))
        np.testing.assert_array_equal(masks.read(item.id), expected)
    flat = [limit for limits in every for limit in limits]
    facts = run.facts["threshold"]
    assert facts == described(every) and "masks_looked_at" not in facts and "value" not in facts
    assert (facts["images"], facts["maps"]) == (sum(bool(item.labels) for item in index.items), len(flat))
    assert facts["mean"] == round(float(np.mean(flat)), 4) and facts["std"] == round(float(np.std(flat)), 4)
    assert (facts["lowest"], facts["highest"]) == (round(min(flat), 4), round(max(flat), 4))


def test_masks_that_were_made_are_kept_with_their_thresholds(index_and_maps, make_run, monkeypatch):
    """Two jobs made them all; the one that joins them has the thresholds from their journals."""
    index, cams, _ = index_and_maps
    settings = MasksSettings(cams="x", threshold=OTSU, crf=None)
    inputs = {"index": index.folder, "cams": cams}
    whole = make_run("masks", settings, inputs, "whole")
    write_pseudo_masks(whole)
    for number in range(2):
        write_pseudo_masks(make_run("masks", settings, inputs, "parts", shard=Shard(number, 2)))
    counted: list[int] = []
    monkeypatch.setattr(wsss.stages.masks, "otsu_of_each", lambda maps: counted.append(1))
    joined = make_run("masks", settings, inputs, "parts")
    write_pseudo_masks(joined)
    assert counted == []
    assert joined.facts["threshold"] == whole.facts["threshold"] and joined.digests == whole.digests


def test_affinity_labels_in_the_stage(index_and_maps, make_run):
    index, cams, saliency = index_and_maps
    inputs, items = {"index": index.folder, "cams": cams}, index.split("train")
    store, salient = MapStore(cams), MapStore(saliency)
    for name, given in (("two", inputs), ("saliency", inputs | {"saliency": saliency})):
        crossed = BY_OTSU.model_copy(update={"foreground": 0.1, "background": 0.4})  # without effect here
        run = make_run("affinity_labels", crossed, given, name)
        write_affinity_labels(run)
        masks = MaskFolder(run.out / "masks")
        for item in items:
            maps, classes = store.full(item.id), store[item.id].classes
            if "saliency" in given:
                expected = labels_with_saliency(maps, classes, salient.full(item.id)[0], BY_OTSU)
            else:
                expected = labels_by_thresholds(maps, classes, BY_OTSU)
            np.testing.assert_array_equal(masks.read(item.id), expected)
        assert run.facts["threshold"] == described(limits_of(store, items))
        shares = [run.facts[f"{kind}_share"] for kind in ("background", "object", "ignored")]
        assert sum(shares) == pytest.approx(1, abs=2e-4) and min(shares) > 0
        assert ("saliency_threshold" in run.facts) == ("saliency" in given)
    assert run.facts["saliency_threshold"] == described(limits_of(salient, items))


@pytest.mark.parametrize("crf", [None, CrfSettings(iterations=1), CrfSettings(unary="scores", iterations=1)])
def test_saliency_masks_in_the_stage(index_and_maps, make_run, crf):
    index, _, saliency = index_and_maps
    inputs = {"index": index.folder, "maps": saliency}
    run = make_run("saliency_masks", SaliencyMaskSettings(threshold="otsu", crf=crf), inputs)
    write_saliency_masks(run)
    store, masks, tagged = MapStore(saliency), MaskFolder(run.out / "masks"), [i for i in index.items if i.labels]
    assert len(tagged) < len(index.items)
    for item in index.items:
        mask = masks.read(item.id)
        if crf is None:
            map_ = store.full(item.id)[0]
            np.testing.assert_array_equal(mask, (map_ > slow_otsu(map_)) if item.labels else 0 * mask)
    assert run.facts["threshold"] == described(limits_of(store, tagged))
    total = sum(masks.read(item.id).sum() for item in index.items)
    assert run.facts["salient_share"] == round(float(total / sum(i.height * i.width for i in index.items)), 4) > 0


def test_facts_of_images_without_maps():
    assert described([[], []]) == {"policy": "otsu", "images": 0, "maps": 0}
    assert json.loads(json.dumps(described([[0.25]]))) == {
        **{"policy": "otsu", "images": 1, "maps": 1},
        **{"mean": 0.25, "std": 0.0, "lowest": 0.25, "highest": 0.25},
    }
