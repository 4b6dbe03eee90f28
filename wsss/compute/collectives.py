"""Several processes that train together: their numbers, and what they tell each other. How they meet and end:
``wsss.system.launch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather


def ranks() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


@torch.no_grad()
def average_or_broadcast(tensors: Iterable[torch.Tensor], mean: bool) -> None:
    """Replace tensors of one type by their means over all processes, or by those of the first, in one message."""
    tensors = list(tensors)
    if not tensors or ranks()[1] == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    if mean:
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    else:
        dist.broadcast(flat, 0)
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def all_reduce_max(values: Sequence[float], device: torch.device) -> list[float]:
    """The largest of each value over all processes. None goes on before all have asked."""
    if ranks()[1] == 1:
        return list(values)
    told = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return told.tolist()


def over_devices(counts: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The sum of ``counts`` over the devices of the run, and how many devices there are. ``counts`` is not changed."""
    if ranks()[1] == 1:
        return counts, 1
    everywhere = counts.clone()
    dist.all_reduce(everywhere)
    return everywhere, dist.get_world_size()


def batch_mean(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """A device's part of a mean over the whole batch: total x devices / count over all devices; 0 where nothing counts.

    The engine takes the mean of the gradients over devices, so the devices' parts must be divided by one number: with
    counts of their own, a device with few pixels (or tags) would give each of them more weight.

    Args:
        total: Sum over what counts on this device, a scalar; differentiable.
        count: How much counts on this device, a scalar.
    """
    everywhere, devices = over_devices(count)
    return total * devices / everywhere.clamp(min=1)


class _GlobalMax(torch.autograd.Function):
    """Maximum over all devices; the gradient goes to the device (or devices, in equal parts) that held it."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        largest = value.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        held = (value == largest).to(value.dtype)
        holders = held.clone()
        dist.all_reduce(holders)
        ctx.save_for_backward(held / holders)
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        average_or_broadcast: torch.Tensor = ctx.saved_tensors[0]
        total = gradient.clone()
        dist.all_reduce(total)
        return total * average_or_broadcast


def global_max(value: torch.Tensor) -> torch.Tensor:
    """The maximum of a scalar over all devices of the run; differentiable."""
    if ranks()[1] > 1:
        largest: torch.Tensor = _GlobalMax.apply(value)
        return largest
    return value


def gathered(rows: torch.Tensor) -> torch.Tensor:
    """Rows (B, D) of all devices of the run as one (sum of B, D); differentiable.

    Every device then computes the same loss of the whole batch, and the mean over devices of their gradients, which the
    engine takes, is its gradient.
    """
    return torch.cat(all_gather(rows.contiguous())) if ranks()[1] > 1 else rows  # type: ignore[no-untyped-call]
