"""What an objective computes with, and what it gives back."""

from __future__ import annotations

from typing import NamedTuple

import torch

from wsss.settings import Ramp


class Loss(NamedTuple):
    """One loss that is to be differentiated.

    Attributes:
        network: Name of the network whose optimiser (and gradient scaler) it belongs to.
        value: Scalar.
        parts: Detached scalars for the log.
    """

    network: str
    value: torch.Tensor
    parts: dict[str, torch.Tensor]


class TrainingStep(NamedTuple):
    """Where in the training a micro-step stands.

    Attributes:
        step: Number of the micro-step, from 0.
        progress: Share of the training that is done, in [0, 1); 1 after its last step.
        epoch: Whole epochs that are done.
    """

    step: int
    progress: float
    epoch: int = 0

    def weight(self, ramp: Ramp) -> float:
        """w(t) = start + (end - start) min(1, t / (ramp_fraction T)); with a fraction of 0 always ``end``.

        Examples:
            >>> from wsss.settings import Ramp
            >>> TrainingStep(step=50, progress=0.5).weight(Ramp(start=0.0, end=0.3))
            0.15
        """
        moved = 1.0 if ramp.ramp_fraction == 0 else min(1.0, self.progress / ramp.ramp_fraction)
        return ramp.start + (ramp.end - ramp.start) * moved
