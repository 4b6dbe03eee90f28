"""The threshold of saliency that agrees with the maps, beside counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.refine.agreeing import STEPS, agreeing_threshold, salient_counts
from wsss.refine.thresholds import otsu


def drawn(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Saliency and maps of three images; some values equal a threshold that is tried."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(1, 4):
        maps = rng.random((number, 6, 5 + number), np.float32)
        saliency = (maps.max(0) ** 2 + 0.3 * rng.random(maps.shape[1:], np.float32)).clip(0, 1).astype(np.float32)
        saliency[0] = np.round(saliency[0], 2)
        images.append((saliency, maps))
    return images


def slow(images: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Mean over images of the share of pixels on which both agree, for every threshold."""
    shares = []
    for step in range(STEPS):
        each = []
        for saliency, maps in images:
            limits, same = [otsu(one) for one in maps], 0
            for y, x in np.ndindex(saliency.shape):
                found = any(one[y, x] > limit for one, limit in zip(maps, limits, strict=True))
                same += found == (saliency[y, x] > np.float32(step / STEPS))
            each.append(same / saliency.size)
        shares.append(float(np.mean(each)))
    return shares


@pytest.mark.parametrize("seed", range(10))
def test_pixel_by_pixel(seed: int) -> None:
    images = drawn(seed)
    shares = slow(images)
    found = agreeing_threshold(salient_counts(*image) for image in images)
    best = min(step for step in range(STEPS) if shares[step] > max(shares) - 1e-9)
    assert found == best / STEPS and 0 < found < 0.99


def test_each_image_counts_alike() -> None:
    saliency, maps = np.float32([[0.1, 0.9]]), np.float32([[[0.0, 1.0]]])
    large = (np.full((40, 40), 0.5, np.float32), np.zeros((1, 40, 40), np.float32))
    small = [salient_counts(saliency, maps)] * 3
    assert agreeing_threshold([salient_counts(*large), *small]) == 0.5
    assert agreeing_threshold(small) == 0.1


def test_saliency_of_a_weak_network_is_read_lower() -> None:
    images = drawn(0)
    usual = agreeing_threshold(salient_counts(*image) for image in images)
    weak = agreeing_threshold(salient_counts(saliency / 2, maps) for saliency, maps in images)
    assert weak == pytest.approx(usual / 2, abs=0.011)


def test_no_image() -> None:
    with pytest.raises(ValueError, match="no image to choose"):
        agreeing_threshold([])
