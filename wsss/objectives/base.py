"""What the engine asks of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import nn

from wsss.data.index import Item
from wsss.data.loading import Batch
from wsss.losses.base import Loss, TrainingStep
from wsss.models.backbone import Trainable


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within the block no parameter of ``network`` collects a gradient; gradients still pass through it to its
    input."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Learner(ABC):  # noqa: B024 - each of its kinds has a method of its own
    """What a module of ``wsss.objectives`` defines: an ``Objective``, or a ``Fitted``."""


class Fitted(Learner):
    """A network whose weights are computed at once: the engine, its steps and its checkpoints have no part in it.

    Attributes:
        network: The network that is fitted.
    """

    network: Trainable

    @abstractmethod
    def fit(
        self, items: list[Item], device: torch.device, threads: int, heed: Callable[[], None]
    ) -> tuple[nn.Module, tuple[float, float]]:
        """The network that the artefact keeps, in eval mode, and the loss before and after the fit.

        Args:
            items: Training images.
            device: Where networks run.
            threads: Cores for everything.
            heed: To be called between images; raises where a signal has asked to stop.
        """


class Objective(Learner):
    """Networks and their losses.

    The engine calls ``losses`` once a micro-step and differentiates each loss before it asks for the next one, so an
    objective of several phases is written top to bottom: what a phase needs frozen is frozen around its ``yield``.

    Attributes:
        networks: Everything that is trained, by name; the engine gives each its optimiser.
        fixed: Networks that the losses use and nothing trains; the engine moves them to the device, in eval mode.
        product: Name of the network that the artefact keeps.
    """

    networks: dict[str, Trainable]
    fixed: Mapping[str, Trainable] = MappingProxyType({})
    product: str

    @abstractmethod
    def losses(self, batch: Batch, training_step: TrainingStep) -> Iterator[Loss]:
        """Yield the losses of one micro-step; ``batch`` is on the device of the networks."""

    def batch_norm(self, network: str, default: str) -> str:
        """``normal`` or ``fixed`` for one of the networks (or ``default``, the ``batch_norm`` of the recipe)."""
        return default

    def lr_mult(self, network: str) -> float:
        """Learning rate of one of the networks relative to that of the recipe."""
        return 1.0

    def crossed(self) -> bool:
        """Whether a loss of one network leaves gradients in another one, too."""
        return False

    def after_step(self, training_step: TrainingStep) -> None:  # noqa: B027 - most objectives do nothing
        """What follows an optimiser step; ``training_step`` is where the training stands after it."""

    def kept(self, product: nn.Module) -> nn.Module:
        """What the artefact keeps of the trained product: all of it, unless a part served the training alone, or
        another network took its place."""
        return product

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold besides the trained networks; equal on all devices of the run."""
        return {}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:  # noqa: B027 - most objectives have none
        """Take over what ``state`` gave."""
