"""The SLURM profile on a real SLURM of one pretended node."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}


def lacking() -> list[str]:
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment for the cluster's clients. SLURM is installed only where WSSS_TEST_SLURM=install says so."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM can only be started by root")
    if lacking() and os.environ.get("WSSS_TEST_SLURM") != "install":
        pytest.skip(f"no SLURM here ({', '.join(lacking())}); WSSS_TEST_SLURM=install installs it")
    if lacking():
        if shutil.which("apt-get") is None:
            pytest.skip("no SLURM here, and no apt-get to install it")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends " + " ".join(lacking())
        done = subprocess.run(["bash", "-c", install], env=quiet, capture_output=True, text=True, timeout=300)
        if lacking():
            pytest.skip(f"SLURM could not be installed: {done.stderr.strip()[-300:]}")
    # A short path: SLURM's sockets have a limit of about 100 characters.
    lab = Path(f"/tmp/wsss-slurm-{os.getpid()}")
    sizes = {**os.environ, "CPUS": "4"}  # two jobs at a time
    up = subprocess.run(["bash", HERE / "slurm_up.sh", lab], env=sizes, capture_output=True, text=True, timeout=200)
    if up.returncode == 3:
        pytest.skip(up.stderr.strip())
    assert up.returncode == 0, up.stderr
    try:
        # its GPUs are ordinary files: jobs are given them, and compute on the CPU
        yield {**os.environ, "SLURM_CONF": str(lab / "conf" / "slurm.conf"), "WSSS_DEVICE": "cpu"}
    finally:
        subprocess.run(["bash", HERE / "slurm_down.sh", lab], timeout=120)


CONFIG = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes, train: 8, val: 4, size: 64, classes: 3}}
classifiers:
  cancelled: {objective: vanilla}
  too-long: {objective: vanilla, sampling: balanced}
cams:
  cancelled: {classifier: cancelled, shards: 2}
  too-long: {classifier: too-long}
masks:
  voted: {source: vote, members: [a, b]}
  a: {cams: cancelled, crf: null}
  b: {cams: too-long, crf: null}
segmenters:
  network: {masks: voted, predict: {scales: [1.0]}}
evaluation: {calibration_images: 4}
defaults:
  classifiers: &small
    backbone: resnet10t
    pretrained: false
    output_stride: 8
    crop: 64
    long_side: [56, 72]
    epochs: 40
    batch_size: 4
  cams: {scales: [1.0]}
  segmenters: {<<: *small, output_stride: 16, epochs: 1}
""")
"""Each classifier trains for some seconds, so that something can happen to it meanwhile."""
HALF = "all_masks"
TELL_TIMES = ("run.json", "summary.md", "report.html")
TABLES = ("results/scenes/manifest.json", "results/scenes/report/manifest.json")
"""Manifests that have the digests of such files."""
WAIT = float(os.environ.get("WSSS_TEST_WAIT", 300))
"""Seconds after which something that should have happened counts as a failure; a busy machine may want more."""


