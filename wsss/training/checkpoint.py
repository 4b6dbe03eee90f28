"""Checkpoints of trainings: one file per identity, atomically replaced; of a training on a GPU beside it."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils._pytree import tree_map

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
        cost: Seconds from the beginning of the last save until it was on the disk.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.folder = run, run.state / run.identity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / LATEST
        self.cost = 0.0
        self._writer: ThreadPoolExecutor | None = None
        self._begun: Future[None] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Write plain values and tensors."""
        self.settle()
        self._write(state, time.monotonic())

    def begin_save(self, state: dict[str, Any]) -> None:
        """``save``, of which only the copy to page-locked memory is waited for: a thread writes that, and the training
        goes on. What goes wrong there is raised by the next save, or by ``settle``."""
        self.settle()
        began = time.monotonic()
        self._writer = self._writer or ThreadPoolExecutor(1, "checkpoint")
        self._begun = self._writer.submit(self._write, on_host(state), began)

    def settle(self) -> None:
        """Wait until what was begun is on the disk.

        Raises:
            DiskFull: There was no room for it.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()

    def _write(self, state: dict[str, Any], began: float) -> None:
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        self.cost = time.monotonic() - began

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


def on_host(state: dict[str, Any]) -> dict[str, Any]:
    """A copy of plain values and tensors, tensors of a GPU in page-locked memory, for which the host waits once."""
    seen: set[torch.device] = set()

    def copied(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value.device.type != "cuda":
            return value.clone()
        seen.add(value.device)
        return torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)

    found: dict[str, Any] = tree_map(copied, state)
    for device in seen:
        torch.cuda.current_stream(device).synchronize()
    return found


def keep_product(run: Run) -> None:
    """Copy the metrics into the artefact: the training is over. The checkpoint goes when the artefact is whole, so that
    a stage that is killed before does not train again."""
    folder = run.state / run.identity
    if (folder / METRICS).exists():
        with atomic_path(run.out / METRICS) as temporary:
            shutil.copyfile(folder / METRICS, temporary)
    run.leftovers.append(folder)
