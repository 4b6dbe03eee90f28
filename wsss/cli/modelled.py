"""Times for the table of ``wsss plan`` where no earlier run tells them: the model of ``--on``, on this CPU."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wsss.cli.cost import Model
from wsss.cli.cost_devices import on
from wsss.cli.forecast import MODELLED_HERE, STARTUP, Forecast, History
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job

GIB = 1024.0
"""MiB of one."""


def on_this_machine(chain: Chain, jobs: Sequence[Job], history: History) -> dict[str, Forecast]:
    """Folder of a job to what the model expects of it here; empty where networks run on a GPU, whose speed is not
    known, and without those that the model has nothing to say of.

    Args:
        chain: The configuration.
        jobs: Those to ask about, whose images are known.
        history: Knows the images.
    """
    import torch

    if torch.cuda.is_available():
        return {}
    model = Model(chain, on("cpu"), history, lambda text: print(f"{text} ...", file=sys.stderr, flush=True))
    costs = [model.cost(job) for job in jobs]
    return {
        one.folder: Forecast(
            STARTUP + 3600 * one.hours, None if one.peak is None else one.peak * GIB, basis=MODELLED_HERE
        )
        for one in costs
        if one.hours is not None
    }