class Folder:
    """A working folder, run on the cluster or on this machine, with two cores a job either way."""

    def __init__(self, path: Path, cluster: dict[str, str]) -> None:
        self.path, self.cluster = path, cluster
        path.mkdir(exist_ok=True)
        (path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
        base = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--configfile", "tiny.yaml"]
        self.local = [*base, "--cores", "2"]
        quick = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--max-threads", "2"]
        self.slurm = [*base, "--profile", str(ROOT / "workflow" / "profiles" / "slurm"), *quick]

    def run(self, command: list[str], *args: str) -> str:
        """What a run said, which has to end well."""
        done = subprocess.run([*command, *args], cwd=self.path, env=self.cluster, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        with (self.path / "said.txt").open("wb") as file:
            return subprocess.Popen([*self.slurm, *args], cwd=self.path, env=self.cluster, stdout=file, stderr=file)

    def log(self, classifier: str) -> str:
        path = self.path / "logs" / "scenes" / "s0" / "classifiers" / f"{classifier}.log"
        return path.read_text() if path.exists() else ""

    def trains(self, classifier: str) -> bool:
        """Whether a training has taken its first steps."""
        state = self.path / "results" / "scenes" / "s0" / "classifiers" / classifier / "state"
        return any(path.stat().st_size for path in state.glob("*/metrics.jsonl"))

    def process(self, classifier: str) -> tuple[int, str]:
        """The process of a training, and the cluster's number of its job."""
        for found in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (found / "cmdline").read_bytes().decode().split("\0")
                if str(ROOT / "stages" / "classifier.py") in words and os.readlink(found / "cwd") == str(self.path):
                    environment = (found / "environ").read_bytes().decode().split("\0")
                    if any(word.endswith(f"classifiers/{classifier}") for word in words):
                        return int(found.name), next(e[13:] for e in environment if e.startswith("SLURM_JOB_ID="))
        raise AssertionError(f"the training of {classifier} runs nowhere")

    def results(self) -> dict[str, str]:
        """The hash of every file of the results, manifests too, but for those that tell times."""
        files = {path.relative_to(self.path).as_posix(): path for path in (self.path / "results").rglob("*")}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in files.items()
            if path.is_file() and path.name not in TELL_TIMES and name not in TABLES and path.name[0] != "."
        }


def stand_still(process: int) -> None:
    """Keep a process from going on until the cluster asks it to stop: the time passes, and the training not. (It has to
    go on at once then: when its job's other processes have ended, the cluster kills it.)"""
    os.kill(process, signal.SIGSTOP)
    with contextlib.suppress(OSError):
        while not pending(process) & 1 << signal.SIGTERM - 1:
            time.sleep(0.02)
        os.kill(process, signal.SIGCONT)


def pending(process: int) -> int:
    """The signals that wait for a process, as bits. Raises ``OSError`` where it is gone."""
    return int(re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{process}/status").read_text())[1], 16)


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, f"waited {WAIT:g} s in vain: {what}"
        time.sleep(0.2)


@pytest.mark.timeout(5 * WAIT)
def test_a_cancelled_job_a_time_limit_and_a_change_of_machines(
    cluster: dict[str, str], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """One training is cancelled and one reaches its limit; the rest is made on the other machine; all files are those
    of an undisturbed run on this one."""
    there, here, back = (Folder(tmp_path / name, cluster) for name in ("there", "here", "back"))
    run = there.start(HALF)
    try:
        waiting = ["cancelled", "too-long"]
        while waiting:  # whichever begins first: a quick one would be over before the other begins
            until(lambda: any(map(there.trains, waiting)), f"{' or '.join(waiting)} begins to train")
            classifier = next(filter(there.trains, waiting))
            waiting.remove(classifier)
            process, job = there.process(classifier)
            if classifier == "cancelled":
                subprocess.run(["scancel", job], env=cluster, check=True)
            else:
                subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=1"], env=cluster, check=True)
                threading.Thread(target=stand_still, args=(process,), daemon=True).start()

        # Meanwhile, undisturbed, on this machine.
        here.run(here.local, HALF)
        shutil.copytree(here.path, back.path, dirs_exist_ok=True)
        here.run(here.local)

        until(lambda: run.poll() is not None, "the cluster ends its half")
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
            run.wait(60)
    said = (there.path / "said.txt").read_text()
    assert run.returncode == 0, said
    assert "status is: 'CANCELLED'" in said and "status is: 'TIMEOUT'" in said, said
    jobs = set(re.findall(r"SLURM jobid '?(\d+)", said))
    assert len(jobs) == 10 + 2, said  # index, 2 classifiers, 2 + 1 + 1 maps, 2 masks, vote; and two tried again
    resumed = {name: re.findall(r"resuming at step \d+", there.log(name)) for name in ("cancelled", "too-long")}
    assert all(resumed.values()), {name: there.log(name) for name in resumed}
    tell(f"{len(jobs)} jobs, 2 of them retries: one after scancel, one after its time limit")
    tell("resumes: " + ", ".join(f"{name} {' and '.join(found)}" for name, found in resumed.items()))

    # Begun there, ended here; begun here, ended there: nothing is made twice.
    rest = {"segmenter": 1, "predictions": 1, "summary": 1, "report": 1, "scores": 8}
    ended = {"here": there.run(there.local), "there": back.run(back.slurm)}
    for text in ended.values():
        table = dict(re.findall(r"^(\w+) +(\d+)$", text.split("Job stats:")[1], re.M))
        assert {rule: int(table[rule]) for rule in rest} == rest
        assert not {"index", "classifier", "cams", "masks", "vote"} & set(table), table
    for folder in (there, here, back):
        assert "Nothing to be done" in folder.run(folder.local, "-n")
    assert here.results() == there.results() == back.results()
    tell("half on SLURM and half here, the other way round, and all here: nothing made twice")
    digest = hashlib.sha256(repr(sorted(here.results().items())).encode()).hexdigest()
    tell(f"{len(here.results())} files of results with identical hashes in all three, together sha256 {digest[:16]}")
