"""Several processes that train together: their numbers, and what they tell each other. How they meet and end:
``wsss.system.launch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist


def ranks() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@torch.no_grad()
def share(tensors: Iterable[torch.Tensor], mean: bool) -> None:
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


def agreed(values: Sequence[float], device: torch.device) -> list[float]:
    """The largest of each value over all processes. None goes on before all have asked."""
    if ranks()[1] == 1:
        return list(values)
    told = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return told.tolist()
