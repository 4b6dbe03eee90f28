"""What a network costs, counted: parameters, and multiply-adds of one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsss.explain.subject import evaluating
from wsss.settings import SearchBudget


class Cost(NamedTuple):
    """Numbers of parameters and of multiply-adds."""

    params: int
    macs: int

    def within(self, budget: SearchBudget) -> bool:
        """Whether neither is above what a budget allows (millions and billions)."""
        return all(
            most is None or value <= most * unit
            for value, most, unit in ((self.params, budget.params, 1e6), (self.macs, budget.macs, 1e9))
        )


def cost_of(network: nn.Module, size: int) -> Cost:
    """The cost of a network on an image of ``size`` x ``size`` pixels.

    Multiply-adds are those of convolutions and matrix products; normalisation, activations and resizing are left out,
    as is usual.
    """
    device = next(network.parameters()).device
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size, device=device))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)
