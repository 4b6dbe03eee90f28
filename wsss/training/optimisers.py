"""Optimisers with the four parameter groups of this line of work, and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch

from wsss.models.backbone import Trainable
from wsss.settings import TrainingSettings


def parameter_groups(network: Trainable, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Pretrained weights, pretrained biases, new weights, new biases: rates times 1, 2, 10, 20 by default.

    One-dimensional parameters named ``bias`` (normalisation offsets among them) are biases: no weight decay.
    """
    groups = []
    for new in (False, True):
        for bias in (False, True):
            chosen = [
                p
                for name, p in network.named_parameters()
                if p.requires_grad and network.is_new(name) == new and name.endswith("bias") == bias
            ]
            factor = (settings.head_lr_mult if new else 1.0) * (settings.bias_factor if bias else 1.0)
            decay = 0.0 if bias else settings.weight_decay
            if chosen:
                groups.append({"params": chosen, "factor": factor, "weight_decay": decay, "lr": settings.lr * factor})
    return groups


def build_optimiser(network: Trainable, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD (without momentum unless the settings say so) or AdamW over ``parameter_groups``, fused: one pass over all
    weights a step."""
    groups = parameter_groups(network, settings)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, fused=True)
    momentum = settings.momentum
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def rate_at(step: int, steps: int, settings: TrainingSettings) -> float:
    """Factor of the learning rate at an optimiser step: linear warm-up, then the decay of ``lr_schedule``.

    With t steps since the warm-up of the T that remain after it: ``poly`` (1 - t/T)^power, ``cosine``
    (1 + cos(pi t/T)) / 2.
    """
    warmup = int(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if settings.lr_schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    factor: float = (1 - done) ** settings.poly_power
    return factor


def set_rate(optimiser: torch.optim.Optimizer, factor: float, settings: TrainingSettings) -> None:
    """Give every group its rate: base rate x group factor x ``factor`` (of the schedule, and of the network)."""
    for group in optimiser.param_groups:
        group["lr"] = settings.lr * group["factor"] * factor
