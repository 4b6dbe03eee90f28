"""Class-balanced draws: their chances, their order, and that no view is seen twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.data.index import Item
from wsss.data.sampling import Order, balanced_chances, class_counts

LABELS = [(0,), (0,), (0,), (0, 1), (0,), (2,), (0, 1), (0,)]


def items():
    return [Item(str(n), "train", Path(f"{n}.png"), None, 8, 8, labels, False) for n, labels in enumerate(LABELS)]


def test_counts_and_chances_by_hand():
    assert class_counts(items(), 4).tolist() == [7, 2, 1, 0]
    # a class first, one of three; then one of its 7, 2 or 1 images
    third = 1 / 3
    expected = [third / 7] * 8
    expected[3] = expected[6] = third / 7 + third / 2
    expected[5] = third
    np.testing.assert_allclose(balanced_chances(items(), 4), expected)
    assert balanced_chances(items(), 4).sum() == pytest.approx(1)


def test_every_class_is_drawn_as_often():
    chances = balanced_chances(items(), 4)
    order = Order(8, 8, 2000, seed=0, chances=chances)
    drawn = np.bincount([p for batch in order for _, p in batch], minlength=8) / 16000
    np.testing.assert_allclose(drawn, chances, atol=0.01)


def test_no_view_is_seen_twice_and_epochs_differ():
    order = Order(8, 8, 50, seed=1, chances=balanced_chances(items(), 4))
    visits = [visit for batch in order for visit in batch]
    assert len(set(visits)) == len(visits) == 400
    assert max(epoch for epoch, _ in visits) >= 100, "what is drawn for the third time in an epoch counts on"


def test_balanced_order_is_a_function_of_seed_and_epoch():
    chances = balanced_chances(items(), 4)
    whole = list(Order(8, 3, 4, seed=1, chances=chances))
    assert list(Order(8, 3, 4, seed=1, chances=chances)) == whole
    assert list(Order(8, 3, 4, seed=2, chances=chances)) != whole
    for start in range(8):
        assert list(Order(8, 3, 4, seed=1, start=start, chances=chances)) == whole[start:]
    parts = [list(Order(8, 4, 4, seed=1, rank=r, ranks=2, chances=chances)) for r in range(2)]
    together = [a + b for a, b in zip(*parts, strict=True)]
    assert together == list(Order(8, 4, 4, seed=1, chances=chances))
