"""Strong augmentations: each beside a slow second writing, and the draws of those that were there before."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2 import functional as F

from tests.data.views import training_view
from wsss.data.strong_augmentations import blur, cutout_region, grey, jitter, strong_jitter
from wsss.data.transforms import colour_jitter, crop_together, normalise, resize_long_side
from wsss.settings import AffinitySettings, C2amSettings, SaliencyNetSettings, SegmenterSettings, VanillaSettings

STRONG = ("cutout", "blur", "grey", "strong-jitter")


def noise(height=40, width=56):
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jitter_by_hand(image, rng, low, high, hue):
    brightness, contrast, saturation = (rng.uniform(low, high) for _ in range(3))
    turn = rng.uniform(-hue, hue)
    for k in rng.permutation(4).tolist():
        if k == 0:
            image = F.adjust_brightness(image, brightness)
        if k == 1:
            image = F.adjust_contrast(image, contrast)
        if k == 2:
            image = F.adjust_saturation(image, saturation)
        if k == 3:
            image = F.adjust_hue(image, turn)
    return image


def region_by_hand(side, rng):
    """Corner points of the rectangle that is cut out of a square, or None."""
    if rng.random() >= 0.5:
        return None
    area = rng.uniform(0.02, 0.4)
    most = min(10 / 3, 1 / area)
    aspect = math.exp(rng.uniform(-math.log(most), math.log(most)))
    high = max(1, round(side * math.sqrt(area * aspect)))
    top = int(rng.integers(side - high + 1))
    wide = max(1, round(side * math.sqrt(area / aspect)))
    left = int(rng.integers(side - wide + 1))
    return top, left, top + high, left + wide


@pytest.mark.parametrize("seed", range(6))
def test_jitter_of_both_strengths(seed):
    image = Image.fromarray(noise())
    drawn = np.random.default_rng(seed)
    found = np.asarray(colour_jitter(image, np.random.default_rng(seed)))
    np.testing.assert_array_equal(found, np.asarray(jitter_by_hand(image, drawn, 0.7, 1.3, 0.1)))
    drawn = np.random.default_rng(seed)
    expected = jitter_by_hand(image, drawn, 0.5, 1.5, 0.25) if drawn.random() < 0.8 else image
    np.testing.assert_array_equal(np.asarray(strong_jitter(image, np.random.default_rng(seed))), np.asarray(expected))


def test_grey_is_the_luma():
    image = noise()
    whole = image.astype(np.int64)
    luma = (19595 * whole[..., 0] + 38470 * whole[..., 1] + 7471 * whole[..., 2] + 0x8000) >> 16  # of 2^16
    np.testing.assert_allclose(luma, whole @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    seen = 0
    for seed in range(40):
        found = np.asarray(grey(Image.fromarray(image), np.random.default_rng(seed)))
        applied = np.random.default_rng(seed).random() < 0.2
        np.testing.assert_array_equal(found, np.repeat(luma[..., None], 3, 2) if applied else image)
        seen += applied
    assert 0 < seen < 20


def test_blur_is_a_gaussian():
    image = noise()
    seen = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        found = np.asarray(blur(Image.fromarray(image), np.random.default_rng(seed)), np.float64)
        if rng.random() >= 0.5:
            np.testing.assert_array_equal(found, image)
            continue
        sigma = rng.uniform(0.1, 2.0)
        expected = gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest")
        difference = np.abs(found - expected)
        seen.append(sigma)
        assert difference.mean() < 11 and (sigma < 1 or difference[8:-8, 8:-8].max() < 5)
    assert min(seen) < 0.5 and max(seen) > 1.5


def test_cutout_takes_a_rectangle_that_fits():
    shares, aspects, seen = [], [], 0
    for seed in range(400):
        region = cutout_region(90, 90, np.random.default_rng(seed))
        points = region_by_hand(90, np.random.default_rng(seed))
        assert (region is None) == (points is None)
        if region is None:
            continue
        rows, columns = region
        assert (rows.start, columns.start, rows.stop, columns.stop) == points
        assert 0 <= rows.start < rows.stop <= 90 and 0 <= columns.start < columns.stop <= 90
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        shares.append(high * wide / 8100)
        aspects.append(high / wide)
        seen += 1
    assert 150 < seen < 250
    assert 0.018 < min(shares) < 0.04 and 0.36 < max(shares) < 0.41
    assert 0.27 < min(aspects) < 0.5 and 2 < max(aspects) < 3.7
    assert np.mean(np.log(aspects)) == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_cutout_of_a_sliver_stays_inside(size):
    for seed in range(50):
        region = cutout_region(*size, np.random.default_rng(seed))
        if region is not None:
            assert np.zeros(size)[region].size > 0


@pytest.mark.parametrize("augment", [(), ("colour-jitter",), STRONG, ("colour-jitter", *STRONG)])
@pytest.mark.parametrize("seed", range(8))
def test_a_view_is_its_steps_one_after_the_other(augment, seed):
    """The order of the draws: size, flip, colours, blur, crop, cutout. Names of the list are in any order."""
    image, rng = noise(), np.random.default_rng(seed)
    mask = (image[..., 0] % 4).astype(np.uint8)
    found = training_view(image, mask, np.random.default_rng(seed), crop=48, long_side=(40, 64), augment=augment)
    side = int(rng.integers(40, 65))
    picture = resize_long_side(Image.fromarray(image), side, Image.Resampling.BICUBIC)
    target = resize_long_side(Image.fromarray(mask), side, Image.Resampling.NEAREST)
    if rng.random() < 0.5:
        picture, target = ImageOps.mirror(picture), ImageOps.mirror(target)
    if "colour-jitter" in augment:
        picture = jitter(picture, rng, 0.3, 0.1)
    if "grey" in augment:
        picture = blur(grey(strong_jitter(picture, rng), rng), rng)
    view, labels, _ = crop_together(normalise(np.asarray(picture)), np.asarray(target), None, 48, rng)
    points = region_by_hand(48, rng) if "cutout" in augment else None
    if points is not None:
        for y in range(points[0], points[2]):
            for x in range(points[1], points[3]):
                view[:, y, x], labels[y, x] = 0, 255
    np.testing.assert_array_equal(found[0], view)
    np.testing.assert_array_equal(found[1], labels)


def test_images_alone_are_cut_as_well():
    image = np.full((64, 64, 3), 255, np.uint8)
    options = {"crop": 64, "long_side": (64, 64), "augment": ("cutout",)}
    holes = [(training_view(image, None, np.random.default_rng(s), **options)[0] == 0).all(0).mean() for s in range(20)]
    assert 3 < sum(hole > 0 for hole in holes) < 17 and max(holes) <= 0.41


def test_who_may_have_what():
    assert SegmenterSettings.read({"masks": "x", "augment": list(STRONG)}).augment == STRONG
    assert AffinitySettings.read({"cams": "x", "augment": "cutout"}).augment == ("cutout",)
    assert VanillaSettings.read({"augment": ["randaugment", "grey"]}).augment == ("randaugment", "grey")
    assert SaliencyNetSettings.read({"saliency": "x", "augment": "cutout"}).augment == ("cutout",)
    with pytest.raises(ValueError, match="augment"):
        C2amSettings.read({"augment": "cutout"})  # it has no mask to leave the pixels out of
    with pytest.raises(ValueError, match="augment"):
        SegmenterSettings.read({"masks": "x", "augment": "randaugment"})
