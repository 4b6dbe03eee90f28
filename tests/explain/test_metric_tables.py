"""Tables of classes and of the whole, files of detections, localisation, and cost."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch

from tests.explain.nets import images, pooled
from tests.explain.test_metrics import Given, rows_of, several
from wsss.errors import WsssError
from wsss.evaluate.thresholds import ThresholdCounts
from wsss.explain import Classes, find
from wsss.explain.curves import curves
from wsss.explain.metrics import (
    DetectionTable,
    ExplainedBatch,
    Metrics,
    Tally,
    energy,
    measure,
    measure_seeds,
    seed_scores,
    write_table,
)
from wsss.explain.metrics.localisation import THRESHOLDS

NAN = math.nan


def by_hand() -> Tally:
    """Class 0: three detections, two with others; class 1: one, alone; class 2: none."""
    tally = Tally(3)
    values = {
        "ic": [1, 0, 0, 0],
        "ad": [0.0, 0.4, 0.2, 0.5],
        "ar": [0.6, 0.3, 0.3, 0.8],
        "ado": [0.5, 0.1, NAN, NAN],
        "aro": [0.2, 0.4, NAN, NAN],
        "energy": [0.5, NAN, 0.7, NAN],
        "deletion_mean": [0.1, 0.2, 0.3, 0.4],
    }
    flags = {"several": [1, 1, 0, 0], "zero_map": [0, 0, 1, 0], "nan_map": [0] * 4, "improbable": [0, 1, 0, 1]}
    tally.add(
        torch.tensor([0, 0, 0, 1]),
        {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()},
        {name: torch.tensor(value).bool() for name, value in flags.items()},
        {"deletion_mean": torch.tensor([[1.0, 0], [1, 0], [1, 1], [0, 0]])},
    )
    tally.add_cost(5, 2.5, {"forwards": 10, "backwards": 5}, None)
    return tally


def f(a, d, beta=1.0):
    return (1 + beta**2) * a * d / (beta**2 * d + a)


def test_class_table_by_hand():
    zero, one, two = by_hand().class_table(["cat", "dog", "cow"])
    assert (zero["class"], zero["detections"], zero["several"]) == ("cat", 3, 2)
    assert [zero[m] for m in ("ic", "ad", "ar")] == pytest.approx([100 / 3, 20, 40])
    assert [zero[m] for m in ("ado", "aro", "energy", "deletion_mean")] == pytest.approx([20, 20, 60, 0.2])
    for beta in (0.5, 1, 2):
        assert zero[f"f{beta:g}+"] == pytest.approx(f(40, 20, beta)) and zero[f"f{beta:g}-"] == pytest.approx(20)
    assert one["ado"] == one["aro"] == one["f1+"] == one["f1-"] == 0 and one["ad"] == pytest.approx(50)
    assert two["detections"] == 0 and all(two[m] is None for m in ("ic", "ado", "f1+", "energy"))
    zero, one, _ = by_hand().class_table(["cat", "dog", "cow"], "multi_only")
    assert [zero[m] for m in ("ado", "aro", "f1+")] == pytest.approx([30, 30, f(40, 30)])
    assert one["ado"] is one["aro"] is one["f2+"] is one["f1-"] is None and one["ar"] == pytest.approx(80)


def test_summary_by_hand():
    found = by_hand().summary()
    macro, weighted = found["macro"], found["weighted"]
    assert [macro["ad"], weighted["ad"]] == pytest.approx([35, (0 + 40 + 20 + 50) / 4])
    assert [macro["ado"], weighted["ado"]] == pytest.approx([10, 15])
    assert [macro["f1+"], weighted["f1+"]] == pytest.approx([f(40, 20) / 2, f(40, 20) * 3 / 4])
    assert macro["f1+"] != pytest.approx(f(macro["ar"], macro["ado"]))  # not that of the means
    assert [macro["energy"], weighted["energy"]] == pytest.approx([60, 60])
    assert (found["images"], found["detections"], found["several_share"]) == (5, 4, 0.5)
    assert (found["zero_map_rate"], found["nan_rate"], found["improbable_rate"]) == (0.25, 0, 0.5)
    assert [found[f"{n}_per_image"] for n in ("forwards", "head_forwards", "backwards", "seconds")] == [2, 0, 1, 0.5]
    assert by_hand().mean_curves() == {"deletion_mean": [0.75, 0.25]}
    only = by_hand().summary("multi_only")
    assert [only["weighted"]["ado"], only["macro"]["ado"]] == pytest.approx([30, 30])  # the mean over two detections
    nothing = Tally(2).summary()
    assert nothing["zero_map_rate"] is None and nothing["macro"] == {} and Tally(2).mean_curves() == {}


def test_merged_shards_are_the_whole():
    subject, x = several()
    options = Metrics(curves=True, steps=2)
    whole, one, other = (
        measure(find("cam")(), subject, [ExplainedBatch(part)], 4, options) for part in (x, x[:5], x[5:])
    )  # fmt: skip
    both = one.merge(other).merge(Tally(4))
    for others in ("reference", "multi_only"):
        for part in ("macro", "weighted"):
            assert both.summary(others)[part] == pytest.approx(whole.summary(others)[part], abs=1e-4)
    assert both.images == 12 and both.detections.tolist() == whole.detections.tolist()
    assert Tally(4).merge(whole).summary()["weighted"] == whole.summary()["weighted"]
    for name, curve in whole.mean_curves().items():
        assert both.mean_curves()[name] == pytest.approx(curve, abs=1e-5)


def test_sums_are_all_that_grows():
    subject, x = several()

    def kept(tally):
        parts = (tally.sums, tally.numbers, tally.flags, tally.curves)
        return sum(each.numel() for part in parts for each in part.values())

    few, many = (measure(find("cam")(), subject, [ExplainedBatch(x)] * n, 4) for n in (1, 3))
    assert kept(few) == kept(many) and many.detections.sum() == 3 * few.detections.sum() > 0
    assert many.summary()["weighted"] == pytest.approx(few.summary()["weighted"])


def test_files(tmp_path):
    subject, x = several()
    with DetectionTable(tmp_path / "detections.csv") as table:
        tally = measure(find("cam")(), subject, [ExplainedBatch(x[:7]), ExplainedBatch(x[7:])], 4, each=table)
        assert not (tmp_path / "detections.csv").exists()
    rows = list(csv.DictReader((tmp_path / "detections.csv").open()))
    assert len(rows) == tally.summary()["detections"] and int(rows[-1]["image"]) > 7
    mean = sum(float(row["ad"]) for row in rows) / len(rows)
    assert 100 * mean == pytest.approx(tally.summary()["weighted"]["ad"])
    single = [row for row in rows if row["several"] == "False"]
    assert single and all(row["ado"] == "" for row in single)
    write_table(tmp_path / "classes.csv", tally.class_table("abcd"))
    classes = list(csv.DictReader((tmp_path / "classes.csv").open()))
    assert [row["class"] for row in classes] == list("abcd") and "f0.5+" in classes[0]
    with pytest.raises(RuntimeError), DetectionTable(tmp_path / "broken.csv") as table:
        table([{"image": 1}])
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.csv", "detections.csv"]


def test_t_da_4_curves_stand_beside_those_of_a_random_map():
    subject, x = several()
    tally, found = rows_of(subject, x, curves=True, steps=4, curve_fills=("mean", "noise"), seed=3)
    names = [f"{mode}_{fill}" for mode in ("deletion", "insertion") for fill in ("mean", "noise")]
    assert Metrics().curve_fills == ("mean", "blur") and Metrics().steps == 20
    assert list(tally.curves) == [name + suffix for name in names for suffix in ("", "_random")]
    target = Classes("pred")
    ids = [str(n) for n in range(12)]
    made = find("cam")()(subject, x, target, ids=ids)
    for name in names:
        mode, fill = name.split("_")
        own = curves(subject, x, target, made, mode, fill=fill, steps=4, ids=ids, seed=3)
        assert [row[name] for row in found] == pytest.approx(own.auc.tolist(), abs=1e-5)
        assert tally.mean_curves()[name] == pytest.approx(own.scores.mean(0).tolist(), abs=1e-5)
        assert tally.summary()["weighted"][name] == pytest.approx(own.auc.mean().item(), abs=1e-5)
        assert [row[name] for row in found] != pytest.approx([row[f"{name}_random"] for row in found], abs=1e-3)


def test_cost_is_that_of_explaining_alone():
    subject, x = several()
    options = Metrics(curves=True, steps=2)
    asked = len({row["image"] for row in rows_of(subject, x)[1]})
    assert 6 < asked < 12
    for name, forwards, backwards in (("cam", 1, 0), ("grad-cam", 1, None), ("score-cam", 1 + 6 * asked / 12, 0)):
        found = measure(find(name)(), subject, [ExplainedBatch(x[:5]), ExplainedBatch(x[5:])], 4, options).summary()
        expected = found["detections"] / 12 if backwards is None else backwards
        assert (found["forwards_per_image"], found["backwards_per_image"]) == pytest.approx((forwards, expected))
        assert found["seconds_per_image"] > 0 and found["peak_gpu_memory_mib"] is None


# Localisation


def test_energy_by_hand():
    masks = torch.tensor([[[1.0, 0.5], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    regions = torch.tensor([[[True, True], [False, False]], [[True, True], [True, True]], [[False] * 2] * 2])
    assert energy(masks, regions)[:2].tolist() == [0.75, 0] and energy(masks, regions)[2].isnan()
    valid = torch.tensor([[[True, True], [False, True]]] * 3)
    assert energy(masks, regions, valid)[0].item() == 1
    assert energy(masks, regions, ~regions)[:2].isnan().all()  # no pixel of the object counts


def test_energy_of_measured_maps():
    subject, x = several()
    maps = torch.zeros(12, 4, 4)
    maps[:, 0] = 1
    truth: list[np.ndarray | None] = [np.zeros((4, 4), np.uint8) for _ in x]
    for c in range(4):
        for mask in truth:
            mask[:2, c] = c + 1  # a column for each class: a quarter of the row that the map lies on
    truth[0][:, 3] = 255
    truth[11] = None
    found = []
    tally = measure(Given(maps), subject, [ExplainedBatch(x, truth=truth)], 4, each=found.extend)
    for row in found:
        expected = {0: None if row["class"] == 3 else 1 / 3, 11: None}.get(row["image"], 1 / 4)
        assert row["energy"] == (None if expected is None else pytest.approx(expected))
    assert any(row["energy"] is not None for row in found) and 25 <= tally.summary()["weighted"]["energy"] < 34


def seeds_twin(subject, x, labels, truth, threshold) -> float:
    matrix = np.zeros((5, 5))
    made = find("cam")()(subject, x, Classes("gt", labels))
    for i, mask in enumerate(truth):
        classes, maps = made.of(i)
        planes = [np.full(mask.shape, threshold, np.float32)]
        for each in maps:
            big = torch.nn.functional.interpolate(each.relu()[None, None], mask.shape, mode="bilinear")[0, 0]
            planes.append((big / (big.max() + 1e-5)).numpy())
        best = np.array([0, *(classes + 1).tolist()])[np.argmax(planes, 0)]
        for t, p in zip(mask.ravel(), best.ravel(), strict=True):
            if t != 255:
                matrix[t, p] += 1
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return (matrix.diagonal()[union > 0] / union[union > 0]).mean()


def test_seed_miou_at_the_calibrated_threshold():
    subject, x = pooled(), images(6)
    drawn = np.random.default_rng(0)
    truth = [drawn.choice([0, 1, 2, 255], (20, 24), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8) for _ in x]
    labels = torch.tensor([[1, 1, 0, 0]] * 5 + [[0, 0, 0, 0]])
    few = measure_seeds(find("cam")(), subject, [ExplainedBatch(x[:2], labels=labels[:2], truth=truth[:2])], 4)
    rest = measure_seeds(
        find("cam")(),
        subject,
        [
            ExplainedBatch(x[2:5], labels=labels[2:5], truth=[*truth[2:4], None]),
            ExplainedBatch(x[5:], labels=labels[5:], truth=truth[5:]),
        ],
        4,
    )
    found = seed_scores(few, rest)
    for part, at in ((slice(0, 2), None), ([2, 3, 5], found["seed_threshold"])):
        chosen = list(range(6))[part] if isinstance(part, slice) else part
        scores = [seeds_twin(subject, x[chosen], labels[chosen], [truth[i] for i in chosen], t) for t in THRESHOLDS]
        if at is None:
            assert found["seed_threshold"] == pytest.approx(THRESHOLDS[int(np.argmax(scores))])
        else:
            assert found["seed_miou"] == pytest.approx(scores[int(np.abs(THRESHOLDS - at).argmin())])
            assert found["seed_oracle_miou"] == pytest.approx(max(scores))
            assert found["seed_oracle_miou"] >= found["seed_miou"]
    assert (found["seed_calibration_images"], found["seed_images"]) == (2, 3)
    # classes 3 and 4 occur nowhere: left out, or two more zeros among five
    assert seed_scores(few, rest, "zero")["seed_miou"] < found["seed_miou"]
    assert seed_scores(rest, rest, "zero")["seed_oracle_miou"] == pytest.approx(found["seed_oracle_miou"] * 3 / 5)
    assert len(THRESHOLDS) == 16 and THRESHOLDS[0] == 0.05 and THRESHOLDS[-1] == 0.8
    with pytest.raises(WsssError, match="different thresholds"):
        seed_scores(few, ThresholdCounts(THRESHOLDS[:3], 4))
    with pytest.raises(WsssError, match="absent 'nan'"):
        seed_scores(few, rest, "nan")
