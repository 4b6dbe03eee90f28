"""Class probabilities limited to the likely classes: against the rule written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.refine.tag_limits import likely, limited


@pytest.mark.parametrize("seed", range(20))
def test_pixel_by_pixel(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(5), size=(3, 4)).transpose(2, 0, 1).astype(np.float32)
    tags = generator.random(4)
    stays = likely(tags, 0.6)
    assert set(np.flatnonzero(stays)) == {c for c in range(4) if tags[c] >= 0.6} | {int(np.argmax(tags))}
    found = limited(scores, stays)
    assert found.dtype == np.float32 and found.shape == scores.shape
    for y, x in np.ndindex(3, 4):
        kept = sum(float(scores[1 + c, y, x]) for c in range(4) if stays[c])
        assert found[0, y, x] == scores[0, y, x]
        for c in range(4):
            share = float(scores[1 + c, y, x]) / kept if stays[c] else 0.0
            assert found[1 + c, y, x] == pytest.approx(share * (1 - float(scores[0, y, x])), abs=1e-6)
    assert found.sum(0) == pytest.approx(1, abs=1e-6)


def test_all_classes_stay() -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 4)).transpose(2, 0, 1).astype(np.float32)
    assert limited(scores, np.array([True, True])) == pytest.approx(scores, abs=1e-6)


def test_where_no_class_that_stays_has_any_there_is_background() -> None:
    scores = np.float32([0.4, 0.6, 0.0]).reshape(3, 1, 1)
    assert limited(scores, np.array([False, True])).ravel().tolist() == [1, 0, 0]


def test_the_given_probabilities_are_left_alone() -> None:
    scores = np.float32([0.2, 0.3, 0.5]).reshape(3, 1, 1)
    before = scores.copy()
    limited(scores, np.array([True, False]))
    assert np.array_equal(scores, before)
