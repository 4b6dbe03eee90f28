"""Which GPU a process takes on a machine where nobody hands them out. No GPU is needed: their number is pretended."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.process_group import CONTEXT
from wsss.compute.devices import choose_device, device_type
from wsss.errors import WsssError
from wsss.system.gpus import claim_gpu
from wsss.system.launch import World

ALONE = World()


def _claim(count: int, world: World, folder: Path, pipe: Any) -> None:
    try:
        pipe.send(claim_gpu(count, world, folder))
    except WsssError as error:
        pipe.send(str(error))
    pipe.recv()  # holds it until it is told to go


class Job:
    """A process that holds a GPU."""

    def __init__(self, count: int, world: World, folder: Path) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_claim, args=(count, world, folder, theirs))
        self.process.start()
        theirs.close()

    @property
    def gpu(self) -> int | str:
        assert self.pipe.poll(60)
        return self.pipe.recv()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)
        self.process.join()


@pytest.fixture
def start(tmp_path):
    jobs = []

    def begin(count: int = 2, world: World = ALONE) -> Job:
        jobs.append(Job(count, world, tmp_path / "locks"))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.process.kill()
        job.process.join()


def test_jobs_take_different_gpus_and_then_share_the_least_used(start, tmp_path):
    first, second, third, fourth = (start() for _ in range(4))  # at the same time
    assert sorted(job.gpu for job in (first, second, third, fourth)) == [0, 0, 1, 1]
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o700


def test_a_killed_job_leaves_its_gpu_free(start):
    first, second = start(), None
    assert first.gpu == 0
    second = start()
    assert second.gpu == 1
    first.end(signal.SIGKILL)
    assert start().gpu == 0


def test_no_two_processes_of_a_training_take_the_same_gpu(start):
    """Even where fewer jobs use the one than the other."""
    others = [start() for _ in range(4)]
    for job in others:
        if job.gpu == 0:
            job.end()
    world = [start(2, World(rank, 2, rank, 2, port=1234)) for rank in range(2)]
    assert sorted(job.gpu for job in world) == [0, 1]
    assert start().gpu == 0, "the one that fewer use"


def test_more_processes_than_gpus_are_refused(start):
    assert "3 processes on this machine want a GPU each, and it has 2" in start(2, World(0, 3, 0, 3, port=1)).gpu


def test_the_only_gpu_needs_no_lock(tmp_path):
    assert claim_gpu(1, ALONE, tmp_path / "locks") == 0
    assert not any(tmp_path.iterdir())


def test_a_process_keeps_its_gpu(tmp_path):
    """Asking twice takes no second one."""
    assert claim_gpu(2, ALONE, tmp_path) == claim_gpu(2, ALONE, tmp_path)


@pytest.mark.parametrize("given, rank, gpu", [("3,5", "0", 0), ("3,5", "1", 1), ("7", "1", 0)])
def test_what_slurm_or_the_user_gives_goes_first(monkeypatch, tmp_path, given, rank, gpu):
    """``7``: each task was given a GPU of its own, and sees no other."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(given.split(",")))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    variables = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}
    for key, value in {**variables, "MASTER_ADDR": "a", "MASTER_PORT": "1", "CUDA_VISIBLE_DEVICES": given}.items():
        monkeypatch.setenv(key, value)
    assert choose_device("auto") == torch.device("cuda", gpu) == chosen[0]
    assert not any(tmp_path.iterdir()), "no lock is taken"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if len(given) > 1:
        assert choose_device("cuda").index in (0, 1) and any(tmp_path.iterdir())
    assert choose_device("cpu") == torch.device("cpu")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WsssError, match="--device cuda: torch sees no GPU here"):
        device_type("cuda")


def test_too_many_for_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss.system.gpus.MOST", 0)
    with pytest.raises(WsssError, match="0 processes use each of the 2 GPUs; wait for some of them"):
        claim_gpu(2, World(), tmp_path)


def test_no_folder_for_the_locks(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WsssError, match=r"file: the locks of GPUs cannot be written \(File exists\); set TMPDIR"):
        claim_gpu(2, World(), tmp_path / "file")
