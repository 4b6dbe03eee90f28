"""Few ground-truth masks: which ones, what is seen of other images, and how often."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data.few_masks import few_masks, masks_of
from wsss.data.index import Index, Item
from wsss.data.loading import TrainingViews, collate
from wsss.data.sampling import Order, masked_chances
from wsss.errors import WsssError
from wsss.settings import GuidedSettings


@pytest.fixture
def index():
    """40 training images: 34 of class 0, four of class 1 (one of them of both), three of class 2; some without a mask
    or tags; and one validation image."""
    labels = [(0,)] * 33 + [(0, 1)] + [(1,)] * 3 + [(2,)] * 3
    items = [Item(f"t{n}", "train", Path("i.png"), Path(f"{n}.png"), 8, 8, each, True) for n, each in enumerate(labels)]
    bare = Item("bare", "train", Path("i.png"), None, 8, 8, (2,), False)
    untagged = Item("untagged", "train", Path("i.png"), Path("u.png"), 8, 8, (), True)
    other = Item("val", "val", Path("i.png"), Path("v.png"), 8, 8, (1,), True)
    return Index(("a", "b", "c"), (bare, *items, untagged, other), Path("index"), "few")


def test_all_are_the_tagged_training_images_with_a_mask(index):
    assert [item.id for item in few_masks(index, "all", 0)] == [f"t{n}" for n in range(40)]


@pytest.mark.parametrize("seed", range(5))
def test_classes_have_equal_parts_as_far_as_they_go(index, seed):
    nine = Counter(c for item in few_masks(index, 9, seed) for c in item.labels)
    assert set(nine.values()) <= {3, 4} and nine.total() <= 10
    many = Counter(c for item in few_masks(index, 20, seed) for c in item.labels)
    assert many[1] == 4 and many[2] == 3 and sum(many.values()) in (20, 21)


def test_the_choice_is_the_seeds_and_fewer_are_among_more(index):
    more = [item.id for item in few_masks(index, 12, 3)]
    assert more == [item.id for item in few_masks(index, 12, 3)] == sorted(more, key=lambda i: int(i[1:]))
    for count in range(12):
        fewer = {item.id for item in few_masks(index, count, 3)}
        assert len(fewer) == count and fewer < set(more)
    assert len({tuple(item.id for item in few_masks(index, 5, seed)) for seed in range(6)}) == 6


def test_more_than_there_are_is_refused(index):
    assert len(few_masks(index, 40, 0)) == 40
    with pytest.raises(WsssError, match="'gt_masks: 41' needs .* and there are 40; lower it, or add masks"):
        few_masks(index, 41, 0)
    blind = Index(("a",), (index.items[0],), Path("index"), "blind")
    with pytest.raises(WsssError, match="'gt_masks: all' needs .* and there are 0"):
        few_masks(blind, "all", 0)


def test_only_what_was_chosen_shows_its_mask(tmp_path):
    """In one batch, after every resize and flip: labels of the chosen image, nothing but 255 of the other. Views can be
    sent to loader processes that are no copies of this one, as from Python 3.14 on."""
    Image.fromarray(np.full((40, 30, 3), 90, np.uint8)).save(tmp_path / "i.png")
    mask = np.zeros((40, 30), np.uint8)
    mask[10:30] = 2
    Image.fromarray(mask).save(tmp_path / "m.png")
    items = [Item(n, "train", tmp_path / "i.png", tmp_path / "m.png", 40, 30, (1,), True) for n in "ab"]
    settings = GuidedSettings(crop=64, long_side=(50, 60))
    views = pickle.loads(pickle.dumps(TrainingViews(items, 2, settings, 0, masks_of(items[1:]))))
    for epoch in range(8):
        batch = collate([views[epoch, 0], views[epoch, 1]])
        assert (batch.masks[0] == 255).all()
        assert set(batch.masks[1].unique().tolist()) == {0, 2, 255}


def test_a_share_of_the_draws_is_masked():
    masked = np.arange(50) < 4
    chances = masked_chances(masked, 0.25)
    np.testing.assert_allclose(chances, np.where(masked, 0.25 / 4, 0.75 / 46))
    balanced = np.linspace(1, 3, 50) / np.linspace(1, 3, 50).sum()
    both = masked_chances(masked, 0.25, balanced)
    assert both[masked].sum() == pytest.approx(0.25) and both.sum() == pytest.approx(1)
    np.testing.assert_allclose(both[1:4] / both[:3], balanced[1:4] / balanced[:3])
    order = Order(50, 10, 200, seed=0, chances=chances)
    drawn = np.concatenate([[p for _, p in batch] for batch in order])
    assert masked[drawn].mean() == pytest.approx(0.25, abs=0.02)


def test_draws_stay_where_there_is_nothing_to_share():
    balanced = np.array([0.5, 0.25, 0.25])
    for masked in (np.zeros(3, bool), np.ones(3, bool)):
        assert masked_chances(masked, 0.5) is None
        assert masked_chances(masked, 0.5, balanced) is balanced
