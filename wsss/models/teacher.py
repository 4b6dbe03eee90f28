"""A mean teacher: a network whose weights are a moving average of those of another, its student."""

from __future__ import annotations

import copy

import torch
from torch import nn

from wsss.models.backbone import Trainable


@torch.no_grad()
def move_towards(network: nn.Module, other: nn.Module, share: float) -> None:
    """w <- w + share (w' - w) for all weights of a network and of another of its kind, in a few launches of a GPU;
    buffers are copied."""
    own, new = ([p.detach() for p in each.parameters()] for each in (network, other))
    torch._foreach_lerp_(own, new, share)
    for buffer, now in zip(network.buffers(), other.buffers(), strict=True):
        buffer.copy_(now)


class Teacher:
    """Follows a student (Tarvainen and Valpola, NeurIPS 2017).

    T <- d T + (1 - d) S with d = min(1 - 1 / (1 + n), decay) in the n-th update, from 0: the first one takes over the
    student's weights as they are, and the next ones average all until the decay is reached. Buffers (the statistics of
    batch normalisation) are copied.

    Args:
        student: The network, before anything is done with it; it is copied.
        decay: Largest d, in [0, 1).

    Attributes:
        network: In eval mode; no parameter of it collects a gradient.
        updates: How many there were; with none it is of no use yet.
    """

    def __init__(self, student: Trainable, decay: float) -> None:
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def follow(self, student: Trainable) -> None:
        """Take in the student's weights as they are now."""
        move_towards(self.network, student, 1 - min(1 - 1 / (1 + self.updates), self.decay))
        self.updates += 1

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold."""
        return {"updates": torch.tensor(self.updates), **self.network.state_dict(prefix="teacher.")}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what ``state`` gave."""
        self.updates = int(state["updates"])
        own = {name.removeprefix("teacher."): tensor for name, tensor in state.items() if name != "updates"}
        self.network.load_state_dict(own)
