"""Training views: geometry, colour, padding, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data.views import training_view
from wsss.data.transforms import (
    _POOL,
    MEAN,
    STD,
    colour_jitter,
    crop_together,
    normalise,
    randaugment,
    resize_long_side,
)


def test_normalise_by_hand():
    image = np.array([[[255, 0, 124]]], np.uint8)
    expected = (np.array([1, 0, 124 / 255]) - MEAN) / STD
    np.testing.assert_allclose(normalise(image)[:, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (333, 77)])
def test_longer_side_and_aspect(size):
    resized = resize_long_side(Image.new("RGB", size), 64, Image.Resampling.BICUBIC)
    assert max(resized.size) == 64
    assert resized.size[0] / resized.size[1] == pytest.approx(size[0] / size[1], rel=0.05)


@pytest.mark.parametrize("height, width", [(20, 50), (50, 20), (20, 20), (50, 60), (32, 32)])
def test_crop_takes_a_window_or_places_the_image_in_a_canvas(height, width):
    image = np.arange(1, 3 * height * width + 1, dtype=np.float32).reshape(3, height, width)
    mask = (np.arange(height * width).reshape(height, width) % 7).astype(np.uint8)
    seen = set()
    for seed in range(30):
        crop, target, _ = crop_together(image, mask, None, 32, np.random.default_rng(seed))
        assert crop.shape == (3, 32, 32) and target.shape == (32, 32)
        inside = crop[0] > 0
        assert inside.sum() == min(height, 32) * min(width, 32)
        assert (target[~inside] == 255).all() and (crop[:, ~inside] == 0).all()
        position = crop[0][inside].astype(int) - 1  # values of channel 0 are positions in the image
        assert (mask.reshape(-1)[position] == target[inside]).all()
        seen.add(tuple(position[:1]) + tuple(np.argwhere(inside)[0]))
    assert len(seen) > 1 or (height, width) == (32, 32)


def test_mask_follows_the_image():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 5:25] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    for seed in range(10):
        view, target, _ = training_view(image, mask, np.random.default_rng(seed), crop=64, long_side=(50, 70))
        white = view[0] > 1.5
        inside = target != 255
        assert (white == (target == 1))[inside].mean() > 0.97


def test_views_repeat_with_the_generator_and_differ_without():
    image = np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8)
    options = {"crop": 32, "long_side": (40, 60), "augment": ("colour-jitter", "randaugment")}
    first, again, other = (training_view(image, None, np.random.default_rng(s), **options)[0] for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_randaugment_is_refused_with_a_mask():
    image = np.zeros((40, 40, 3), np.uint8)
    options = {"crop": 32, "long_side": (40, 40), "augment": ("colour-jitter", "randaugment")}
    with pytest.raises(ValueError, match="away from its mask"):
        training_view(image, image[..., 0], np.random.default_rng(0), **options)


@pytest.mark.parametrize("operation", range(len(_POOL)))
@pytest.mark.parametrize("strength", [1, 9])
def test_every_operation_of_the_pool_keeps_size_and_mode(operation, strength):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    for sign in (-1, 1):
        out = _POOL[operation](image, strength, sign)
        assert out.size == image.size and out.mode == "RGB"


def test_randaugment_always_cuts_out_a_black_square():
    image = Image.new("RGB", (64, 64), (200, 200, 200))
    for seed in range(20):
        out = np.asarray(randaugment(image, np.random.default_rng(seed)))
        assert (out == 0).all(2).sum() >= 64  # at least a quarter of 16 x 16 lies inside


def test_jitter_changes_colour_and_keeps_edges():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = (200, 100, 50)
    out = np.asarray(colour_jitter(Image.fromarray(image), np.random.default_rng(3)))
    assert out.shape == image.shape and not np.array_equal(out, image)
    assert len(np.unique(out[:, 12:].reshape(-1, 3), axis=0)) == 1


def test_square_ignores_the_aspect_and_soft_targets_are_interpolated():
    image = np.zeros((20, 80, 3), np.uint8)
    image[:, 40:] = 255
    strength = np.where(image[..., 0] > 0, 254, 0).astype(np.uint8)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        view, target, _ = training_view(image, strength, rng, crop=64, long_side=(48, 48), resize="square", soft=True)
        inside = target != 255
        assert inside.sum() == 48 * 48 and (view[:, ~inside] == 0).all()
        assert ((view[0] > 0) == (target > 127))[inside].mean() > 0.95
    bigger = np.array([[0, 254]], np.uint8)
    _, hard, _ = training_view(image[:1, :2], bigger, np.random.default_rng(0), crop=32, long_side=(32, 32))
    _, soft, _ = training_view(image[:1, :2], bigger, np.random.default_rng(0), crop=32, long_side=(32, 32), soft=True)
    assert set(np.unique(hard)) <= {0, 254, 255} and len(np.unique(soft)) > 10
