"""Means over what counts: the gradients of two devices, averaged, are those of one with the whole batch."""

from __future__ import annotations

import pytest
import torch

from tests.engine.process_group import together
from wsss.compute.collectives import batch_mean
from wsss.losses.puzzle import reconstruction_loss
from wsss.losses.segmentation import segmentation_loss
from wsss.objectives.saliency import saliency_loss


def test_one_device_takes_the_plain_mean():
    assert batch_mean(torch.tensor(6.0), torch.tensor(4)).item() == 1.5
    assert batch_mean(torch.tensor(0.0), torch.tensor(0)).item() == 0


def losses(norm, whole, merged, labels, logits, scores, masks):
    yield reconstruction_loss(whole, merged, labels, "present", norm)
    yield saliency_loss(logits, masks.clamp(max=1) + 254 * (masks == 255), 0.1)
    yield segmentation_loss(scores, masks, 0.1)


def gradients(norm, tensors):
    """Of the sum of the three losses, and their values; the first, second, fourth and fifth tensor get a gradient."""
    own = [t.clone() for t in tensors]
    learnt = [own[k].requires_grad_() for k in (0, 1, 3, 4)]
    values = list(losses(norm, *own))
    sum(values).backward()
    return [t.grad for t in learnt], [v.item() for v in values]


NORMS = ("none", "scale", "relative", "contrast")


def _device(rank, tensors):
    half = slice(2 * rank, 2 * rank + 2)
    found = [gradients(norm, [t[half] for t in tensors]) for norm in NORMS]
    return [([g.tolist() for g in grads], values) for grads, values in found]


def test_two_devices_with_uneven_counts_learn_like_one():
    """One tag and few known pixels on the first device, many on the second."""
    torch.manual_seed(4)
    labels = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1]]).float()
    masks = torch.randint(0, 3, (4, 3, 5))
    masks[0, 1:], masks[1] = 255, 255
    tensors = [torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2), labels]
    tensors += [torch.randn(4, 1, 3, 5), torch.randn(4, 3, 3, 5), masks]
    halves = together(2, _device, tensors)
    for norm, (first, own), (second, other) in zip(NORMS, *halves, strict=True):
        expected, values = gradients(norm, tensors)
        for a, b, gradient in zip(first, second, expected, strict=True):
            torch.testing.assert_close(torch.tensor(a + b) / 2, gradient, rtol=1e-4, atol=1e-7)
        assert [(a + b) / 2 for a, b in zip(own, other, strict=True)] == pytest.approx(values, rel=1e-5)
