"""The section on tags: its figures against slow second writings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from wsss.report.html.tag_section import precision_recall, reliability, tags


def test_precision_and_recall_slowly() -> None:
    rng = np.random.default_rng(0)
    truth, score = rng.random(40) < 0.4, rng.integers(0, 12, 40) / 12
    expected = []
    for limit in sorted(set(score.tolist()), reverse=True):
        called = [t for t, s in zip(truth, score, strict=True) if s >= limit]
        expected.append((sum(called) / truth.sum(), sum(called) / len(called)))
    np.testing.assert_allclose(np.transpose(precision_recall(truth, score)), expected)


def test_reliability_slowly() -> None:
    rng = np.random.default_rng(1)
    truth, probability = rng.random(200) < 0.5, np.append(rng.random(199), 1.0)
    expected = []
    for bin in range(10):
        inside = [k for k, p in enumerate(probability) if int(10 * p) == bin or (bin == 9 and p == 1)]
        if inside:
            expected.append((probability[inside].mean(), truth[inside].mean(), len(inside)))
    for found, wanted in zip(reliability(truth, probability), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(found, wanted)


def test_the_worst_classes_are_drawn_and_the_error_is_of_all() -> None:
    items = [SimpleNamespace(id=f"i{n}", labels=(n % 9,)) for n in range(18)]
    index = SimpleNamespace(items=[*items, SimpleNamespace(id="new", labels=(0,))], classes=[f"c{c}" for c in range(9)])
    said = {item.id: np.where(np.arange(9) == item.labels[0], 0.75, 0.25) for item in items}
    said["i3"], said["i5"] = said["i5"], said["i3"]  # classes 3 and 5 are the worst
    found = tags(index, "mine", said)
    assert found["left_out"] == 2 and found["images"] == 18
    names = {name.partition(",")[0] for name, _ in found["charts"][0].legend}
    assert len(names) == 7 and {"c3", "c5"} <= names
    # 18 pairs at 0.75, of which 16 have the tag; 144 at 0.25, of which 2 have it
    error = 18 / 162 * abs(0.75 - 16 / 18) + 144 / 162 * abs(0.25 - 2 / 144)
    assert found["error"] == f"{100 * error:.1f}"
    assert [row[0] for row in found["classes"].rows[:2]] == ["c3", "c5"]


def test_nothing_is_shown_of_nothing() -> None:
    index = SimpleNamespace(items=[SimpleNamespace(id="a", labels=(0,))], classes=["c"])
    assert tags(index, "", {}) is None
