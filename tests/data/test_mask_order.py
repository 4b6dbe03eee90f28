"""Another order of classes, against all permutations tried in turn."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from wsss.data.mask_order import disagreements, mask_order_cure, mask_order_problem, other_order


def wrong(tagged: np.ndarray, shown: np.ndarray, order: tuple[int, ...]) -> int:
    """Pairs of image and mask value of which the tags say otherwise."""
    return sum(
        bool(tagged[n, c]) != bool(shown[n, v]) for n in range(len(tagged)) for v, c in enumerate(order)
    )  # fmt: skip


def photos(classes: int, number: int, seed: int, order: tuple[int, ...], noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tagged = rng.random((number, classes)) < 0.4
    shown = tagged[:, order] ^ (rng.random((number, classes)) < noise)
    return tagged, shown


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_permutations(seed: int) -> None:
    order = tuple(np.random.default_rng(seed).permutation(4).tolist())
    tagged, shown = photos(4, 30, seed, order, 0.05)
    best = min(permutations(range(4)), key=lambda one: wrong(tagged, shown, one))
    found = other_order(tagged, shown)
    if order == (0, 1, 2, 3):
        assert found is None
    else:
        assert found.order == best == order
        assert (found.before, found.after) == (wrong(tagged, shown, (0, 1, 2, 3)), wrong(tagged, shown, best))
        assert found.pairs == tagged.sum()


def test_disagreements_are_counted() -> None:
    tagged, shown = photos(3, 20, 1, (2, 0, 1), 0.2)
    expected = [[sum(tagged[:, c] != shown[:, v]) for c in range(3)] for v in range(3)]
    assert disagreements(tagged, shown).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_proposes_nothing(seed: int) -> None:
    for noise in (0.0, 0.2, 0.4, 0.5):
        assert other_order(*photos(5, 60, seed, (0, 1, 2, 3, 4), noise)) is None


def test_too_few_images_propose_nothing() -> None:
    tagged = np.array([[True, False], [False, True]])
    assert other_order(tagged, tagged[:, ::-1]) is None
    assert other_order(np.tile(tagged, (2, 1)), np.tile(tagged[:, ::-1], (2, 1))).order == (1, 0)


def test_two_wrong_tags_among_many_propose_nothing() -> None:
    tagged = np.array([[True, False], [False, True]] * 10)
    shown = tagged.copy()
    shown[:2] = shown[:2, ::-1]
    assert other_order(tagged, shown) is None


def test_classes_that_no_mask_shows_stay_where_they_are() -> None:
    tagged, shown = photos(3, 20, 0, (1, 0, 2), 0.0)
    nothing = np.zeros((20, 3), bool)
    assert other_order(np.hstack([tagged, nothing]), np.hstack([shown, nothing])).order[3:] == (3, 4, 5)


def test_words() -> None:
    found = other_order(np.array([[True, False], [False, True]] * 3), np.array([[False, True], [True, False]] * 3))
    text, cure = mask_order_problem(("cat", "dog"), found), mask_order_cure(("cat", "dog"), found)
    assert (
        text == "mask values and tags disagree 12 times on 6 tags with 1 cat, 2 dog, and only 0 times with 1 dog, 2 cat"
    )
    assert 'write \'classes: ["dog", "cat"]\'' in cure and "mask_order: trust" in cure
