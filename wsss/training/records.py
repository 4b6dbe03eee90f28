"""What a training writes down: means of its losses, a few times per epoch, as JSON lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.compute.collectives import average_or_broadcast
from wsss.errors import WsssError
from wsss.system.failures import writing
from wsss.system.files import flush_to_disk
from wsss.training.loggers import Logger

METRICS = "metrics.jsonl"
RECORDS_PER_EPOCH = 4


class Records:
    """Sums the parts of losses, and writes their means as lines of ``metrics.jsonl``.

    Args:
        path: The file; only the first of several processes writes it.
        device: Where the sums are.
        per_epoch: Micro-batches per epoch.
        accumulate: Micro-batches per optimiser step.
        writes: Whether this process writes.

    Attributes:
        latest: The last line, for the progress; empty between two records.
        log: Also takes each record (``wsss.training.loggers``).
    """

    def __init__(self, path: Path, device: torch.device, per_epoch: int, accumulate: int, writes: bool) -> None:
        self.path, self.device, self.writes = path, device, writes
        self.per_epoch, self.accumulate = per_epoch, accumulate
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self.latest, self.log = "", Logger()

    def add(self, step: int, parts: dict[str, torch.Tensor]) -> bool:
        """Take in the parts of the losses of a micro-batch, ``step`` of them done. Returns whether a record is due."""
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + value.float()
            self.counts[name] = self.counts.get(name, 0) + 1
        self.latest = ""
        position = step % self.per_epoch or self.per_epoch
        done, before = (n * RECORDS_PER_EPOCH // self.per_epoch for n in (position, position - 1))
        if done != before or step % self.accumulate == 0:
            # a checkpoint may follow, and all processes must judge the same numbers
            average_or_broadcast(self.sums.values(), mean=True)
        return done != before

    def write(self, step: int, lr: float) -> None:
        """Write the means since the last record."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        record = {"step": step, "epoch": round(step / self.per_epoch, 3), "lr": lr}
        record |= {name: round(value, 6) for name, value in means.items()}
        if self.writes:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.log.record(record)
        self.sums, self.counts = {}, {}
        self.latest = " ".join(f"{name} {value:.3f}" for name, value in means.items())

    def check_finite(self, step: int, networks: Iterable[nn.Module], checkpoint: Path) -> None:
        """Raise ``WsssError``, in all processes or in none, if a loss since the last record or a weight is not
        finite."""
        wrong = [name for name, total in self.sums.items() if not math.isfinite(float(total))]
        finite = [p.isfinite().all() for network in networks for p in network.parameters()]
        if not wrong and not torch.stack(finite).all():
            wrong = ["a weight"]
        if wrong:
            last = f"the last sound checkpoint is {checkpoint}" if checkpoint.exists() else "no checkpoint yet"
            raise WsssError(
                f"training step {step}: {', '.join(wrong)} is not finite; lower 'lr', or set 'clip_norm' or "
                f"'precision: fp32' ({last})"
            )

    def begin(self) -> None:
        """Forget the lines of another training."""
        if self.writes:
            self.path.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: the sums, and the length of the file, which is on the disk now."""
        length = 0
        if self.path.exists():
            flush_to_disk(self.path)
            length = self.path.stat().st_size
        return {"sums": self.sums, "counted": self.counts, "metrics": length}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave; lines that were written after the checkpoint go."""
        self.sums, self.counts = state["sums"], state["counted"]
        if self.writes and self.path.exists():
            os.truncate(self.path, min(state["metrics"], self.path.stat().st_size))
