"""Curves of early learning, the correction of masks, and the memory of the objective, against slow twins."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from wsss.data.loading import Batch
from wsss.losses.base import TrainingStep
from wsss.losses.early_learning import corrected_masks, rise, slope_fall
from wsss.losses.segmentation import pixel_counts
from wsss.objectives.early_learning import EarlyLearning
from wsss.settings import EarlyLearningSettings

CLASSES, SIDE = 2, 32
NETWORK = {"backbone": "test_resnet", "pretrained": False, "architecture": "unet", "masks": "x", "crop": SIDE}


def fall(n, b, g):
    """1 - f'(n) / f'(1) by differences, of f = a (1 - exp(-x^b / g))."""
    f, e = lambda x: 1 - math.exp(-(x**b) / g), 1e-6
    return 1 - (f(n + e) - f(n - e)) / (f(1 + e) - f(1 - e))


@pytest.mark.parametrize(("a", "b", "g"), [(0.6, 1.0, 0.5), (0.8, 0.7, 2.0), (0.3, 0.5, 1.0), (1.0, 1.0, 5.0)])
@pytest.mark.parametrize("n", [4, 9])
def test_a_curve_is_recognised(a, b, g, n):
    curve = rise(np.arange(1.0, n + 1), a, b, g)
    assert slope_fall(list(curve)) == pytest.approx(fall(n, b, g), abs=2e-3)


def test_the_fit_is_that_of_a_search_over_all_parameters():
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 9.0)
    curve = rise(x, 0.55, 0.8, 1.2) + rng.normal(0, 0.01, 8)
    sigma = np.geomspace(1, 0.1, 8)
    grid = product(np.linspace(0, 1, 21), np.linspace(0.04, 1, 25), np.geomspace(0.1, 20, 30))
    best = min(grid, key=lambda one: (((rise(x, *one) - curve) / sigma) ** 2).sum())
    assert slope_fall(list(curve)) == pytest.approx(fall(8, *best[1:]), abs=0.05)


@pytest.mark.parametrize("curve", [[], [0.3, 0.5], [0.0, 0.0, 0.0], [0.2, 0.1, 0.0]])
def test_what_tells_nothing_yet(curve):
    assert slope_fall(curve) == 0


def slow_correction(q, masks, started, inside, sure, guard):
    found = masks.clone()
    for i, y, x in torch.cartesian_prod(*map(torch.arange, masks.shape)).tolist():
        label = max(range(q.shape[1]), key=lambda c: q[i, c, y, x].item())
        if inside[i, y, x] and started[label] and q[i, label, y, x] > sure:
            found[i, y, x] = label
    for i in range(len(masks)) if guard else ():
        for label in range(1, q.shape[1]):
            now, before = int((found[i] == label).sum()), int((masks[i] == label).sum())
            if now < before / 2 and now < 0.05 * int(inside[i].sum()):
                found[i][masks[i] == label] = label
    return found


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("started", [[True, True, False, True], [True] * 4])
def test_corrections_against_their_slow_twin(started, guard):
    torch.manual_seed(0)
    q = (3 * torch.randn(4, 4, 9, 11)).softmax(dim=1)
    masks = torch.randint(0, 4, (4, 9, 11))
    masks[0, :2], masks[1] = 255, 2
    q[1, 0] += 3  # the network sees nothing where the mask is full of one label
    q /= q.sum(dim=1, keepdim=True)
    inside = torch.ones(4, 9, 11, dtype=torch.bool)
    inside[2, :, 8:] = False
    found = corrected_masks(q, masks, torch.tensor(started), inside, 0.7, guard)
    assert torch.equal(found, slow_correction(q, masks, started, inside, 0.7, guard))
    assert (found[1] == 2).all() == guard and (found != masks).any()
    assert pixel_counts(masks)[1, 2] == 99 and pixel_counts(masks).sum() == masks.numel()


@pytest.fixture
def batches() -> list[Batch]:
    torch.manual_seed(5)
    labels = torch.tensor([[1, 0], [1, 1]]).float()
    masks = torch.randint(0, 3, (3, 2, SIDE, SIDE))
    masks[:, :, :4] = 255
    return [Batch(torch.randn(2, 3, SIDE, SIDE), labels, torch.zeros(2), one) for one in masks]


def objective(**settings) -> EarlyLearning:
    torch.manual_seed(0)
    goal = EarlyLearning(EarlyLearningSettings(**{**NETWORK, **settings}), CLASSES)
    goal.networks["segmenter"].train()
    return goal


def test_curves_are_those_of_the_predictions_in_training(batches):
    goal, seen = objective(), []
    goal.networks["segmenter"].register_forward_hook(
        lambda module, given, scores: seen.append(scores.detach()) and None
    )
    for step, batch in enumerate([*batches, batches[0]]):
        (loss,) = goal.losses(batch, TrainingStep(step, step / 6, epoch=step // 3))
        assert loss.parts["classes"] == loss.parts["changed"] == 0
    masks, told = torch.stack([b.masks for b in batches]), torch.stack([s.argmax(dim=1) for s in seen[:3]])
    told = told[masks != 255]
    masks = masks[masks != 255]
    expected = [((told == c) & (masks == c)).sum().item() / ((told == c) | (masks == c)).sum().item() for c in range(3)]
    assert goal.curves == [pytest.approx(expected)] and goal.epoch == 1
    assert goal.counts.sum() == (batches[0].masks != 255).sum()


def test_a_class_starts_for_good_and_takes_the_background_along(batches, monkeypatch):
    goal, answers = objective(correction_start=0.5, sure=0.3), iter(())
    monkeypatch.setattr("wsss.objectives.early_learning.slope_fall", lambda curve: next(answers))
    started = []
    for epoch, bent in enumerate(([0.1, 0.4], [0.2, 0.6], [0.7, 0.0]), start=1):
        answers = iter(bent)
        goal.after_step(TrainingStep(3 * epoch, 0.1, epoch))
        (loss,) = goal.losses(batches[0], TrainingStep(3 * epoch, 0.1, epoch))
        started.append(list(goal.started))
    assert started == [[False] * 3, [True, False, True], [True] * 3]
    assert loss.parts["classes"] == 3 and 0 < loss.parts["changed"] < 1


def test_its_memory_survives(batches, monkeypatch):
    monkeypatch.setattr("wsss.objectives.early_learning.slope_fall", lambda curve: len(curve) / 2)
    goal = objective(correction_start=0.9)
    for step in range(5):
        list(goal.losses(batches[step % 3], TrainingStep(step, step / 9, epoch=step // 2)))
        goal.after_step(TrainingStep(step + 1, (step + 1) / 9, epoch=(step + 1) // 2))
    again = objective(correction_start=0.9)
    again.networks["segmenter"].load_state_dict(goal.networks["segmenter"].state_dict())
    again.load_state({name: tensor.clone() for name, tensor in goal.state().items()})
    assert again.started == [True] * 3 and again.curves == goal.curves and len(goal.curves) == 2
    for each in (goal, again):
        (loss,) = each.losses(batches[2], TrainingStep(6, 0.7, epoch=3))
        assert each.epoch == 3 and len(each.curves) == 3
        each.last = loss.value
    assert goal.last == again.last
