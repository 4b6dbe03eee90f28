"""Classifier scores against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.evaluate.classification import average_precision, classification_metrics, read_predictions, roc_auc


def slow_average_precision(truth, score):
    area = before = 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = score >= threshold
        recall, precision = truth[taken].sum() / truth.sum(), truth[taken].mean()
        area, before = area + (recall - before) * precision, recall
    return area


def slow_auc(truth, score):
    pairs = [(p, n) for p in score[truth] for n in score[~truth]]
    return np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_slow_twins_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    truth, score = rng.random(40) < 0.3, rng.integers(0, levels, 40) / levels
    truth[:2] = True, False
    assert average_precision(truth, score) == pytest.approx(slow_average_precision(truth, score))
    assert roc_auc(truth, score) == pytest.approx(slow_auc(truth, score))


def test_scikit_learn():
    from sklearn import metrics as reference

    rng = np.random.default_rng(0)
    truth, score = rng.random(60) < 0.4, rng.integers(0, 12, 60) / 12
    assert average_precision(truth, score) == pytest.approx(reference.average_precision_score(truth, score))
    assert roc_auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))


def test_by_hand():
    truth = np.array([True, False, True, False])
    assert average_precision(truth, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc(truth, np.array([0.9, 0.8, 0.7, 0.1])) == 3 / 4
    assert average_precision(truth, np.full(4, 0.5)) == 0.5 and roc_auc(truth, np.full(4, 0.5)) == 0.5
    assert np.isnan(average_precision(np.zeros(3, bool), np.ones(3)))
    assert np.isnan(roc_auc(np.ones(3, bool), np.ones(3)))


def test_metrics_by_hand():
    truth = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]], bool)
    probability = np.array([[0.9, 0.2, 0.6, 0.1], [0.4, 0.8, 0.1, 0.1], [0.1, 0.5, 0.1, 0.1]])
    found = classification_metrics(truth, probability, ("a", "b", "never tagged", "nowhere"))
    assert found["map"] == 1.0 and found["auc"] == 1.0
    per_class = found["per_class"]
    assert per_class["a"]["precision"] == 1 and per_class["a"]["recall"] == 0.5
    assert per_class["b"]["recall"] == 0.5  # 0.5 is not above 0.5
    assert per_class["never tagged"] == {"ap": None, "auc": None, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert per_class["nowhere"]["f1"] is None
    assert found["precision"] == pytest.approx(2 / 3) and found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_read(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text('id,split,a,"b, c"\nx/ñ 1,val,0.25,1\ny,train,0,0.5\n', encoding="utf-8")
    found = read_predictions(path, ("a", "b, c"))
    assert found["val"]["x/ñ 1"].tolist() == [0.25, 1] and list(found) == ["val", "train"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,split,b,a\n", "columns"),
        ("id,split,a,b\nx,val,0.1\n", "'x'"),
        ("id,split,a,b\nx,val,0.1,1.2\n", "'x'"),
        ("id,split,a,b\nx,val,0.1,nan\n", "'x'"),
        ("id,split,a,b\nx,val,0.1,oh\n", "oh"),
        ("id,split,a,b\nx,val,0,0\nx,val,0,0\n", "twice"),
    ],
)
def test_broken_tables_are_refused(tmp_path, text, said):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(WsssError, match=said):
        read_predictions(path, ("a", "b"))
    with pytest.raises(WsssError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv", ("a", "b"))
