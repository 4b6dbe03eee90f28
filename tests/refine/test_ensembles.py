"""Ensembles of maps: the rules, the members, the stage."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import wsss.stages.ensemble
from wsss.errors import WsssError
from wsss.evaluate.agreement import Agreement, count_pairs
from wsss.refine.ensembles import combine, reduced
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.settings import EnsembleSettings
from wsss.stages.ensemble import calibrated_weights
from wsss.stages.ensemble import make as write_ensemble
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.system.exit import Interrupted


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", [0.5, 0.5, 0.0]),
        ("max", [0.9, 1.0, 0.0]),
        ("geometric", [0.3, 0.0, 0.0]),
        ("noisy-or", [0.91, 1.0, 0.0]),
        ("calibrated", [0.3, 0.25, 0.0]),
    ],
)
def test_rules_by_hand(rule, expected):
    maps = np.array([[[0.9, 1.0, 0.0]], [[0.1, 0.0, 0.0]]], np.float32)
    found = combine(maps, rule, np.array([0.2, 0.6]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected], atol=1e-6)


def slowly(values, rule, weights):
    """One pixel of M members, in Python's own numbers."""
    if rule == "mean":
        return sum(values) / len(values)
    if rule == "max":
        return max(values)
    if rule == "calibrated":
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    product = 1.0
    for v in values:
        product *= v if rule == "geometric" else 1 - v
    return product ** (1 / len(values)) if rule == "geometric" else 1 - product


@pytest.mark.parametrize("rule", ["mean", "max", "geometric", "noisy-or", "calibrated"])
@pytest.mark.parametrize("count", [2, 5])
def test_rules_against_their_slow_twins(rule, count):
    rng = np.random.default_rng(count)
    maps, weights = rng.random((count, 2, 4, 5)).astype(np.float32), rng.random(count)
    maps[rng.random(maps.shape) < 0.2] = 0
    found = combine(maps, rule, weights)
    for place in np.ndindex(2, 4, 5):
        expected = slowly([float(maps[(m, *place)]) for m in range(count)], rule, weights.tolist())
        assert found[place] == pytest.approx(expected, abs=1e-6)
    assert 0 <= found.min() and found.max() <= 1


def test_members_that_agree_stay_as_they_are():
    one = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    for rule in ("mean", "max", "geometric", "calibrated"):
        np.testing.assert_allclose(combine(np.stack([one] * 3), rule, np.ones(3)), one, atol=1e-6)
    tiny = np.full((40, 1, 1), 1e-5, np.float32)  # whose product is 0 in fp32
    np.testing.assert_allclose(combine(tiny, "geometric"), 1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="unknown rule"):
        combine(tiny, "median")


