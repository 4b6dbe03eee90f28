"""ReLUs as softplus, so that maps made of gradients have derivatives themselves (Dombrowski et al. 2019, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.layers import activations as of_timm
from torch import nn
from torch.nn import functional as F

from wsss.errors import WsssError

SMOOTH = (
    nn.SiLU, nn.GELU, nn.Mish, nn.ELU, nn.Softplus, nn.Tanh, nn.Hardswish,
    of_timm.Swish, of_timm.Mish, of_timm.GELU, of_timm.GELUTanh, of_timm.HardSwish,
)  # fmt: skip
"""Activations that stay as they are: they have a second derivative, if not everywhere."""


def soft_relu(z: torch.Tensor, beta: float) -> torch.Tensor:
    """softplus_beta(z) = ln(1 + exp(beta z)) / beta: above ReLU by at most ln 2 / beta, which it is at 0."""
    return F.softplus(z, beta)


def soft_relu6(z: torch.Tensor, beta: float) -> torch.Tensor:
    """softplus_beta(z) - softplus_beta(z - 6)."""
    return F.softplus(z, beta) - F.softplus(z - 6, beta)


def soft_leaky(z: torch.Tensor, beta: float, slope: float) -> torch.Tensor:
    """slope z + (1 - slope) softplus_beta(z)."""
    return slope * z + (1 - slope) * F.softplus(z, beta)


def softened_forward(module: nn.Module, beta: float) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What takes the place of an activation's forward pass; None for a module that is no such activation."""
    if isinstance(module, nn.ReLU6):
        return partial(soft_relu6, beta=beta)
    if isinstance(module, nn.ReLU):
        return partial(soft_relu, beta=beta)
    if isinstance(module, nn.LeakyReLU):
        return partial(soft_leaky, beta=beta, slope=module.negative_slope)
    return None


def check_activations(network: nn.Module) -> None:
    """Raises ``WsssError`` for a network without any activation module: its ReLUs are functions, which nothing here can
    soften."""
    if not any(isinstance(m, SMOOTH) or softened_forward(m, 1.0) is not None for m in network.modules()):
        raise WsssError(
            f"{type(network).__name__} has no activation module (nn.ReLU, ReLU6, SiLU, ...), so its activations cannot "
            "be softened; write them as modules, or set 'beta: null'"
        )


@contextmanager
def softened(network: nn.Module, beta: float | None) -> Iterator[None]:
    """Within the block the network computes with softened ReLUs, ReLU6 and leaky ReLUs; afterwards, also after an
    error, it is bit for bit what it was. ``beta`` None: nothing changes.

    Graphs that are made within the block may be followed backwards after it.
    """
    changed: list[nn.Module] = []
    try:
        for module in network.modules() if beta is not None else ():
            forward: Any = softened_forward(module, float(beta or 0))
            if forward is not None:
                module.forward = forward
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def annealed(step: int, steps: int, start: float, end: float, share: float) -> float:
    """Beta at a step from 0: start (end/start)^(step / (share steps)), at most ``end``.

    Examples:
        >>> [round(annealed(step, 4, 10, 160, 1.0), 6) for step in range(5)]
        [10.0, 20.0, 40.0, 80.0, 160.0]
    """
    return float(start * (end / start) ** min(1.0, step / (share * steps)))
