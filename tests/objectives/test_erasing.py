"""Erasing: the class that is chosen, the masks, the maximum over devices."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.engine.process_group import together
from wsss.compute.collectives import global_max
from wsss.losses.base import TrainingStep
from wsss.losses.class_choice import choose_class
from wsss.losses.classification import classification_loss, smooth
from wsss.losses.erasing import activation_mask, erase_hard, erase_soft, without
from wsss.settings import PNocSettings, Ramp


def test_loss_is_mean_bce_and_targets_are_smoothed():
    scores, labels = torch.randn(4, 5), (torch.rand(4, 5) > 0.5).float()
    targets = smooth(labels, 0.1)
    torch.testing.assert_close(targets, torch.where(labels > 0, 0.95, 0.05))
    p = scores.sigmoid()
    by_hand = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    torch.testing.assert_close(classification_loss(scores, targets), by_hand)
    torch.testing.assert_close(classification_loss(scores, labels), F.multilabel_soft_margin_loss(scores, labels))


def test_chosen_class_against_a_loop():
    labels = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]]).float()
    for draw in torch.linspace(0, 0.9999, 37):
        chosen = choose_class(labels, draw.expand(4))
        for row, c in zip(labels, chosen.tolist(), strict=True):
            present = [k for k in range(5) if row[k]]
            assert c == present[int(draw * len(present))]


def test_every_present_class_is_drawn_equally():
    labels = torch.tensor([[0, 1, 1, 0, 1]]).float().expand(3000, 5)
    counts = choose_class(labels, torch.arange(3000) / 3000).bincount(minlength=5)
    assert counts.tolist() == [0, 1000, 1000, 0, 1000]


def test_an_image_without_labels_is_refused():
    with pytest.raises(ValueError, match="without labels"):
        choose_class(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2))


def test_without_removes_one_label():
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert without(labels, torch.tensor([0, 1])).tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert labels.sum() == 3


def slow_mask(maps, chosen, size, over):
    rows = [F.relu(maps[b, chosen[b]]) for b in range(len(maps))]
    rows = [F.interpolate(r[None, None], size=size, mode="bilinear", align_corners=False)[0] for r in rows]
    if over == "batch":
        top = max(r.max() for r in rows)
        return torch.stack([r / (top + 1e-5) for r in rows])
    return torch.stack([r / (r.max() + 1e-5) for r in rows])


@pytest.mark.parametrize("over", ["batch", "image"])
def test_mask_against_its_slow_twin(over):
    maps, chosen = torch.randn(3, 4, 5, 6), torch.tensor([2, 0, 3])
    mask = activation_mask(maps, chosen, (20, 24), over)
    torch.testing.assert_close(mask, slow_mask(maps, chosen, (20, 24), over))
    assert mask.shape == (3, 1, 20, 24) and mask.min() >= 0 and mask.max() <= 1


def test_soft_mask_reaches_one_in_one_image_only_and_hard_mask_in_each():
    maps = torch.rand(4, 2, 6, 6) * torch.tensor([1.0, 5.0, 2.0, 3.0])[:, None, None, None]
    chosen = torch.zeros(4, dtype=torch.long)
    assert (activation_mask(maps, chosen, (24, 24), "batch").amax((1, 2, 3)) > 0.99).tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert (activation_mask(maps, chosen, (24, 24), "image").amax((1, 2, 3)) > 0.99).all()


def test_hard_erasing_keeps_what_is_at_or_below_the_threshold():
    mask = torch.tensor([0.0, 0.2, 0.2001, 1.0]).reshape(1, 1, 2, 2)
    images = torch.full((1, 3, 2, 2), 7.0)
    assert erase_hard(images, mask, 0.2)[0, 0].tolist() == [[7.0, 7.0], [0.0, 0.0]]
    assert erase_soft(images, mask)[0, 0, 1, 1] == 0


def test_negative_maps_erase_nothing():
    mask = activation_mask(-torch.ones(2, 3, 4, 4), torch.tensor([0, 1]), (8, 8), "batch")
    assert torch.equal(mask, torch.zeros(2, 1, 8, 8))


def test_gradient_flows_through_the_maximum():
    value = torch.tensor([[[[1.0, 4.0]]]], requires_grad=True)
    activation_mask(value, torch.tensor([0]), (1, 2), "batch").sum().backward()
    # (a + b) / (b + eps): d/db = (eps - a) / (b + eps)^2, about -1/16
    torch.testing.assert_close(value.grad.flatten(), torch.tensor([0.25, -1 / 16]), atol=1e-4, rtol=0)


def test_weights_at_the_start_the_middle_and_the_end():
    published = PNocSettings(ordinary="x", reconstruction=Ramp(start=0.0, end=4.0, ramp_fraction=0.5))
    ramps = (published.reconstruction, published.erasing, published.adversary)
    at = [tuple(TrainingStep(0, p).weight(ramp) for ramp in ramps) for p in (0, 0.5, 1)]
    assert at == [(0, 0.3, 0), (4, pytest.approx(0.65), 0.5), (4, 1, 1)]
    assert TrainingStep(0, 0.0).weight(Ramp(start=0.0, end=2.0, ramp_fraction=0.0)) == 2


def _global_max(rank):
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0]])[rank].requires_grad_()
    top = global_max(values.max())
    (values.sum() / top).backward()
    return top.item(), values.grad.tolist()


def test_maximum_over_two_processes_has_the_gradient_of_one_process():
    (first, a), (second, b) = together(2, _global_max)
    whole = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    (whole.sum() / whole.max()).backward()
    assert first == second == 5
    torch.testing.assert_close(torch.tensor([a, b]), whole.grad)
