"""Confusion matrices and the scores read from them."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.evaluate.confusion import class_scores, confusion, mean_iou, metrics


def slow_scores(truth, prediction, classes):
    """Every score straight from sets of pixels."""
    pixels = [(t, p) for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True) if t != 255]
    table = {}
    for c in range(classes + 1):
        true = {i for i, (t, _) in enumerate(pixels) if t == c}
        found = {i for i, (_, p) in enumerate(pixels) if p == c}
        if true | found:
            table[c] = {
                "iou": len(true & found) / len(true | found),
                "precision": len(true & found) / len(found) if found else 0,
                "recall": len(true & found) / len(true) if true else 0,
                "f1": 2 * len(true & found) / (len(true) + len(found)),
                "fp": len(found - true) / len(true | found),
                "fn": len(true - found) / len(true | found),
            }
    return table


def test_by_hand():
    truth = np.array([[0, 0, 1, 1], [0, 2, 2, 255]])
    prediction = np.array([[0, 1, 1, 1], [0, 2, 0, 1]])
    matrix = confusion(truth, prediction, 3)
    np.testing.assert_array_equal(matrix, [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    found = metrics(matrix, ("a", "b", "absent"))
    assert found["per_class"]["background"]["iou"] == 2 / 4
    assert found["per_class"]["a"] == {"iou": 2 / 3, "precision": 2 / 3, "recall": 1.0, "f1": 4 / 5}
    assert found["per_class"]["b"] == {"iou": 1 / 2, "precision": 1.0, "recall": 1 / 2, "f1": 2 / 3}
    assert found["per_class"]["absent"]["iou"] is None
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2) / 3)
    assert found["miou_fg"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["pixel_accuracy"] == 5 / 7
    assert found["fp_rate"] == pytest.approx((1 / 3 + 0) / 2) and found["fn_rate"] == pytest.approx((0 + 1 / 2) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_slow_twin(seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 4, 255], (9, 11))
    prediction = rng.choice([0, 1, 3], (9, 11))
    scores, slow = class_scores(confusion(truth, prediction, 5)), slow_scores(truth, prediction, 5)
    for c in range(6):
        for name, values in scores.items():
            assert (c not in slow and np.isnan(values[c])) or values[c] == pytest.approx(slow[c][name]), (c, name)
    expected = np.mean([s["iou"] for s in slow.values()])
    assert mean_iou(confusion(truth, prediction, 5)) == pytest.approx(expected)


def test_truth_against_itself_and_all_background():
    """Specification, section 22, check 11."""
    truth = np.random.default_rng(0).integers(0, 5, (30, 30))
    assert metrics(confusion(truth, truth, 4), tuple("abcd"))["miou"] == 1.0
    matrix = confusion(truth, np.zeros_like(truth), 4)
    assert mean_iou(matrix) == pytest.approx((truth == 0).mean() / 5)


def test_batches_of_matrices():
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 9, (7, 2, 4, 4))
    np.testing.assert_allclose(mean_iou(matrices)[3, 1], mean_iou(matrices[3, 1]))
    assert mean_iou(matrices).shape == (7, 2)


def test_nothing_counted():
    found = metrics(np.zeros((3, 3), np.int64), ("a", "b"))
    assert found["miou"] is None and found["pixel_accuracy"] is None


@pytest.mark.parametrize(
    ("truth", "prediction", "said"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), "2 x 3"),
        (np.full((2, 2), 4), np.zeros((2, 2)), r"ground-truth mask holds the values \[4\]"),
        (np.zeros((2, 2)), np.full((2, 2), 255), r"prediction holds the values \[255\]"),
    ],
)
def test_wrong_input_is_refused(truth, prediction, said):
    with pytest.raises(WsssError, match=said):
        confusion(truth.astype(np.uint8), prediction.astype(np.uint8), 3)
