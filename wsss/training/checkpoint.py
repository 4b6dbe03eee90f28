"""Checkpoints of trainings: one file per identity, atomically replaced."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from wsss.compute.collectives import all_reduce_max
from wsss.errors import WsssError
from wsss.runtime.run import Run
from wsss.system.files import atomic_path
from wsss.training.records import METRICS

LATEST = "checkpoint.pt"


class Checkpoint:
    """The checkpoint of the artefact that a run makes. Those of other identities stay where they are.

    Attributes:
        folder: ``STATE/IDENTITY``; the records of the training lie there, too.
        path: The file.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, run.state / run.identity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / LATEST

    def save(self, state: dict[str, Any]) -> None:
        """Write plain values and tensors."""
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """What was saved, its tensors on ``device``; None: the training starts at step 0.

        Raises:
            WsssError: The processes of the training do not see the same file.
        """
        state: dict[str, Any] | None = None
        if self.path.is_file():
            state = torch.load(self.path, map_location=device, weights_only=True)
        step = -1.0 if state is None else state["step"]
        if all_reduce_max([step, -step], device) != [step, -step]:
            raise WsssError(
                f"{self.path}: the processes of this training do not see the same checkpoint; the folder of "
                "--state must lie on a file system that all their machines share"
            )
        return state

    def others(self) -> list[str]:
        """Identities of unfinished trainings of other settings, inputs or versions that lie beside this one."""
        return sorted(one.parent.name for one in self.run.state.glob(f"*/{LATEST}") if one != self.path)


def keep_product(run: Run) -> None:
    """Copy the metrics into the artefact: the training is over. The checkpoint goes when the artefact is whole, so that
    a stage that is killed before does not train again."""
    folder = run.state / run.identity
    if (folder / METRICS).exists():
        with atomic_path(run.out / METRICS) as temporary:
            shutil.copyfile(folder / METRICS, temporary)
    run.leftovers.append(folder)
