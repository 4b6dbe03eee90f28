"""Gradient scalers of several networks, and how a GPU chooses its kernels during a training."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from tests.engine.tiny_training import trainer
from wsss.training.engine import CHECKPOINT_SECONDS, kernels_for_training
from wsss.training.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_that_meet_have_one_scale(shared):
    """The loss of ``b`` overflows once, and its scale is halved; the loss of ``a`` leaves gradients in both. With a
    scale for each, the step of ``b`` is then a mixture of two."""
    precision = Precision("fp16", CPU, ["a", "b"], shared)
    a, b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    optimisers = {name: torch.optim.SGD([p], lr=1.0) for name, p in (("a", a), ("b", b))}

    def step(factor: float) -> None:
        for name, loss in (("a", a * b), ("b", factor * b)):
            precision.scalers[name].scale(loss).backward()
        for name, optimiser in optimisers.items():
            precision.scalers[name].step(optimiser)
            optimiser.zero_grad()
        precision.update(optimisers)

    step(torch.inf)
    assert b.item() == 3.0, "skipped"
    at, bt = a.item(), b.item()
    step(1.0)
    assert a.item() == at - bt
    assert (b.item() == bt - (at + 1)) == shared
    assert (precision.scalers["a"] is precision.scalers["b"]) == shared
    assert precision.scalers["b"].get_scale() == 32768 and precision.scalers["b"]._get_growth_tracker() == 1


@pytest.mark.parametrize("deterministic", [True, False])
def test_kernels_are_chosen_for_a_training_alone(deterministic, monkeypatch):
    """Afterwards photos of many sizes follow; to try all kernels on each size would take minutes."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark
    with pytest.raises(ZeroDivisionError), kernels_for_training(deterministic):
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.are_deterministic_algorithms_enabled() is torch.backends.cudnn.deterministic is deterministic
        raise ZeroDivisionError
    assert torch.backends.cudnn.benchmark is before and not torch.are_deterministic_algorithms_enabled()


def test_large_checkpoints_come_less_often(tiny_index, make_run):
    it = trainer(tiny_index, make_run(None, {}))
    it.saved = time.monotonic() - 1.5 * CHECKPOINT_SECONDS
    for seconds, due in ((0.0, True), (2.0, True), (4.0, False)):
        it.cost = seconds
        assert it._must() == (False, due)
