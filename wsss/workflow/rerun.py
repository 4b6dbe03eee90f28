"""What a run would make again of what is finished: how many results, how many hours they took, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsss.steps import TABLES
from wsss.store.artefact import Artefact
from wsss.workflow.staleness import AGAIN, BACK, Staleness

SHOWN = 3
"""Reasons that are told."""


@dataclass(frozen=True)
class Rerun:
    """Finished results that are not what is wanted any more.

    Attributes:
        results: How many.
        hours: What they took, all together.
        on_gpu: At least one of them held memory of a GPU.
        reasons: What changed, each once.
    """

    results: int
    hours: float
    on_gpu: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        unit = "GPU-hours" if self.on_gpu else "hours"
        took = (
            f"{self.hours:.{1 if self.hours < 10 else 0}f} {unit}"
            if self.hours >= 1
            else f"{60 * self.hours:.1f} minutes"
        )
        many = f"{self.results} finished result{'s' if self.results != 1 else ''}"
        more = f"; and {len(self.reasons) - SHOWN} more changes" if len(self.reasons) > SHOWN else ""
        why = "; ".join(self.reasons[:SHOWN])
        return f"{many} ({took}) to be made again because of: {why}{more}"


def jobs_to_rerun(staleness: Staleness, folders: Iterable[Path], alone: bool = False) -> Rerun:
    """What of some artefacts and of all they rest on has to be made again although it is finished. What comes back from
    where it is kept does not count, and tables, which take seconds, do not either. ``alone``: what they rest on
    stays as it is, so they have to be made again for reasons of their own only."""
    asked = [Path(os.path.abspath(folder)) for folder in folders]
    stale = staleness.stale(asked)
    if alone:
        own_reasons = {
            one: [reason for reason in reasons if not reason.endswith(AGAIN)] for one, reasons in stale.items()
        }
        stale = {one: reasons for one, reasons in own_reasons.items() if one in asked and reasons}
    lost = [
        (made, reasons)
        for folder, reasons in stale.items()
        if (made := staleness.state(folder).made) is not None and made.stage not in TABLES and reasons[0] != BACK
    ]
    own = [reason for _, reasons in lost for reason in reasons if not reason.endswith(AGAIN)]
    gpu = any("peak_gpu_memory_mib" in made.manifest for made, _ in lost)
    return Rerun(len(lost), sum(hours_of(made) for made, _ in lost), gpu, tuple(dict.fromkeys(own)))


def hours_of(made: Artefact) -> float:
    """What an artefact took, its shards included."""
    about = made.manifest
    return float(about.get("wall_seconds", 0) + sum(about.get("shard_seconds", ()))) / 3600
