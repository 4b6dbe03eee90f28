"""Which GPU a process takes on a machine where nobody hands them out. No GPU is needed: their number is pretended."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.engine.process_group import CONTEXT
from wsss.compute import devices
from wsss.compute.devices import check_kernels, choose_device, chosen_gpu, device_type
from wsss.errors import WsssError
from wsss.system.gpus import claim_gpu, lock_folder, promised
from wsss.system.launch import World
from wsss.workflow.resources import gpu_job_cores

ALONE = World()


def named(count: int) -> tuple[str, ...]:
    return tuple(f"GPU-{number}" for number in range(count))


def _claim(names: tuple[str, ...], world: World, folder: Path, pipe: Any) -> None:
    try:
        pipe.send(claim_gpu(names, world, folder))
    except WsssError as error:
        pipe.send(str(error))
    pipe.recv()  # holds it until it is told to go


class Job:
    """A process that holds a GPU."""

    def __init__(self, names: tuple[str, ...], world: World, folder: Path) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_claim, args=(names, world, folder, theirs))
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

    def begin(seen: int | tuple[str, ...] = 2, world: World = ALONE) -> Job:
        jobs.append(Job(named(seen) if isinstance(seen, int) else seen, world, tmp_path / "locks"))
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


def test_jobs_that_see_other_gpus_know_of_each_other(start):
    """A GPU has another number in each view. The one that a job has alone is not taken from it."""
    assert start(("GPU-2", "GPU-3")).gpu == 0
    assert start(("GPU-2", "GPU-3")).gpu == 1, "not the first again"
    assert start(("GPU-0",)).gpu == 0
    assert start(("GPU-0", "GPU-1")).gpu == 1


def test_processes_of_a_training_that_see_one_gpu_each(start):
    """As SLURM binds them. Where both see the same one, the second is refused: NCCL would fail later."""
    world = [start((f"GPU-{rank}",), World(rank, 2, rank, 2, port=7)) for rank in range(2)]
    assert [job.gpu for job in world] == [0, 0]
    same = [start(("GPU-5",), World(rank, 2, rank, 2, port=8)).gpu for rank in range(2)]
    assert same[0] == 0 and "2 processes on this machine want a GPU each, and it has 1" in same[1]


def test_the_only_gpu_is_taken_where_locks_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert claim_gpu(named(1), ALONE, tmp_path / "file") == 0


def test_a_process_keeps_its_gpu(tmp_path):
    """Asking twice takes no second one."""
    assert claim_gpu(named(2), ALONE, tmp_path) == claim_gpu(named(2), ALONE, tmp_path)


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """``pretend(*names)``: torch sees GPUs of these names, which have kernels."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    claim_gpu.cache_clear()
    took = []

    def see(*names: str) -> list[torch.device]:
        monkeypatch.setattr(devices, "_chosen", None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=names[n]))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_90"])
        monkeypatch.setattr(torch.cuda, "set_device", took.append)
        return took

    yield see
    claim_gpu.cache_clear()


def test_what_slurm_or_the_user_gives_is_shared_out_too(pretend, monkeypatch):
    """Two jobs under CUDA_VISIBLE_DEVICES=2,3 are on two GPUs, and each says so in its record."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    took = pretend("a", "b")
    assert chosen_gpu() is None
    assert choose_device("auto") == torch.device("cuda", 0) == chosen_gpu() == took[0]
    claim_gpu.cache_clear()  # as another process
    pretend("a", "b")
    assert choose_device("auto") == torch.device("cuda", 1) == choose_device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


def test_slices_of_a_gpu_are_shared_out_by_name(pretend, monkeypatch):
    """CUDA shows a process the first slice only."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    pretend("MIG-a")
    assert choose_device("auto") == torch.device("cuda", 0) and os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-a"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    claim_gpu.cache_clear()
    pretend("MIG-a")
    assert choose_device("auto") == torch.device("cuda", 0) and os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-b"


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WsssError, match="--device cuda: torch sees no GPU here"):
        device_type("cuda")


