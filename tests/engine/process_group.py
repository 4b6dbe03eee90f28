"""Several processes at once, started quickly: torch is imported once, and every process is a fork of that one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

STAGES = Path(__file__).resolve().parents[2] / "stages"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch.distributed", "wsss.training.train", "wsss.stages.saliency", "wsss.compute.batch_norm"]
)
SECONDS = 120
"""Within which everything has to end."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _member(function: Callable, rank: int, size: int, port: int, args: tuple, sender: Any) -> None:
    import torch
    import torch.distributed as dist

    multiprocessing.set_start_method("fork", force=True)  # for loaders, as usual
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    try:
        sender.send((True, function(rank, *args)))
    except BaseException as error:
        sender.send((False, f"process {rank}: {type(error).__name__}: {error}"))
        raise
    dist.destroy_process_group()


def together(size: int, function: Callable, *args: Any) -> list[Any]:
    """What ``function(rank, *args)`` of a module returns in each of ``size`` processes that have joined."""
    port, members = free_port(), []
    for rank in range(size):
        receiver, sender = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_member, args=(function, rank, size, port, args, sender))
        process.start()
        sender.close()
        members.append((process, receiver))
    try:
        found = [receiver.recv() if receiver.poll(SECONDS) else (False, "a process hangs") for _, receiver in members]
    finally:
        for process, _ in members:
            process.kill()
            process.join()
    assert all(good for good, _ in found), found
    return [value for _, value in found]


def _program(stage: str, argv: list[str], variables: dict[str, str], log: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # for loaders, as usual
    os.setsid()  # a group of its own, of which all are signalled at once
    os.environ.update(variables)
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    path = STAGES / f"{stage}.py"
    sys.argv = [str(path), *argv]
    sys.path.insert(0, str(STAGES))
    runpy.run_path(str(path), run_name="__main__")


class World:
    """Copies of a stage program as ``srun`` starts them on one machine.

    Args:
        stage: Name of the program.
        argv: Its arguments, for each copy.
        folder: Where each copy's messages go.
    """

    def __init__(self, stage: str, argv: Sequence[list[str]], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.logs = [folder / f"{rank}.log" for rank in range(len(argv))]
        common = {
            "SLURM_JOB_ID": "12",
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": str(len(argv)),
            "SLURM_STEP_NUM_NODES": "1",
            "SLURM_STEP_TASKS_PER_NODE": str(len(argv)),
            "SLURM_NODEID": "0",
            "MASTER_PORT": str(free_port()),
        }
        self.processes = []
        for rank, arguments in enumerate(argv):
            variables = {**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
            args = (stage, arguments, variables, str(self.logs[rank]))
            self.processes.append(CONTEXT.Process(target=_program, args=args))
            self.processes[-1].start()

    def codes(self) -> list[int | None]:
        """Exit codes, -N for signal N; None for one that hangs."""
        deadline = time.monotonic() + SECONDS
        for process in self.processes:
            process.join(max(0.1, deadline - time.monotonic()))
        return [process.exitcode for process in self.processes]

    def said(self) -> list[str]:
        return [log.read_text() if log.exists() else "" for log in self.logs]

    def kill(self, rank: int, number: signal.Signals) -> None:
        os.kill(self.processes[rank].pid, number)


@contextlib.contextmanager
def world(stage: str, argv: Sequence[list[str]], folder: Path) -> Iterator[World]:
    """A running ``World``; nothing of it is left behind."""
    it = World(stage, argv, folder)
    try:
        yield it
    finally:
        for process in it.processes:
            process.kill()
            process.join()


def wait_for(happened: Callable[[], bool]) -> None:
    """Look every few milliseconds until something has happened."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)
