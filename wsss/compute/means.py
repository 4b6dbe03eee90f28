"""Means over what counts, when several devices share a batch."""

from __future__ import annotations

import torch
import torch.distributed as dist


def over_devices(counts: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The sum of ``counts`` over the devices of the run, and how many devices there are. ``counts`` is not changed."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
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
