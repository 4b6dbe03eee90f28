"""Several processes as one run: how they find each other, and how they end together.

``torchrun`` and ``srun`` start the same stage program N times and tell each copy its number. The copies meet at the
first one's machine. They end together too: with one exit code, and with the message of the one that was first to fail,
also where the others wait for it on a GPU and hear nothing else. One that is killed takes the others with it.

Nothing here has a say in what is computed. torch is imported only where there are several processes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wsss.errors import WsssError


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees it.

    Attributes:
        rank: Its number, from 0; the first one writes.
        size: How many there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
        address: Where the first one is found.
        port: Likewise.
        hosted: The launcher keeps the meeting place, not the first process.
        attempt: How often the launcher has started it again.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    hosted: bool = False
    attempt: int = 0

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size}"


def world_of(environment: Mapping[str, str]) -> World:
    """What ``torchrun`` or ``srun`` says in the environment; a team of one where neither started several.

    Only the variables of a SLURM *step* count: those of an allocation of several tasks (``SLURM_NTASKS``) stand in the
    environment of a batch script too, which is one process. MASTER_ADDR and MASTER_PORT, where set, go before the
    step's first host and a port that follows from the job's number.

    Raises:
        WsssError: Variables that are no numbers, or a list of hosts that cannot be read.
    """
    get = environment.get
    try:
        if int(get("WORLD_SIZE") or 1) > 1 and {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
            return World(
                rank=int(environment["RANK"]),
                size=int(environment["WORLD_SIZE"]),
                local_rank=int(get("LOCAL_RANK") or 0),
                local_size=int(get("LOCAL_WORLD_SIZE") or 1),
                address=environment["MASTER_ADDR"],
                port=int(environment["MASTER_PORT"]),
                hosted=get("TORCHELASTIC_USE_AGENT_STORE") == "True",
                attempt=int(get("TORCHELASTIC_RESTART_COUNT") or 0),
            )
        size = int(get("SLURM_STEP_NUM_TASKS") or 1)
        if size == 1 or "SLURM_PROCID" not in environment:
            return World()
        job, step = int(get("SLURM_JOB_ID") or 0), int(get("SLURM_STEP_ID") or 0)
        one_host = int(get("SLURM_STEP_NUM_NODES") or 1) == 1
        return World(
            rank=int(environment["SLURM_PROCID"]),
            size=size,
            local_rank=int(get("SLURM_LOCALID") or 0),
            local_size=_tasks(get("SLURM_STEP_TASKS_PER_NODE") or "1", int(get("SLURM_NODEID") or 0)),
            address=get("MASTER_ADDR") or ("127.0.0.1" if one_host else first_host(get("SLURM_STEP_NODELIST") or "")),
            port=int(get("MASTER_PORT") or 20000 + (job + 101 * step) % 12000),  # below the ports lent to clients
        )
    except (ValueError, IndexError) as error:
        raise WsssError(
            f"the variables of torchrun (RANK, WORLD_SIZE, ...) or srun (SLURM_PROCID, SLURM_STEP_NUM_TASKS, ...) "
            f"cannot be read: {error}; unset them, or start the stage by one of the two"
        ) from error


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts: ``gpu[003-005,9],login`` -> ``gpu003``. Raises ``ValueError`` if empty."""
    found = re.match(r"(?:[^,\[]|\[[^\]]*\])+", hosts)
    if found is None:
        raise ValueError(f"list of hosts {hosts!r}")
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", found.group())


def _tasks(text: str, node: int) -> int:
    """Tasks on a node, from ``4(x2),3``: 4 on the first two, 3 on the last."""
    counts: list[int] = []
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts[node]