@pytest.mark.parametrize("variable", ["SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES"])
def test_a_gpu_job_without_a_usable_gpu_fails(variable, monkeypatch):
    """In silence it would take days on the CPU. The message has torch's own reason."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "GPU_DEVICE_ORDINAL", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", lambda: (_ for _ in ()).throw(RuntimeError("The driver is too old.\nMore")))
    monkeypatch.setenv(variable, "0")
    said = rf"auto: there should be a GPU \({variable}=0\): torch sees no GPU here \(The driver is too old\); use"
    with pytest.raises(WsssError, match=said):
        choose_device("auto")
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto").type == "cpu", "the user says so"


def test_who_may_expect_a_gpu(tmp_path):
    assert promised({}, tmp_path) is None
    for name in ("nvidiactl", "nvidia1", "nvidia0", "nvidia-caps"):
        (tmp_path / name).touch()
    assert promised({}, tmp_path) == f"{tmp_path / 'nvidia0'} is there"
    assert promised({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) is None
    assert promised({"CUDA_VISIBLE_DEVICES": "-1", "SLURM_JOB_GPUS": "0"}, tmp_path) is None
    assert promised({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "0", "WSSS_DEVICE": "cpu"}, tmp_path) is None


@pytest.mark.parametrize(
    ("capability", "built", "said"),
    [
        ((9, 0), ["sm_75", "sm_80", "sm_90"], None),
        ((8, 9), ["sm_75", "sm_80"], None),
        ((12, 1), ["sm_80", "compute_90"], None),
        (
            (7, 0),
            ["sm_75", "sm_80"],
            "capability 7.0, and torch .* has kernels for 7.5, 8.0; install the set for older GPUs",
        ),
        ((12, 0), ["sm_80", "sm_90"], "capability 12.0, .* kernels for 8.0, 9.0; install a newer torch"),
    ],
)
def test_a_gpu_that_torch_has_no_kernels_for_is_refused(capability, built, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "V100")
    if said is None:
        check_kernels(capability, built, torch.device("cuda", 0))
        return
    with pytest.raises(WsssError, match=f"V100 has compute {said}"):
        check_kernels(capability, built, torch.device("cuda", 0))


@pytest.mark.parametrize(("cores", "gpus", "given", "expected"), [(64, 1, "0", 8), (8, 4, "0", 2), (64, 1, "", 64)])
def test_a_gpu_job_leaves_cores_for_the_others(cores, gpus, given, expected):
    assert gpu_job_cores(cores, gpus, {"CUDA_VISIBLE_DEVICES": given}) == expected


def test_too_many_for_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsss.system.gpus.MOST", 0)
    with pytest.raises(WsssError, match="0 processes use each of the 2 GPUs; wait for some of them"):
        claim_gpu(named(2), World(), tmp_path)


def test_no_folder_for_the_locks(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WsssError, match=r"file: the locks of GPUs cannot be written \(File exists\); set TMPDIR"):
        claim_gpu(named(2), World(), tmp_path / "file")


@pytest.fixture
def common():
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="wsss-locks-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _claim_as_nobody(folder: Path, pipe: Any) -> None:
    os.setuid(65534)
    os.umask(0o077)
    _claim(named(2), ALONE, folder, pipe)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may work as another user")
@pytest.mark.parametrize("first", ["root", "nobody"])
def test_two_users_take_two_gpus(common, first):
    """Whoever comes first makes folder and files; those of the other user are locked all the same."""
    old = os.umask(0o077)
    try:
        folder = lock_folder(common)
    finally:
        os.umask(old)
    targets = {"root": (_claim, (named(2), ALONE, folder)), "nobody": (_claim_as_nobody, (folder,))}
    jobs, pipes, found = [], [], []
    for user in (first, *({*targets} - {first})):
        target, args = targets[user]
        ours, theirs = CONTEXT.Pipe()
        pipes.append(ours)  # a job ends when nobody holds its pipe
        jobs.append(CONTEXT.Process(target=target, args=(*args, theirs)))
        jobs[-1].start()
        assert ours.poll(60)
        found.append(ours.recv())
    for job in jobs:
        job.kill()
        job.join()
    assert found == [0, 1]


def test_the_folder_of_locks_is_for_all(tmp_path, caplog):
    shared = lock_folder(tmp_path)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777 and lock_folder(tmp_path) == shared and not caplog.text
    for other in (shared.rmdir, lambda: shared.symlink_to(tmp_path)), (shared.unlink, lambda: shared.mkdir(0o755)):
        for step in other:
            step()
        assert lock_folder(tmp_path) == tmp_path / f"wsss-gpus-{os.getuid()}"
        assert "other users' jobs hold are not seen" in caplog.text
