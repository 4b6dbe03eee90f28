"""Weights that are averaged over a training: an exponential moving average, or the mean of the last epochs' ends."""

from __future__ import annotations

import torch
from torch import nn

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
        self.kept: dict[str, torch.Tensor] = {}
        self.parameters = {name for name, _ in network.named_parameters()}
        if settings.ema is not None:
            self.kept = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Bring the moving average up to date after optimiser step ``step``, counted from 0."""
        if self.settings.ema is None:
            return
        decay = min(self.settings.ema, (1 + step) / (10 + step))
        for name, tensor in self.network.state_dict().items():
            if name in self.parameters:
                self.kept[name].lerp_(tensor, 1 - decay)
            else:
                self.kept[name].copy_(tensor)

    @torch.no_grad()
    def after_epoch(self, epoch: int) -> None:
        """Take in the weights at the end of epoch ``epoch``, counted from 0."""
        s = self.settings
        if s.average_last is None or epoch < s.epochs - s.average_last:
            return
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point():
                self.kept[name] = self.kept[name] + tensor if name in self.kept else tensor.clone()
            else:
                self.kept[name] = tensor.clone()

    def finish(self) -> None:
        """Give the network its average."""
        if self.settings.average_last is not None and self.kept:
            k = self.settings.average_last
            self.kept = {n: t / k if t.is_floating_point() else t for n, t in self.kept.items()}
        if self.kept:
            self.network.load_state_dict(self.kept)
        self.kept = {}

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold."""
        return self.kept

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what ``state`` gave."""
        self.kept = state
