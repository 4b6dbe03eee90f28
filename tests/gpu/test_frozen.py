"""Frozen networks that nobody trains here, CLIP by words and TokenCut, on a GPU that is simulated where there is none:
the CPU's maps, and a stated number of waits for an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.gpu.simulated.device import Meter, metered
from tests.tiny_clip import write_clip
from wsss.data.index import Index, Item
from wsss.inference.saliency import saliency_maps
from wsss.inference.text_cams import text_maps
from wsss.inference.words import words_of
from wsss.models.clip_tower import load_clip
from wsss.models.patch_features import PatchFeatures
from wsss.models.token_cut import TokenCut
from wsss.settings import SaliencyMapSettings, TextCamsSettings

pytestmark = pytest.mark.gpu_sim

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
METHODS = ("grad-cam", "maskclip", "sclip", "clearclip", "naclip", "proxy")
WAITS = {"grad-cam": 4}
"""For an image of CLIP: its pixels and its maps; and the seeds whose boxes the host looks for, and those boxes."""


@pytest.fixture(scope="module")
def items(tiny_index) -> list[Item]:
    return Index.load(tiny_index).split("val")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    pytest.importorskip("open_clip", reason="pip install '.[foundation]'")
    return write_clip(tmp_path_factory.mktemp("clip"))


def of_clip(named, method: str, items: list[Item], device: torch.device) -> tuple[dict[str, np.ndarray], Meter]:
    settings = TextCamsSettings(**named, method=method, background=("sky", "grass"), too_near=1.0, short_side=64)
    tower = load_clip(named["model"], named["weights"], Path(named["weights"]), device)
    words, proxy = words_of(tower, ("red", "green"), settings), None
    if method == "proxy":
        torch.manual_seed(0)
        proxy = PatchFeatures("test_vit", False).to(device)
    with metered() as meter:
        found = {
            item.id: maps[0] for item, _, maps in text_maps(tower, words, items, settings, device, 1, proxy) if maps
        }
    return found, meter


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_clip(named, items, method):
    (expected, _), (found, meter) = of_clip(named, method, items, CPU), of_clip(named, method, items, GPU)
    assert found.keys() == expected.keys() and len(found) == len(items)
    for id, maps in expected.items():
        np.testing.assert_allclose(found[id], maps, atol=1e-3)
    once = 1  # for the statistics of colours
    assert sum(meter.waits.values()) == WAITS.get(method, 2) * len(items) + once, meter.waits


class Colours(nn.Module):
    """Mean colour of cells of four pixels, of unit length."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(nn.functional.avg_pool2d(images, 4), dim=1)


def test_token_cut(items):
    settings = SaliencyMapSettings(scales=(1.0,), flip=False)

    def cut(device: torch.device) -> dict[str, np.ndarray]:
        found = saliency_maps(TokenCut(Colours(), 0.2), items, settings, False, device, 1)
        return {item.id: maps[0] for item, _, maps in found}

    expected = cut(CPU)
    with metered() as meter:
        found = cut(GPU)
    assert found.keys() == expected.keys()
    for id, values in expected.items():
        np.testing.assert_allclose(found[id], values, atol=1e-3)
    assert sum(meter.waits.values()) == len(items) + 2, "the weights of each; the cuts of a batch, there and back"
