"""In which type a training computes, and the scaling of its losses under float16."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch

from wsss.compute.devices import TYPES, autocast_type, can_autocast


class Precision:
    """The autocast type of a training on a device, and a gradient scaler per network.

    Args:
        wanted: The setting ``precision``.
        device: Where it trains.
        networks: Names of the networks that are trained.
        shared: Losses of one network reach others as well. All then have one scaler: gradients of different scales
            cannot be added.

    Attributes:
        type: ``torch.float32``, ``bfloat16`` or ``float16``; only the last needs its losses scaled.
        scalers: Network name to its scaler.
    """

    def __init__(self, wanted: str, device: torch.device, networks: Iterable[str], shared: bool = False) -> None:
        self.wanted, self.device, self.names, self.shared = wanted, device, list(networks), shared
        self._set(autocast_type(wanted, device))

    def _set(self, kind: torch.dtype) -> None:
        self.type = kind

        def scaler() -> torch.amp.GradScaler:
            return torch.amp.GradScaler(self.device.type, enabled=kind == torch.float16)

        one = scaler()
        self.scalers = {name: one if self.shared else scaler() for name in self.names}

    def update(self, stepped: Iterable[str]) -> None:
        """Adapt the scales after an optimiser step of these networks, each once."""
        for scaler in {id(self.scalers[name]): self.scalers[name] for name in stepped}.values():
            scaler.update()

    @property
    def name(self) -> str:
        """The type without the name of the library, ``bfloat16``."""
        return str(self.type).removeprefix("torch.")

    def autocast(self) -> Any:
        """The context in which losses are computed."""
        return nullcontext() if self.type == torch.float32 else torch.autocast(self.device.type, self.type)

    def resume_in(self, before: str) -> str | None:
        """Take the type that a training began with, where the setting is ``auto`` and this device has it. Returns what
        is to be said of it; None where nothing changes."""
        if before == str(self.type):
            return None
        kind, name = TYPES[before], before.removeprefix("torch.")
        if self.wanted == "auto" and can_autocast(kind, self.device):
            self._set(kind)
            return f"resuming in {name}, in which this training began"
        return f"this training began in {name} and resumes in {self.name}: this device does not have the former"

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"type": str(self.type), "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over the scalers that ``state`` gave; the type is for ``resume_in``."""
        for name, scaler in self.scalers.items():
            if scaler.is_enabled() and state["scalers"][name]:
                scaler.load_state_dict(state["scalers"][name])
