"""Weights that are averaged over a training: an exponential moving average, or the mean of the last epochs' ends."""

from __future__ import annotations

import copy

import torch
from torch import nn

from wsss.models.teacher import move_towards
from wsss.settings import TrainingSettings


class WeightAverage:
    """Keeps an average of a network's weights beside the training, which it does not touch.

    - ``ema``: w' = d w' + (1 - d) w after every optimiser step, with d at most (1 + t) / (10 + t) in step t: in the
      first steps the average is not held back by weights that were random. Buffers (the statistics of batch
      normalisation) are copied.
    - ``average_last``: the mean of the weights at the ends of the last k epochs, floating buffers included (Izmailov et
      al. 2018 compute the statistics of batch normalisation anew instead; their mean costs no pass over the images).

    Args:
        network: The network; its weights at this moment are where the moving average starts.
        settings: ``ema``, ``average_last``, ``epochs``; with both null nothing is kept.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings) -> None:
        self.network, self.settings = network, settings
        self.average: nn.Module | None = None
        if settings.ema is not None:
            self._begin()

    def _begin(self) -> None:
        """Start from the weights of this moment."""
        self.average = copy.deepcopy(self.network).requires_grad_(False)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring the moving average up to date after optimiser step ``step``, counted from 0."""
        if self.settings.ema is not None and self.average is not None:
            decay = min(self.settings.ema, (1 + step) / (10 + step))
            move_towards(self.average, self.network, 1 - decay)

    @torch.no_grad()
    def after_epoch(self, epoch: int) -> None:
        """Take in the weights at the end of epoch ``epoch``, counted from 0."""
        s = self.settings
        if s.average_last is None or epoch < s.epochs - s.average_last:
            return
        if self.average is None:
            self._begin()
        else:
            now = self.network.state_dict()
            totals = {name: total for name, total in self.average.state_dict().items() if total.is_floating_point()}
            torch._foreach_add_(list(totals.values()), [now[name] for name in totals])
            for name, last in self.average.state_dict().items():
                if name not in totals:
                    last.copy_(now[name])

    def finish(self) -> None:
        """Give the network its average."""
        weights, k = self.state(), self.settings.average_last
        if k is not None:
            weights = {n: t / k if t.is_floating_point() else t for n, t in weights.items()}
        if weights:
            self.network.load_state_dict(weights)
        self.average = None

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold: the average's weights by name, or for ``average_last`` their sum."""
        return {} if self.average is None else self.average.state_dict()

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what ``state`` gave."""
        if state:
            self._begin()
            assert self.average is not None
            self.average.load_state_dict(state)
