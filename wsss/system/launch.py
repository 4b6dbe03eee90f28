"""Several processes as one run: how they find each other, and how they end together.

``torchrun`` and ``srun`` start the same stage program N times and tell each copy its number. The copies meet at the
first one's machine. They end together too: with one exit code, and with the message of the one that was first to fail,
also where the others wait for it on a GPU and hear nothing else. One that is killed takes the others with it.

Nothing here has a say in what is computed. torch is imported only where there are several processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wsss.errors import WsssError

MEETING = 300.0
"""Seconds that processes wait for each other at the start: nodes may import torch from a slow disk."""
PATIENCE = 900.0
"""Seconds that a process waits for the others' numbers in a step: a checkpoint may be written meanwhile, or images come
from a slow disk."""
GRACE = 5.0
"""Seconds that a process has to end by itself when another one has failed."""
LEAVING = 10.0
"""Seconds to wait until all have heard how the run ended."""
FAILED, TRY_AGAIN = 1, 75
"""Exit codes: an error that nobody foresaw; another process was lost. Other errors have their own ``exit_code``."""


class Lost(Exception):
    """Another process of the run is gone: killed, or its machine or network failed."""

    def __str__(self) -> str:
        return "the loss of another process of this run (killed, out of memory, or its machine or network failed)"


@dataclass(frozen=True)
class Team:
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


def team_of(environment: Mapping[str, str]) -> Team:
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
            return Team(
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
            return Team()
        job, step = int(get("SLURM_JOB_ID") or 0), int(get("SLURM_STEP_ID") or 0)
        one_host = int(get("SLURM_STEP_NUM_NODES") or 1) == 1
        return Team(
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


@contextlib.contextmanager
def joined(team: Team, device: str) -> Iterator[None]:
    """Bring the processes of a team together for a block, and end them together.

    On leaving: all wait until the first process has left the block, which is when the artefact is whole. Where some
    fail, the first to do so raises its own error here; the others exit with its code, without a word.

    Args:
        team: With one process nothing happens.
        device: As for ``wsss.compute.devices.choose_device``. The processes speak NCCL on GPUs, gloo on CPUs.

    Raises:
        WsssError: The processes do not find each other.
        Lost: Another one is gone.
    """
    if team.size == 1:
        yield
        return
    import torch.distributed as dist

    from wsss.compute.devices import choose_device

    meeting = _Meeting(team)
    watch = _Watch(team, meeting)
    own: BaseException | None = None
    try:
        kind = "nccl" if choose_device(device).type == "cuda" else "gloo"
        store = meeting.prefixed("group", meeting.client())
        patience = timedelta(seconds=PATIENCE)
        dist.init_process_group(kind, store=store, rank=team.rank, world_size=team.size, timeout=patience)
        yield
        if team.rank:
            meeting.wait()
    except BaseException as error:  # exits and Ctrl-C too: the others must hear of them
        own = error
    finally:
        watch.stop()
    first, code = meeting.end(own)
    if own is None and code == 0:
        dist.destroy_process_group()
        return
    if own is not None and first == team.rank:
        raise own
    sys.exit(code)


class _Meeting:
    """Where the processes of a team tell each other how the run ended: a key-value store at the first one.

    Attributes:
        name: Key of the end: ``[rank, exit code]`` of the process that decided it.
    """

    name = "end"

    def __init__(self, team: Team) -> None:
        # torch documents both there
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        self.team, self.tcp, self.prefixed = team, TCPStore, PrefixStore
        try:
            self.server = None
            if team.rank == 0 and not team.hosted:
                self.server = TCPStore(team.address, team.port, is_master=True, wait_for_workers=False)
            self.store = self.client()
            self.store.add("met", 1)
            deadline = time.monotonic() + MEETING
            while self.store.add("met", 0) < team.size:
                if time.monotonic() > deadline:
                    raise WsssError(
                        f"only {self.store.add('met', 0)} of {team.size} processes came to {team.address}, port "
                        f"{team.port}, within {MEETING:.0f} s; see the messages of the others"
                    )
                time.sleep(0.05)
        except RuntimeError as error:
            what = str(error).strip().splitlines()[0]
            raise WsssError(
                f"{team} cannot meet the others at {team.address}, port {team.port} ({what}); if another program has "
                "that port, or the name is not known on this machine, set MASTER_PORT or MASTER_ADDR"
            ) from error

    def client(self) -> Any:
        """A connection of one's own: one that waits would hold up all who share it."""
        team, limit = self.team, timedelta(seconds=MEETING)
        store = self.tcp(team.address, team.port, is_master=False, wait_for_workers=False, timeout=limit)
        return self.prefixed(f"wsss/{team.attempt}", store)

    def ended(self, store: Any) -> tuple[int, int] | None:
        """Who decided how the run ends, and the exit code; None: it goes on. Raises ``RuntimeError`` if unreachable."""
        return tuple(json.loads(store.get(self.name))) if store.check([self.name]) else None

    def wait(self) -> None:
        """Wait until the run has ended. However long the first process writes, its death is noticed."""
        try:
            while self.ended(self.store) is None:
                time.sleep(0.1)
        except RuntimeError as error:
            raise Lost from error

    def end(self, error: BaseException | None) -> tuple[int, int]:
        """Say how this process ended, unless another one has said it already; wait until all know.

        Raises:
            Lost: This process failed because another one is gone.
        """
        # torchrun stops those that are left as soon as one has gone; they are as good as gone
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        try:
            lost = error is not None and _is_of_the_network(error)
            if lost and self.ended(self.store) is None:
                time.sleep(1)  # a process that failed says so before it goes; one that was killed does not
            said = [self.team.rank, TRY_AGAIN if lost else _code(error)]
            verdict = tuple(json.loads(self.store.compare_set(self.name, "", json.dumps(said))))
            self.leave(self.store)
            deadline = time.monotonic() + (1 if lost else LEAVING)
            while self.store.add("left", 0) < self.team.size and time.monotonic() < deadline:
                time.sleep(0.05)
        except RuntimeError as gone:
            if error is None or _is_of_the_network(error):
                raise Lost from gone
            raise error from None
        if lost and verdict[0] == self.team.rank:
            raise Lost from error
        return verdict

    @staticmethod
    def leave(store: Any) -> None:
        store.add("left", 1)


class _Watch:
    """Ends a process that waits for one that has failed. On a GPU it may wait in a place where no exception reaches."""

    def __init__(self, team: Team, meeting: _Meeting) -> None:
        self.team, self.meeting, self.over = team, meeting, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        verdict: tuple[int | None, int] | None = None
        try:
            store = self.meeting.client()
            while not self.over.wait(1.0) and verdict is None:
                verdict = self.meeting.ended(store)
        except RuntimeError:
            verdict = None, TRY_AGAIN
        if verdict is None or verdict[1] == 0 or self.over.wait(GRACE):
            return
        if verdict[0] is None:
            print(f"{self.team} was stopped by {Lost()}", file=sys.stderr, flush=True)
        else:
            with contextlib.suppress(RuntimeError):
                self.meeting.leave(store)
        os._exit(verdict[1])


def _is_of_the_network(error: BaseException) -> bool:
    """Whether torch reports that another process does not answer. gloo has no type of error for it."""
    return type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError") or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))
    )


def _code(error: BaseException | None) -> int:
    """The exit code that a stage gives an error."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    return 0 if error is None else getattr(error, "exit_code", FAILED)
