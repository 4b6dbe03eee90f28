"""Training views: the draw of each, and masks that do not belong to their image."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data._utils import signal_handling

import wsss.data.loading
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, TrainingViews, inference_loader, training_loader
from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.settings import VanillaSettings

SETTINGS = VanillaSettings(crop=32, long_side=(32, 32), augment=())


@pytest.fixture
def item(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "image.png")
    return Item("photo 1", "train", tmp_path / "image.png", None, 20, 30, (0,), True)


def test_the_draw_stays_below_one(item, monkeypatch):
    """numpy's largest draw is 1 - 2^-53, which float32 rounds to 1."""

    class Largest(np.random.Generator):
        def random(self, *args, **kwargs):
            return 1 - 2.0**-53

    monkeypatch.setattr(wsss.data.loading.np.random, "default_rng", lambda seed: Largest(np.random.PCG64(0)))
    draw = TrainingViews([item], 1, SETTINGS, 0)[(0, 0)].draws
    assert 0.9999999 < draw.item() < 1


def test_a_mask_of_another_size_is_refused(item, tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(path)
    with pytest.raises(WsssError, match=rf"{path} of 'photo 1': it is 30 x 20, the image .*image.png is 20 x 30"):
        TrainingViews([item], 1, SETTINGS, 0, lambda _: path)[(0, 0)]
    with pytest.raises(WsssError, match="'photo 1': it is 5 x 5"):
        TrainingViews([item], 1, SETTINGS, 0, lambda _: np.zeros((5, 5), np.uint8))[(0, 0)]


def test_order_and_views_draw_from_streams_of_their_own(item, monkeypatch):
    """numpy takes the keys (3, 1) and (3, 1, 0) for the same."""
    made, states = np.random.default_rng, []

    def recorded(key):
        states.append(tuple(np.random.SeedSequence(key).generate_state(4)))
        return made(key)

    monkeypatch.setattr(wsss.data.loading.np.random, "default_rng", recorded)
    for seed in range(3):
        views = TrainingViews([item] * 4, 1, SETTINGS, seed)
        for batch in Order(4, 2, 3, seed):
            for visit in batch:
                views[visit]
    assert len(states) == 3 * (3 + 3 * 4)
    assert len(set(states)) == len(states)


def test_an_order_to_stop_does_not_kill_a_loader_process_that_begins(item, monkeypatch):
    """Torch's handler, set before ours, ends a loader process on SIGTERM; the training would take that for a mishap."""
    set_handlers = signal_handling._set_worker_signal_handlers

    def then_stop():
        set_handlers()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(signal_handling, "_set_worker_signal_handlers", then_stop)
    loader = training_loader(TrainingViews([item] * 4, 1, SETTINGS, 0), Order(4, 2, 1, 0), workers=2)
    assert len(list(loader)) == 2
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_memory_is_page_locked_for_a_gpu_alone(item, kind, monkeypatch):
    """Whatever torch could find here: to lock pages would begin to use a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = torch.device(kind)
    for loader in (
        training_loader(TrainingViews([item] * 4, 1, SETTINGS, 0), Order(4, 2, 1, 0), 0, device),
        inference_loader(ScaledBatches([[item]], (1.0,), 64), 0, device),
    ):
        assert loader.pin_memory == (kind == "cuda")
