"""The classification loss: smoothing, and weights of positives."""

from __future__ import annotations

import math

import pytest
import torch

from wsss.losses.classification import Classification, classification_loss, positive_weights
from wsss.settings import VanillaSettings


def test_weighted_loss_by_hand():
    scores = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/2 and 3/4
    targets = torch.tensor([[1.0, 0.0]])
    plain = (-math.log(0.5) - math.log(0.25)) / 2
    weighted = (-5 * math.log(0.5) - math.log(0.25)) / 2
    assert classification_loss(scores, targets).item() == pytest.approx(plain)
    assert classification_loss(scores, targets, torch.tensor([5.0, 9.0])).item() == pytest.approx(weighted)


def test_weighted_loss_against_loops():
    scores, labels, weights = torch.randn(4, 3), (torch.rand(4, 3) > 0.5).float(), torch.tensor([2.0, 0.5, 7.0])
    total = 0.0
    for b in range(4):
        for c in range(3):
            p, y = 1 / (1 + math.exp(-scores[b, c].item())), 0.9 * labels[b, c].item() + 0.05
            total -= weights[c].item() * y * math.log(p) + (1 - y) * math.log(1 - p)
    loss = Classification(VanillaSettings(label_smoothing=0.1, positive_weight="balanced"), 3, 1 / (1 + weights))
    assert loss(scores, labels).item() == pytest.approx(total / 12, rel=1e-5)


def test_weights_that_a_setting_stands_for():
    frequencies = torch.tensor([0.5, 0.2, 0.001, 0.0, 1.0], dtype=torch.float64)
    assert positive_weights(None, 5, frequencies) is None
    assert positive_weights(3, 2, None).tolist() == [3.0, 3.0]
    assert positive_weights("balanced", 5, frequencies).tolist() == pytest.approx([1, 4, 100, 100, 0.01])
    with pytest.raises(ValueError, match="needs the frequencies"):
        positive_weights("balanced", 5, None)


def test_a_class_that_every_image_has_is_learnt():
    scores = torch.zeros(2, 2, requires_grad=True)
    loss = Classification(VanillaSettings(positive_weight="balanced", label_smoothing=0), 2, torch.tensor([1.0, 0.5]))
    loss(scores, torch.tensor([[1.0, 0.0], [1.0, 1.0]])).backward()
    assert (scores.grad[:, 0] < 0).all()


def test_off_it_is_the_plain_loss_to_the_last_bit():
    scores, labels = torch.randn(4, 3), (torch.rand(4, 3) > 0.5).float()
    off = Classification(VanillaSettings(label_smoothing=0.1), 3, torch.full((3,), 0.3))
    assert torch.equal(off(scores, labels), classification_loss(scores, labels * 0.9 + 0.05))
