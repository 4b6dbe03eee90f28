"""Soft targets: what is kept of probabilities, how a view has them, and their loss, each beside a slow writing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.views import training_view
from tests.engine.process_group import together
from wsss.data.loading import Batch, ByteBatch, collate
from wsss.data.transforms import resize_long_side
from wsss.losses.base import TrainingStep
from wsss.losses.soft_targets import channels_of, soft_target_loss
from wsss.objectives.segmentation import Segmentation, segmentation_loss
from wsss.refine.soft_targets import on_grid, soft_levels
from wsss.settings import SegmentationSettings

SETTINGS = {"masks": "x", "backbone": "test_resnet", "pretrained": False, "crop": 32, "label_smoothing": 0.0}


def shares(labels, height, width, seed=0):
    drawn = np.random.default_rng(seed).random((labels, height, width)).astype(np.float32) ** 3
    return drawn / drawn.sum(0)


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (3, 5), (1, 1)])
def test_grid_is_means_over_what_its_cells_cover(size):
    q = shares(3, *size)
    found = on_grid(q)
    high, wide = math.ceil(size[0] / 4), math.ceil(size[1] / 4)
    assert found.shape == (2, high, wide) and found.dtype == np.float32
    for y in range(high):
        for x in range(wide):
            rows = slice(y * size[0] // high, math.ceil((y + 1) * size[0] / high))
            columns = slice(x * size[1] // wide, math.ceil((x + 1) * size[1] / wide))
            np.testing.assert_allclose(found[:, y, x], q[1:, rows, columns].mean((1, 2)), atol=1e-6)
    levels = soft_levels(np.array([7, 2]), found)
    assert levels.dtype == np.uint8 and set(np.unique(levels.sum(0, dtype=int))) <= {255, 256}
    np.testing.assert_allclose(levels[1] / 255, found[1], atol=0.5 / 255 + 1e-6)  # class 2 comes before class 7
    np.testing.assert_allclose(levels[0] / 255, 1 - found.sum(0), atol=1.5 / 255)


@pytest.mark.parametrize("augment", [(), ("cutout",)])
def test_a_view_has_the_geometry_of_its_image(augment):
    """Soft targets that are drawn from the colours of the image still fit them in every view, and are nothing where
    the view shows no image. Draws, image and mask are the same without them."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[12:36, 8:40] = 255
    white = (image[..., 0] > 0).astype(np.float32)
    levels = soft_levels(np.array([0]), on_grid(np.stack([1 - white, white])))
    mask = white.astype(np.uint8)
    options = {"crop": 64, "long_side": (50, 90), "augment": augment}
    for seed in range(12):
        plain = training_view(image, mask, np.random.default_rng(seed), **options)
        view, target, soft = training_view(image, mask, np.random.default_rng(seed), **options, soft_targets=levels)
        np.testing.assert_array_equal(view, plain[0])
        np.testing.assert_array_equal(target, plain[1])
        assert plain[2] is None and soft.shape == (2, 64, 64) and soft.dtype == np.uint8
        outside = target == 255
        assert not soft[:, outside].any() and (soft[:, ~outside].sum(0, dtype=int) >= 254).all()
        assert ((soft[1] > 127) == (target == 1))[~outside].mean() > 0.93


def test_layers_are_resized_one_by_one():
    levels = soft_levels(np.array([0, 1]), shares(3, 6, 8)[1:])
    image = np.zeros((24, 32, 3), np.uint8)
    *_, soft = training_view(image, None, np.random.default_rng(1), crop=64, long_side=(64, 64), soft_targets=levels)
    rows = np.flatnonzero(soft.any((0, 2)))
    found = soft[:, rows[0] : rows[-1] + 1]
    for layer, one in zip(found, levels, strict=True):
        wanted = np.asarray(resize_long_side(Image.fromarray(one), 64, Image.Resampling.BILINEAR))
        assert np.array_equal(layer, wanted) or np.array_equal(layer, wanted[:, ::-1])


def test_views_of_several_numbers_of_tags_make_a_batch():
    def view(layers):
        soft = torch.full((layers, 4, 4), 9, dtype=torch.uint8)
        mask = torch.zeros(4, 4, dtype=torch.uint8)
        return ByteBatch(torch.zeros(4, 4, 4, dtype=torch.uint8), torch.zeros(3), torch.tensor(0.0), mask, soft)

    batch = collate([view(2), view(3), view(1)])
    assert batch.soft.shape == (3, 3, 4, 4) and batch.soft.dtype == torch.uint8
    assert [(one > 0).flatten(1).all(1).tolist() for one in batch.soft] == [
        [True, True, False],
        [True, True, True],
        [True, False, False],
    ]
    assert torch.equal(batch.to(torch.device("cpu")).soft, batch.soft)


