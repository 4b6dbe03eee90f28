"""How the processes of a training find each other, and how they end: together, whatever happens to one of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.process_group import CONTEXT, SECONDS, STAGES, World, free_port, wait_for, world
from wsss.errors import WsssError
from wsss.settings import VanillaSettings
from wsss.store.manifest import read_manifest
from wsss.system import rendezvous
from wsss.system.launch import World as Place
from wsss.system.launch import first_host, world_of
from wsss.system.rendezvous import joined

SETTINGS = VanillaSettings(
    **{"backbone": "test_resnet", "pretrained": False, "crop": 64, "long_side": (56, 72), "batch_size": 4},
    **{"epochs": 6, "lr": 0.001, "precision": "fp32", "accumulate": 2},
)
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "gpu1"}
SRUN = {
    **{"SLURM_JOB_ID": "12005", "SLURM_STEP_ID": "2", "SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "4"},
    **{"SLURM_LOCALID": "1", "SLURM_NODEID": "2", "SLURM_STEP_NUM_NODES": "3"},
    **{"SLURM_STEP_TASKS_PER_NODE": "2(x2),1,1", "SLURM_STEP_NODELIST": "gpu[07-09]"},
}


def test_what_torchrun_says():
    it = world_of({**TORCHRUN, "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert (it.rank, it.size, it.local_rank, it.local_size) == (3, 4, 1, 2)
    assert (it.address, it.port, it.hosted) == ("gpu1", 29500, True)
    both = world_of({**SRUN, **TORCHRUN, "MASTER_PORT": "29500"})  # torchrun within a job step
    assert (both.rank, both.size) == (3, 4)


def test_what_srun_says():
    it = world_of(SRUN)
    assert (it.rank, it.size, it.local_rank, it.local_size) == (4, 6, 1, 1)
    assert (it.address, it.hosted) == ("gpu07", False)
    assert world_of({**SRUN, "SLURM_NODEID": "1"}).local_size == 2
    ports = {world_of({**SRUN, "SLURM_JOB_ID": str(job)}).port for job in range(1000)}
    assert len(ports) == 1000 and min(ports) >= 1024 and max(ports) < 32768
    assert world_of({**SRUN, "SLURM_STEP_ID": "3"}).port != it.port
    own = world_of({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4321"})
    assert (own.address, own.port) == ("10.0.0.1", 4321)
    assert world_of({**SRUN, "SLURM_STEP_NUM_NODES": "1"}).address == "127.0.0.1"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script of four tasks: one process
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "8"},  # somebody else's
    ],
)
def test_one_process_is_one_process(variables):
    assert world_of(variables).size == 1


def test_variables_that_make_no_sense_are_refused():
    with pytest.raises(WsssError, match="SLURM_PROCID.*cannot be read: .*'x'"):
        world_of({**SRUN, "SLURM_PROCID": "x"})
    with pytest.raises(WsssError, match="list of hosts ''"):
        world_of({**SRUN, "SLURM_STEP_NODELIST": ""})


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("gpu1", "gpu1"),
        ("gpu[003-005,9],login", "gpu003"),
        ("a1,b[2-3]", "a1"),
        ("rack[1-2]n[04,06]", "rack1n04"),
        ("n[7,9].site", "n7.site"),
    ],
)
def test_the_first_of_slurms_hosts(hosts, first):
    assert first_host(hosts) == first


def arguments(index: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--index", str(index), "--settings", SETTINGS.canonical(), "--out", str(out)),
        *("--threads", "2", "--device", "cpu", *more),
    ]


@pytest.fixture(scope="module")
def undisturbed(tiny_index, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    with world("classifier", [arguments(tiny_index, folder / "out")] * 2, folder / "logs") as two:
        assert two.codes() == [0, 0], two.said()
        first, second = two.said()
    assert "by 2 processes" in first and second == ""
    manifest = read_manifest(folder / "out")
    assert manifest["processes"] == 2 and manifest["threads"] == 1
    assert manifest["training_seconds"] < manifest["wall_seconds"]
    return folder / "out"


def same(out: Path, other: Path) -> bool:
    names = ("model.safetensors", "metrics.jsonl", "predictions.csv")
    return all((out / name).read_bytes() == (other / name).read_bytes() for name in names)


def records(out: Path) -> int:
    return sum(file.read_text().count("\n") for file in out.glob("state/*/metrics.jsonl"))


def disturb(index: Path, out: Path, rank: int, number: signal.Signals, logs: Path) -> World:
    """Start two processes, and send one of them a signal once they have got on."""
    seen = records(out)
    with world("classifier", [arguments(index, out)] * 2, logs) as two:
        wait_for(lambda: records(out) > seen or None not in (p.exitcode for p in two.processes))
        two.kill(rank, number)
        two.ended = two.codes()
    assert not (out / "manifest.json").exists()
    return two


def test_a_signal_to_one_stops_all_and_a_killed_one_takes_all_with_it(tiny_index, undisturbed, tmp_path):
    """Afterwards the same command ends with the same bits as if nothing had happened."""
    out = tmp_path / "out"
    stopped = disturb(tiny_index, out, 1, signal.SIGTERM, tmp_path / "logs0")
    assert stopped.ended == [75, 75]
    said = "".join(stopped.said())
    assert said.count("the same command resumes") == 1 and "Traceback" not in said
    assert len(list(out.glob("state/*/checkpoint.pt"))) == 1

    for rank in (1, 0):  # the first one keeps the meeting place, too
        killed = disturb(tiny_index, out, rank, signal.SIGKILL, tmp_path / f"logs{rank + 1}")
        assert killed.ended[rank] == -signal.SIGKILL and killed.ended[1 - rank] == 75, killed.said()
        left = killed.said()[1 - rank]
        assert "the loss of another process of this run" in left and "Traceback" not in left

    with world("classifier", [arguments(tiny_index, out)] * 2, tmp_path / "logs") as two:
        assert two.codes() == [0, 0], two.said()
        assert "resuming at step" in two.said()[0]
    assert same(out, undisturbed)
    spent = read_manifest(out)
    assert spent["training_seconds"] > 0


def test_one_that_fails_speaks_for_all(tiny_index, tmp_path):
    """At the start, while the others wait for it, and later, while they train."""
    wrong = [arguments(tiny_index, tmp_path / "a"), arguments(tmp_path / "nowhere", tmp_path / "a")]
    with world("classifier", wrong, tmp_path / "a-logs") as two:
        assert two.codes() == [2, 2], two.said()
        first, second = two.said()
    assert f"error: {tmp_path / 'nowhere'}: this artefact does not exist" in second
    assert "error" not in first and "Traceback" not in first

    index = tmp_path / "index"
    shutil.copytree(tiny_index, index)
    table = (index / "index.csv").read_text()
    (index / "index.csv").write_text(table.replace(str(tiny_index), str(index)))
    broken = next((index / "images").glob("p5.png"))
    broken.write_bytes(broken.read_bytes()[:100])
    with world("classifier", [arguments(index, tmp_path / "b")] * 2, tmp_path / "b-logs") as two:
        assert two.codes() == [2, 2], two.said()
        said = two.said()
    assert sorted("p5.png" in text for text in said) == [False, True]
    assert sum(text.count("error:") for text in said) == 1


def test_a_team_respects_the_lock(tiny_index, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as held:
        held.write("process 1 on here")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with world("classifier", [arguments(tiny_index, tmp_path / "out")] * 2, tmp_path / "logs") as two:
            assert two.codes() == [2, 2], two.said()
            first, second = two.said()
    assert "another copy of this stage" in first and second == ""


def test_a_stage_that_is_not_made_for_it_names_the_cure(tiny_index, undisturbed, tmp_path):
    argv = ["--index", str(tiny_index), "--classifier", str(undisturbed), "--out", str(tmp_path / "out")]
    with world("cams", [argv] * 2, tmp_path / "logs") as two:
        assert two.codes() == [2, 2], two.said()
        said = two.said()[0]
    assert "cams.py: error: this stage runs as one process, but 2 were started together" in said
    assert "--shard I/N" in said and said.count("\n") == 1


@pytest.mark.slow
def test_under_torchrun(tiny_index, undisturbed, tmp_path):
    """The real one: the same bits, and where one process is killed, all end and the same command resumes."""
    out = tmp_path / "out"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--nnodes", "1"]
    torchrun += ["--master-port", str(free_port()), str(STAGES / "classifier.py"), *arguments(tiny_index, out)]
    process = subprocess.Popen(torchrun, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: records(out) > 0 or process.poll() is not None)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0 and not (out / "manifest.json").exists()
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert same(out, undisturbed)


def wait_without_a_word(rank: int, port: int, stops: int | None) -> None:
    """As in a step on GPUs: no connection breaks and no exception reaches the place where a process waits."""
    rendezvous.SILENCE, rendezvous.GRACE = 3, 0.5
    with joined(Place(rank, 3, rank, 3, port=port), lambda: "gloo"):
        if rank == stops:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60 if stops is not None else 6)


@pytest.mark.parametrize("stops", [1, 2, None])
def test_a_process_that_shows_no_sign_of_life_ends_all(stops):
    """The one before it notices, the others hear of it; with signs of life all go on for as long as they like."""
    port = free_port()
    processes = [CONTEXT.Process(target=wait_without_a_word, args=(rank, port, stops)) for rank in range(3)]
    try:
        for process in processes:
            process.start()
        for rank, process in enumerate(processes):
            if rank != stops:
                process.join(SECONDS)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert codes == [None if rank == stops else 0 if stops is None else 75 for rank in range(3)]


@pytest.mark.parametrize(
    ("rank", "said"),
    [(0, "only 1 of 2 processes came to 127.0.0.1, port "), (1, "cannot meet the others at 127.0.0.1")],
)
def test_processes_that_do_not_meet(rank, said, monkeypatch):
    monkeypatch.setattr("wsss.system.rendezvous.MEETING", 1.0)
    with pytest.raises(WsssError, match=said), joined(Place(rank, 2, port=free_port()), lambda: "gloo"):
        pass