@pytest.mark.parametrize("size", [(8, 12), (9, 11), (3, 5)])
def test_reduced_is_the_mean_of_blocks(size):
    full = np.random.default_rng(0).random((2, *size)).astype(np.float32)
    found = reduced(full)
    assert found.dtype == np.float32 and found.shape == (2, -(-size[0] // 4), -(-size[1] // 4))
    for k, y, x in np.ndindex(found.shape):
        assert found[k, y, x] == pytest.approx(full[k, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean(), abs=1e-6)
    assert reduced(full[:0]).shape == (0, *found.shape[1:])


def test_agreement_of_pairs_by_hand():
    masks = [np.array([[0, 1, 1, 255]], np.uint8), np.array([[0, 1, 2, 2]], np.uint8), np.full((1, 4), 255, np.uint8)]
    agreement = Agreement(("a", "b", "c"), 2)
    agreement.add(count_pairs(masks))
    agreement.add(count_pairs([np.zeros((2, 2), np.uint8)] * 2 + [np.full((2, 2), 255, np.uint8)]))
    first, second, third = agreement.rows()
    # pixels: 6 of 7 agree; IoU of background 5/5, of class 1 1/2, of class 2 0/1
    assert first == {"a": "a", "b": "b", "agreement": round(6 / 7, 6), "miou": 0.5, "pixels": 7}
    assert (second["a"], second["b"], third["a"], third["b"]) == ("a", "c", "b", "c")
    assert second["agreement"] is third["miou"] is None and second["pixels"] == 0


@pytest.fixture
def chain(tmp_path, pictures, make_maps):
    """An index and three members: two relative ones and an absolute one, whose classes stand in another order."""
    index = pictures(tmp_path / "index")
    folders = []
    for number, name in enumerate(("one", "two", "walk")):
        rng = np.random.default_rng(number)

        def of(item, rng=rng, number=number):
            labels = item.labels[::-1] if number == 2 else item.labels
            return labels, 0.7 * rng.random((len(labels), 5, 6))

        folders.append(make_maps(tmp_path / name, index, of, relative=int(number < 2), shards=number + 1))
    return index, folders


def given(index, folders, scores=()):
    inputs = {"index": index.folder} | {f"members.{n}": folder for n, folder in enumerate(folders)}
    return inputs | {f"scores.{n}": folder for n, folder in enumerate(scores)}


def settings(members=("one", "two"), **values):
    return EnsembleSettings.read({"members": list(members), **values})


@pytest.mark.parametrize("threads", [1, 2])
def test_stage(chain, make_run, threads):
    index, folders = chain
    run = make_run("ensemble", settings(rule="noisy-or"), given(index, folders[:2]), threads=threads)
    write_ensemble(run)
    write_manifest(run.out, {})
    store, (one, two) = MapStore(run.out), map(MapStore, folders[:2])
    assert store.relative and store.ids == [item.id for item in index.items]
    for item in index.items:
        record, a, b = store[item.id], reduced(one.full(item.id)), reduced(two.full(item.id))
        assert record.classes.tolist() == list(item.labels) and record.size == (item.height, item.width)
        if len(a):
            np.testing.assert_allclose(record.maps[0], 1 - (1 - a) * (1 - b), atol=1e-6)
            assert store.full(item.id).shape == (len(a), item.height, item.width)
            top = record.maps[0].max(axis=(1, 2), keepdims=True)
            np.testing.assert_allclose(store.low(item.id), record.maps[0] / top, atol=1e-4)


def test_an_absolute_member_makes_an_absolute_ensemble(chain, make_run):
    index, folders = chain
    run = make_run("ensemble", settings(("one", "walk"), rule="mean"), given(index, [folders[0], folders[2]]))
    write_ensemble(run)
    write_manifest(run.out, {})
    store, one, walk = MapStore(run.out), MapStore(folders[0]), MapStore(folders[2])
    assert not store.relative
    for item in index.items:
        expected = reduced((one.full(item.id) + walk.full(item.id)[::-1]) / 2)  # the walk's classes stand backwards
        np.testing.assert_allclose(store.low(item.id), expected, atol=1e-6)


def test_agreement_of_the_stage(chain, make_run):
    index, folders = chain
    run = make_run("ensemble", settings(("one", "two", "walk"), splits="train"), given(index, folders))
    write_ensemble(run)
    with (run.out / "agreement.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["a"], row["b"]) for row in table] == [("one", "two"), ("one", "walk"), ("two", "walk")]
    one, two = MapStore(folders[0]), MapStore(folders[1])
    same = total = 0
    for item in index.split("train"):
        a, b = (pseudo_mask(reduced(s.full(item.id)), np.array(item.labels, int), 0.3) for s in (one, two))
        same, total = same + (a == b).sum(), total + a.size
    assert float(table[0]["agreement"]) == pytest.approx(same / total, abs=1e-6) and int(table[0]["pixels"]) == total
    assert run.facts["agreement"][0]["miou"] == float(table[0]["miou"]) and run.facts["images"] == 6


def scores(folder, member, weight, images=20):
    folder.mkdir()
    content = {"recipe": member, "calibration_miou": weight, "calibration": ["x"] * images}
    (folder / "scores.json").write_text(json.dumps(content))
    write_manifest(folder, {})
    return folder


def test_calibrated_rule(chain, make_run, tmp_path):
    index, folders = chain
    weighed = [scores(tmp_path / "sa", "one", 0.3), scores(tmp_path / "sb", "two", 0.6)]
    run = make_run("ensemble", settings(rule="calibrated"), given(index, folders[:2], weighed))
    write_ensemble(run)
    assert run.facts["weighting"] == {
        "policy": "calibrated", "weights": {"one": 0.3, "two": 0.6}, "masks_looked_at": 20,
    }  # fmt: skip
    write_manifest(run.out, {})
    item = index.items[1]
    one, two = (reduced(MapStore(folder).full(item.id)) for folder in folders[:2])
    np.testing.assert_allclose(MapStore(run.out)[item.id].maps[0], (one + 2 * two) / 3, atol=1e-6)

    bad = scores(tmp_path / "sc", "two", None)
    zero = [scores(tmp_path / "sd", "one", 0.0), scores(tmp_path / "se", "two", 0.0)]
    for given_scores, said in (
        ([], "weights 2 members and was given 0 folders of scores"),
        (weighed[::-1], "scores 'two', not 'one'; give scores in the members' order"),
        ([weighed[0], bad], "no calibrated threshold: no training image has a mask"),
        ([weighed[0], index.folder], "holds no scores of maps"),
        (zero, "all members score 0"),
    ):
        with pytest.raises(WsssError, match=said):
            calibrated_weights(given_scores, folders[:2])


def test_members_that_do_not_fit_are_named_at_once(chain, make_run, make_maps, tmp_path):
    index, folders = chain
    lost, other, small = index.items[0], index.items[1], index.items[2]
    assert other.labels != (0,) and small.labels

    def of(item):
        labels = (0,) if item.id == other.id else item.labels
        return labels, np.ones((len(labels), 3, 3))

    bad = make_maps(tmp_path / "bad", index, of, leave_out=(lost.id,))
    run = make_run("ensemble", settings(("one", "bad")), given(index, [folders[0], bad]))
    with pytest.raises(WsssError) as error:
        write_ensemble(run)
    assert "2 of 9 failed" in str(error.value)
    assert f"{lost.id}: bad has no maps of it" in str(error.value)
    assert f"{other.id}: bad has maps of classes [0], it is tagged with {list(other.labels)}" in str(error.value)
    assert not list(run.out.glob("shard-*"))

    def fitting(item):
        return item.labels, np.ones((len(item.labels), 3, 3))

    sized = make_maps(tmp_path / "sized", index, fitting, size=(9, 9))
    with pytest.raises(WsssError, match=f"9 of 9 failed(.|\n)*maps of 9 x 9 pixels, it is {small.height} x"):
        write_ensemble(make_run("ensemble", settings(("one", "sized")), given(index, [folders[0], sized]), "s"))
    with pytest.raises(WsssError, match=r"2 members \(one, two\) and --members gives 1 folders"):
        write_ensemble(make_run("ensemble", settings(), given(index, folders[:1]), "n"))


def test_an_ensemble_that_was_stopped_goes_on(chain, make_run, monkeypatch):
    index, folders = chain
    run = make_run("ensemble", settings(), given(index, folders[:2]))
    done, original = [], wsss.stages.ensemble.combine

    def counting(*args):
        done.append(1)
        if len(done) == 4:
            run.stop = "a test"
        return original(*args)

    monkeypatch.setattr(wsss.stages.ensemble, "combine", counting)
    with pytest.raises(Interrupted):
        write_ensemble(run)
    assert not list(run.out.glob("shard-*"))
    run.stop = None
    write_ensemble(run)
    assert len(done) == 4 + 5 and len(run.facts["agreement"]) == 1
    write_ensemble(make_run("ensemble", settings(rule="max"), run.inputs))  # other settings: nothing old is kept
    assert len(done) == 4 + 5 + 9
