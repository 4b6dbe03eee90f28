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
from tests.data.views import training_view
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, TrainingViews, collate, inference_loader, training_loader
from wsss.data.sampling import VIEW, Order
from wsss.errors import WsssError
from wsss.settings import SegmentationSettings, VanillaSettings

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


def test_bytes_become_on_the_device_what_numpy_makes_of_them(tmp_path):
    """Views with canvas, hole, mask and soft targets, to the bit; images channels last, as convolutions want them."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, (30, 50), np.uint8)
    Image.fromarray(rng.integers(0, 256, (30, 50, 3), np.uint8)).save(tmp_path / "i.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    item = Item("i", "train", tmp_path / "i.png", tmp_path / "m.png", 30, 50, (0, 1), True)
    settings = SegmentationSettings(supervision="masks", crop=64, long_side=(40, 90), augment=("grey", "cutout"))
    shares = rng.integers(0, 256, (3, 8, 12), np.uint8)
    views = TrainingViews([item], 2, settings, 7, lambda _: tmp_path / "m.png", lambda _: shares)
    visits = [(epoch, 0) for epoch in range(12)]
    batch = collate([views[visit] for visit in visits])
    assert batch.pixels.dtype == batch.mask.dtype == torch.uint8
    there = batch.to(torch.device("cpu"))
    assert there.images.is_contiguous(memory_format=torch.channels_last) and there.masks.dtype == torch.int64
    blank = []
    for number, (epoch, position) in enumerate(visits):
        stream = np.random.default_rng((7, epoch, position, VIEW))
        stream.random()
        image, labels, soft = training_view(
            np.asarray(Image.open(item.image)), mask, stream, crop=64, long_side=(40, 90),
            augment=settings.augment, soft_targets=shares,
        )  # fmt: skip
        assert torch.equal(there.images[number].view(torch.int32), torch.from_numpy(image).view(torch.int32))
        assert np.array_equal(there.masks[number], labels) and np.array_equal(there.soft[number], soft)
        blank.append(float((image == 0).all(0).mean()))
        assert ((there.masks[number] == 255) == (there.images[number] == 0).all(0)).all()
    assert min(blank) < max(blank) and 0 < np.mean(blank) < 1
    assert torch.equal(batch.images, there.images) and torch.equal(batch.targets, there.masks)
