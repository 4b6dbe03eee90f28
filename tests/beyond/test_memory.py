"""What a memory stores of an image, and which images it takes."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from wsss.beyond.memory import (
    PATIENCE,
    box_share,
    boxes_of,
    by_pixels,
    compressed,
    generator,
    herded,
    moved,
    pixel_cost,
    reduced,
    select,
)
from wsss.settings import MemorySettings
from wsss.store.exemplars import Exemplar, jpeg


def settings(**given):
    return MemorySettings.read({"segmenter": "x", **given})


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def stored(pixels, boxes, how, labels=b"x"):
    context, kept, crops = compressed(pixels, boxes, how, lambda: b"the file")
    found = np.array(kept, np.uint16).reshape(-1, 4)
    return Exemplar("a", pixels.shape[:2], (), context, found, tuple(crops), labels)


def test_a_box_is_tight_and_grows_as_far_as_the_image_goes():
    hot = np.zeros((4, 4), bool)
    hot[1, 1] = hot[2, 2] = True
    assert boxes_of(hot) == [(1, 1, 3, 3)]
    assert boxes_of(hot, dilate=1) == [(0, 0, 4, 4)]
    assert boxes_of(hot, dilate=9) == [(0, 0, 4, 4)]
    assert boxes_of(np.zeros((4, 4), bool), 3) == [] == boxes_of(np.zeros((4, 4), bool), 3, components=True)


def test_parts_have_boxes_of_their_own_until_they_overlap():
    hot = np.zeros((20, 40), bool)
    hot[2:6, 2:6] = hot[10:12, 20:30] = True
    hot[18, 39] = True
    assert boxes_of(hot, 0, components=True) == [(10, 20, 12, 30), (2, 2, 6, 6), (18, 39, 19, 40)]
    assert boxes_of(hot, 0) == [(2, 2, 19, 40)]
    for a, b in itertools.combinations(boxes_of(hot, 2, components=True), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert boxes_of(hot, 8, components=True) == [(0, 0, 20, 40)]
    speckled = np.zeros((9, 60), bool)
    for n in range(10):
        speckled[:, 6 * n : 6 * n + 1 + n % 5] = True
    assert len(boxes_of(speckled, 0, components=True)) == 4


@pytest.mark.parametrize("seed", range(4))
def test_boxes_cover_what_is_hot_and_touch_it(seed):
    hot = np.random.default_rng(seed).random((30, 50)) > 0.97
    inside = np.zeros_like(hot)
    for top, left, bottom, right in boxes_of(hot):
        inside[top:bottom, left:right] = True
    assert inside[hot].all()
    rows, columns = np.nonzero(hot)
    assert boxes_of(hot) == [(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)]
    apart = np.zeros(hot.shape, int)
    for top, left, bottom, right in boxes_of(hot, 2, components=True):
        apart[top:bottom, left:right] += 1
    assert apart.max() == 1, "no pixel is stored twice"
    parts, count = ndimage.label(hot, np.ones((3, 3)))
    largest = np.argsort(-np.bincount(parts.ravel())[1:], kind="stable")[:4] + 1
    assert (apart[np.isin(parts, largest)] == 1).all()


def test_cost_in_pixels_by_hand():
    box = (2, 2, 6, 6)
    assert box_share([box], (8, 8)) == 0.25
    assert pixel_cost(box_share([box], (8, 8)), 2) == 0.4375
    assert pixel_cost(1.0, 7) == 1
    assert pixel_cost(0.0, 2) == 0.25


def test_a_box_is_stored_bit_for_bit_where_nothing_may_be_lost():
    pixels, box = picture(60, 80), (10, 20, 40, 50)
    one = stored(pixels, [box], settings(lossless=True))
    restored = one.image()
    np.testing.assert_array_equal(restored[10:40, 20:50], pixels[10:40, 20:50])
    assert (restored != pixels).any() and restored.shape == pixels.shape and restored.dtype == np.uint8
    assert one.reliable()[10:40, 20:50].all() and one.reliable().sum() == 900
    whole = stored(pixels, [(0, 0, 60, 80)], settings(lossless=True))
    np.testing.assert_array_equal(whole.image(), pixels)
    assert not len(whole.boxes) and whole.reliable().all(), "a box that is the image is stored as the image"


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (17, 33)])
@pytest.mark.parametrize("method", ["salient", "uniform", "whole", "crop", "random-box", "true-box"])
def test_images_of_any_size_keep_it(size, method):
    pixels = picture(*size)
    how = settings(method=method, supervision="masks")
    hot = np.zeros(size, bool)
    hot[size[0] // 2, size[1] // 2] = True
    for boxes in ([], boxes_of(hot, 2)):
        one = stored(pixels, boxes, how)
        if one.context or len(one.boxes):
            assert one.image().shape == pixels.shape and one.reliable().shape == size
        else:
            assert method == "crop" and not boxes


def test_nothing_salient_is_the_image_made_smaller():
    pixels = picture(48, 64)
    one, uniform = stored(pixels, [], settings()), stored(pixels, [], settings(method="uniform"))
    assert one.context == uniform.context and not one.crops and one.reliable().all()
    np.testing.assert_array_equal(one.image(), uniform.image())
    assert stored(pixels, [], settings(method="crop")).bytes == len(b"x")


def test_what_each_method_stores():
    pixels, box = picture(64, 96), (8, 8, 40, 40)
    whole = stored(pixels, [], settings(method="whole"))
    assert whole.context == jpeg(pixels, 75)
    assert stored(pixels, [], settings(method="whole", quality=None)).context == b"the file"
    uniform = stored(pixels, [], settings(method="uniform", factor=2))
    assert Image.open(io.BytesIO(uniform.context)).size == (48, 32)
    crop = stored(pixels, [box], settings(method="crop", quality=60))
    assert not crop.context and crop.crops == (jpeg(np.ascontiguousarray(pixels[8:40, 8:40]), 60),)
    outside = crop.image()
    outside[8:40, 8:40] = 0
    assert set(map(tuple, outside.reshape(-1, 3).tolist())) == {(0, 0, 0), (124, 116, 104)}, "mean colour"
    two = stored(pixels, [box], settings(context="quality", context_quality=15))
    assert two.context == jpeg(pixels, 15) and two.crops == (jpeg(np.ascontiguousarray(pixels[8:40, 8:40]), 75),)
    for method in ("salient", "random-box", "true-box"):
        one = stored(pixels, [box], settings(method=method, supervision="masks"))
        assert one.context == jpeg(reduced(pixels, 4), 75) and len(one.crops) == 1
    assert one.bytes == len(one.context) + len(one.crops[0]) + 8 + 1
    nearly = stored(pixels, [(0, 0, 64, 90)], settings())
    assert nearly.context == jpeg(pixels, 75) and not nearly.crops, "over 85 %: whole"


def test_small_jpegs_keep_their_colours():
    sharp = np.zeros((40, 40, 3), np.uint8)
    sharp[:, ::2, 0] = 255
    large = np.tile(sharp, (2, 2, 1))
    lost = [np.abs(np.asarray(Image.open(io.BytesIO(jpeg(of, 90)))).astype(int) - of).mean() for of in (sharp, large)]
    assert lost[0] < lost[1] / 3


def test_random_boxes_have_the_sizes_of_others_and_lie_in_the_image():
    boxes = [(0, 0, 10, 20), (20, 30, 25, 60)]
    places = set()
    for seed in range(20):
        found = moved(boxes, (40, 64), generator(seed, "boxes", "a"))
        assert all(0 <= t < b <= 40 and 0 <= left < r <= 64 for t, left, b, r in found)
        if len(found) == 2:
            assert [(b - t, r - left) for t, left, b, r in found] == [(10, 20), (5, 30)]
        places.add(tuple(found))
    assert len(places) > 15
    again = moved(boxes, (40, 64), generator(3, "boxes", "a"))
    assert (
        again
        == moved(boxes, (40, 64), generator(3, "boxes", "a"))
        != moved(boxes, (40, 64), generator(3, "boxes", "b"))
    )
    assert moved([(0, 0, 40, 64)], (40, 64), generator(0, "boxes")) == [(0, 0, 40, 64)]


def test_what_does_not_fit_is_passed_over():
    sizes = {"a": 300, "b": 500, "c": 400, "d": 100}
    shows = {id: [0] for id in sizes}
    assert select({0: list("abcd")}, shows, sizes.get, 900, seed=0) == ["a", "b", "d"]
    assert select({0: list("abcd")}, shows, sizes.get, None, seed=0) == list("abcd")
    assert select({0: list("abcd")}, shows, sizes.get, 99, seed=0) == []
    assert select({0: list("abcd")}, shows, {**sizes, "a": None}.get, 900, seed=0) == ["b", "c"]


def test_a_memory_is_full_after_many_that_did_not_fit():
    ids = [f"{n:03}" for n in range(100)]
    asked = []

    def cost(id):
        asked.append(id)
        return 10 if id in ("000", ids[PATIENCE], "099") else 1000

    assert select({0: ids}, {id: [0] for id in ids}, cost, 50, seed=0) == ["000", ids[PATIENCE]]
    assert len(asked) == 2 * PATIENCE + 1 and len(set(asked)) == len(asked)


@pytest.mark.parametrize("seed", range(5))
def test_turns_as_written_out_slowly(seed):
    """The class with the fewest exemplars, and of it the best image that is left: looked up anew each time."""
    rng = np.random.default_rng(seed)
    pixels = {
        f"i{n}": {int(c): int(rng.integers(1, 9)) for c in rng.choice(4, rng.integers(1, 3), False)} for n in range(30)
    }
    sizes = {id: int(rng.integers(50, 200)) for id in pixels}
    queues = by_pixels(pixels, [0, 1, 2, 3], seed)
    for c, ids in queues.items():
        assert [pixels[id][c] for id in ids] == sorted((p[c] for p in pixels.values() if c in p), reverse=True)
    found = select(queues, {id: list(p) for id, p in pixels.items()}, sizes.get, 1500, seed)
    ties = dict(zip(range(4), generator(seed, "turns").permutation(4).tolist(), strict=True))
    wanted, seen, used = [], set(), 0
    while any(id not in seen for id in pixels):
        counts = {c: sum(c in pixels[id] for id in wanted) for c in range(4)}
        left = [c for c in range(4) if any(id not in seen for id in queues[c])]
        c = min(left, key=lambda c: (counts[c], ties[c]))
        id = next(id for id in queues[c] if id not in seen)
        seen.add(id)
        if used + sizes[id] <= 1500:
            wanted.append(id)
            used += sizes[id]
    assert found == wanted


def test_herding_beside_all_that_could_be_chosen():
    rng = np.random.default_rng(1)
    features = {f"i{n}": rng.normal(size=3) for n in range(9)}
    unit = {id: v / np.linalg.norm(v) for id, v in features.items()}
    mean = np.mean(list(unit.values()), 0)
    order: list[str] = []
    while len(order) < 9:
        left = [id for id in features if id not in order]
        order.append(min(left, key=lambda id: np.linalg.norm(mean - np.mean([unit[o] for o in (*order, id)], 0))))
    assert herded(features, list(features)) == order
    assert herded({}, []) == [] and herded({"a": np.zeros(3)}, ["a"]) == ["a"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quality": None}, "set 'method: whole'"),
        ({"method": "whole", "quality": None, "lossless": True}, "leave 'lossless' out"),
        ({"method": "uniform", "lossless": True}, "reduced image is not lossless"),
        ({"method": "true-box"}, "set 'supervision: masks'"),
        ({"method": "whole", "cams": "x"}, "needs no maps"),
        ({"explainer": "cam"}, "is for classifiers"),
        ({"explainer_options": {"n": 3}}, "has no option 'n'"),
    ],
)
def test_settings_that_do_not_go_together(given, said):
    with pytest.raises(ValueError, match=said):
        settings(**given)