def by_hand(scores, soft, labels, temperature):
    """Pixel by pixel in float64."""
    total, count = 0.0, 0
    for b in range(len(scores)):
        tags = [0, *(c + 1 for c in range(labels.shape[1]) if labels[b, c])]
        for y in range(scores.shape[2]):
            for x in range(scores.shape[3]):
                q = [int(soft[b, k, y, x]) / 255 for k in range(len(tags))]
                if sum(q) == 0:
                    continue
                z = [float(s) / temperature for s in scores[b, :, y, x]]
                norm = math.log(sum(math.exp(s) for s in z))
                powers = [p ** (1 / temperature) for p in q]
                for label, power in zip(tags, powers, strict=True):
                    share = power / sum(powers)
                    if share:
                        total += share * (math.log(share) - (z[label] - norm))
                count += 1
    return temperature**2 * total / count


@pytest.fixture
def batch():
    """Three images of no, one and two tags of three; a corner shows no image, another has no label."""
    torch.manual_seed(0)
    labels = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 1]])
    soft = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    for number, count in enumerate((1, 2, 3)):
        soft[number, :count] = torch.from_numpy(np.rint(255 * shares(count, 32, 32, number)).astype(np.uint8))
    soft[:, :, :5, :7] = 0
    masks = torch.randint(0, 2, (3, 32, 32))
    masks[:, :5, :7] = masks[:, 20:] = 255
    return Batch(torch.randn(3, 3, 32, 32), labels, torch.zeros(3), masks, soft)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_loss_is_its_definition(batch, temperature):
    scores = 3 * torch.randn(3, 4, 8, 9)
    soft = batch.soft[..., :8, :9]
    found = soft_target_loss(scores, soft, batch.labels, temperature)
    assert found.item() == pytest.approx(by_hand(scores, soft, batch.labels, temperature), rel=1e-5)
    assert soft_target_loss(scores, torch.zeros_like(soft), batch.labels, temperature) == 0


def test_loss_is_nothing_where_a_student_says_the_same(batch):
    """Its gradient too, at any temperature."""
    q = torch.rand(1, 3, 4, 4) + 0.2
    soft = (255 * q / q.sum(1, keepdim=True)).round().to(torch.uint8)
    scores = torch.full((1, 5, 4, 4), -80.0)
    scores[:, [0, 2, 4]] = soft.float().log()
    scores.requires_grad_()
    loss = soft_target_loss(scores, soft, torch.tensor([[0.0, 1, 0, 1]]), 2.0)
    loss.backward()
    assert abs(loss.item()) < 1e-5 and scores.grad.abs().max() < 1e-5
    assert channels_of(torch.tensor([[0.0, 1, 0, 1], [0, 0, 0, 0]]), 3).tolist() == [[0, 2, 4], [0, 1, 2]]


def test_objective(batch):
    torch.manual_seed(1)
    made = Segmentation(SegmentationSettings(**SETTINGS, soft_weight=0.25, soft_temperature=3.0), 3)
    made.networks["segmenter"].eval()
    (loss,) = made.losses(batch, TrainingStep(0, 0.0))
    scores = made.networks["segmenter"](batch.images)
    hard = segmentation_loss(scores, batch.masks, 0.0)
    soft = by_hand(scores.detach(), batch.soft, batch.labels, 3.0)
    assert loss.value.item() == pytest.approx(0.75 * hard.item() + 0.25 * soft, rel=1e-4)
    assert loss.parts["masks"].item() == pytest.approx(hard.item()) and set(loss.parts) == {
        "loss",
        "masks",
        "soft_targets",
    }
    batch.soft = None
    with pytest.raises(ValueError, match="no soft targets"):
        list(made.losses(batch, TrainingStep(0, 0.0)))


def gradient_of_a_part(rank, scores, soft, labels):
    """Of two processes with one and two images; numbers, which need no shared memory."""
    part = slice(0, 1) if rank == 0 else slice(1, 3)
    mine = torch.tensor(scores)[part].requires_grad_()
    loss = soft_target_loss(mine, torch.tensor(soft, dtype=torch.uint8)[part], torch.tensor(labels)[part], 2.0)
    loss.backward()
    return loss.item(), mine.grad.tolist()


def test_two_processes_have_the_gradient_of_one(batch):
    scores = torch.randn(3, 4, 6, 6, requires_grad=True)
    soft = batch.soft[..., 4:10, 4:10]
    whole = soft_target_loss(scores, soft, batch.labels, 2.0)
    whole.backward()
    (one, first), (two, second) = together(
        2, gradient_of_a_part, scores.detach().tolist(), soft.tolist(), batch.labels.tolist()
    )
    assert (one + two) / 2 == pytest.approx(whole.item(), rel=1e-5)
    np.testing.assert_allclose(np.concatenate([first, second]) / 2, scores.grad.numpy(), atol=1e-7)
