"""How a scheduler is spoken to: what a job asks for, which jobs there are, how one is cancelled.

The words for PBS Professional, Grid Engine and LSF follow their manuals; names of queues, parallel environments and of
GPUs differ from site to site.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Needs(NamedTuple):
    """What a job asks for, on one node."""

    name: str
    cores: int
    gpus: int
    memory: int
    """MB."""
    minutes: int
    log: str
    """A folder for what the job says beside its own log; ends with a slash."""


def pbs(job: Needs) -> list[str]:  # SITE: queue (-q), account (-A), what a GPU is called
    """PBS Professional and OpenPBS."""
    chunk = f"select=1:ncpus={job.cores}:mem={job.memory}mb" + (f":ngpus={job.gpus}" if job.gpus else "")
    return ["qsub", "-N", job.name, "-l", chunk, "-l", f"walltime={job.minutes}:00", "-j", "oe", "-o", job.log]


def sge(
    job: Needs,
) -> list[str]:  # SITE: parallel environment, names of memory and of GPUs
    """Grid Engine and its descendants, where memory is for each core."""
    each = ["-l", f"h_vmem={-(-job.memory // job.cores)}M", *(["-l", f"gpu={job.gpus}"] if job.gpus else [])]
    wanted = ["-pe", "smp", str(job.cores), *each, "-l", f"h_rt={60 * job.minutes}"]
    return ["qsub", "-terse", "-cwd", "-N", job.name, *wanted, "-j", "y", "-o", job.log]


def lsf(job: Needs) -> list[str]:  # SITE: queue (-q), project (-P), whether memory is for each core, and its unit
    """IBM Spectrum LSF."""
    where = f"span[hosts=1] rusage[mem={job.memory}]"
    gpu = ["-gpu", f"num={job.gpus}"] if job.gpus else []
    return ["bsub", "-J", job.name, "-n", str(job.cores), "-R", where, *gpu, "-W", str(job.minutes), "-o", job.log]


@dataclass(frozen=True)
class Scheduler:
    """A scheduler.

    Attributes:
        submit: The command that takes a script as its last word and prints the job's number.
        queue: The command that lists a user's jobs that have not ended, one a line, its number first.
        none: What ``queue`` complains of where there is none.
        cancel: The command that takes a job's number.
    """

    submit: Callable[[Needs], list[str]]
    queue: list[str]
    none: str
    cancel: str


USER = getpass.getuser()
SCHEDULERS = {
    "pbs": Scheduler(pbs, ["qselect", "-u", USER], "", "qdel"),
    "sge": Scheduler(sge, ["qstat", "-u", USER], "", "qdel"),
    "lsf": Scheduler(lsf, ["bjobs", "-u", USER, "-noheader", "-o", "jobid"], "No unfinished job found", "bkill"),
}
HERE = SCHEDULERS[os.environ.get("WSSS_SCHEDULER", "pbs")]  # SITE: pbs, sge or lsf


def waiting_or_running(job: str, scheduler: Scheduler = HERE) -> bool:
    """Whether the scheduler still has a job; so, too, where it cannot be asked just now."""
    try:
        done = subprocess.run(scheduler.queue, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode and not (scheduler.none and scheduler.none in done.stderr):
        return True
    return job in re.findall(r"^\s*(\d+)", done.stdout, re.M)
