"""The dense CRF in torch against the one in C++, on every device that is here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.errors import WsssError
from wsss.refine.crf import label_unary
from wsss.refine.crf_backends import BACKENDS, Native
from wsss.refine.crf_torch import TorchCRF
from wsss.settings import CRF_PRESETS, CrfSettings

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]


@pytest.fixture(scope="module")
def image():
    """uint8 (46, 61, 3): three colours with soft borders, and grain."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:46, :61]
    ground = 90 + 60 * np.tanh((x - 30 + 6 * np.sin(y / 6)) / 3)[..., None] * [1, 0.5, -0.7] + y[..., None]
    return np.clip(ground + rng.normal(scale=4, size=ground.shape), 0, 255).astype(np.uint8)


def unary(image, count, seed):
    labels = (
        image[..., 0].astype(int) * count // 256 + np.random.default_rng(seed).integers(0, 2, image.shape[:2])
    ) % count
    return label_unary(labels, count, 0.7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", sorted(CRF_PRESETS))
def test_agrees_with_native(image, preset, device):
    settings = CrfSettings.read(CRF_PRESETS[preset])
    unaries = [unary(image, count, count) for count in (2, 3, 6)]
    found = TorchCRF(image, settings, torch.device(device))(unaries, settings.iterations)
    for ours, theirs in zip(found, Native(image, settings)(unaries, settings.iterations), strict=True):
        assert ours.dtype == np.float32 and ours.shape == theirs.shape
        np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)
        assert np.abs(ours - theirs).mean() < 1e-5 and np.abs(ours - theirs).max() < 0.05
        assert (ours.argmax(0) != theirs.argmax(0)).mean() < 4e-4  # 1 pixel


@pytest.mark.parametrize("device", DEVICES)
def test_odd_images_and_no_iterations(device):
    settings = CrfSettings()
    for shape in ((1, 1), (1, 9), (7, 1)):
        labels = np.zeros(shape, int)
        labels.flat[-1] = 1
        field = TorchCRF(np.zeros((*shape, 3), np.uint8), settings, torch.device(device))
        (found,) = field([label_unary(labels, 2, 0.7)], 0)
        np.testing.assert_allclose(found[1], np.where(labels == 1, 0.7, 0.3), atol=1e-6)
        assert field([], 3) == [] and np.isfinite(field([label_unary(labels, 2, 0.7)], 3)[0]).all()


def test_it_is_registered():
    assert BACKENDS["torch"] is TorchCRF


def test_what_keys_cannot_hold_is_refused(image):
    black_and_white = image.copy()
    black_and_white[0, 0], black_and_white[-1, -1] = 0, 255
    with pytest.raises(WsssError, match="63-bit keys: use backend native"):
        TorchCRF(black_and_white, CrfSettings(bilateral=(50.0, 0.05, 10.0)))
    with pytest.raises(WsssError, match="too small for this image"):
        TorchCRF(black_and_white, CrfSettings(bilateral=(50.0, 0.001, 10.0)))
