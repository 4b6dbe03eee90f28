"""A training over the nodes of a real SLURM, two pretended ones: ``srun`` starts the stage program itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.test_slurm import ROOT, cluster  # noqa: F401

SETTINGS = {
    **{"objective": "vanilla", "backbone": "test_resnet", "pretrained": False, "crop": 64, "long_side": [56, 72]},
    **{"batch_size": 4, "epochs": 6, "lr": 0.001, "precision": "fp32"},
}
SCENES = {"kind": "scenes", "train": 12, "val": 4, "size": 64, "classes": 3}


@pytest.fixture(scope="module", autouse=True)
def two_nodes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODES", "2")
        yield


def program(stage: str, settings: dict, *args: str) -> list[str]:
    stage = str(ROOT / "stages" / f"{stage}.py")
    return [sys.executable, stage, "--settings", json.dumps(settings), "--device", "cpu", *args]


def processes_of(out: Path) -> list[int]:
    """Ids of the main processes that write a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
            parent = int((entry.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
            name = Path(f"/proc/{parent}/comm").read_text().strip()
        except OSError:
            continue
        if str(out) in words and name == "slurmstepd":
            found.append(int(entry.parent.name))
    return sorted(found)


def steps(out: Path) -> int:
    """Lines that a training has written of its steps."""
    return sum(path.read_text().count("\n") for path in out.glob("state/*/metrics.jsonl"))


def test_a_training_over_two_nodes_and_the_death_of_a_task(cluster: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    index = tmp_path / "index"
    subprocess.run(program("index", SCENES, "--dataset", "scenes", "--out", str(index)), check=True, timeout=200)

    def srun(nodes: int, out: str) -> list[str]:
        cores = str(2 // nodes)  # of a node: each process has one, since the bits depend on their number
        train = program("classifier", SETTINGS, "--index", str(index), "--out", str(tmp_path / out), "--threads", cores)
        return ["srun", f"--nodes={nodes}", "--ntasks=2", "--kill-on-bad-exit=1", *train]

    def same() -> bool:
        names = ("model.safetensors", "metrics.jsonl", "predictions.csv")
        return len({b"".join((tmp_path / out / n).read_bytes() for n in names) for out in ("one", "two")}) == 1

    # Pretended nodes have names that no one knows; the first one of real ones is found by its name.
    known = {**cluster, "MASTER_ADDR": "127.0.0.1"}
    one = subprocess.run(srun(1, "one"), env=cluster, capture_output=True, text=True, timeout=200)
    assert one.returncode == 0 and "by 2 processes" in one.stderr, one.stderr
    for number, code in ((signal.SIGTERM, 75), (signal.SIGKILL, 137)):
        process = subprocess.Popen(srun(2, "two"), env=known, stderr=subprocess.PIPE, text=True)
        seen, deadline = steps(tmp_path / "two"), time.monotonic() + 200
        while steps(tmp_path / "two") == seen:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        tasks = processes_of(tmp_path / "two")
        assert len(tasks) == 2
        os.kill(tasks[1], number)
        _, said = process.communicate(timeout=200)
        assert process.returncode == code, said
        assert not (tmp_path / "two" / "manifest.json").exists()
        if number == signal.SIGTERM:
            assert said.count("the same command resumes") == 1, said
    two = subprocess.run(srun(2, "two"), env=known, capture_output=True, text=True, timeout=200)
    assert two.returncode == 0 and "resuming at step" in two.stderr, two.stderr
    assert same()
    for out in ("one", "two"):
        told = json.loads((tmp_path / out / "run.json").read_text())
        assert (told["processes"], told["threads"]) == (2, 1)
    manifests = {(tmp_path / out / "manifest.json").read_bytes() for out in ("one", "two")}
    assert len(manifests) == 1, "over how many nodes is no part of what was made"


def test_an_inference_stage_names_the_cure_and_one_task_is_one_process(cluster: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    index = program("index", SCENES, "--dataset", "scenes", "--out", str(tmp_path / "index"))
    several = subprocess.run(["srun", "--ntasks=2", *index], env=cluster, capture_output=True, text=True, timeout=100)
    assert several.returncode == 2 and "this stage runs as one process, but 2 were started" in several.stderr
    script = "#!/bin/sh\n" + " ".join(f"'{word}'" for word in index) + "\n"
    batch = ["sbatch", "--ntasks=2", "--wait", f"--output={tmp_path / 'log'}"]
    done = subprocess.run(batch, input=script, env=cluster, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "index" / "manifest.json").exists()


WORKFLOW = """
dataset: scenes
datasets: {scenes: {kind: scenes, train: 12, val: 4, size: 64, classes: 3}}
classifiers: {spread: {objective: vanilla, processes: 2, nodes: 2, epochs: 2}, long: {objective: vanilla, epochs: 90}}
defaults:
  classifiers:
    {backbone: test_resnet, pretrained: false, crop: 64, long_side: [56, 72], batch_size: 4, lr: 0.001, precision: fp32}
"""


class Workflow:
    """A run of the workflow with the profile for SLURM, on a site that wants ``--gres``, without retries."""

    def __init__(self, folder: Path, cluster: dict[str, str]) -> None:  # noqa: F811
        self.folder, self.cluster = folder, cluster
        (folder / "config.yaml").write_text(WORKFLOW)

    def start(self, classifier: str) -> subprocess.Popen[str]:
        profile = ROOT / "workflow" / "profiles" / "slurm"
        site = ["--default-resources", "gres=gpu", "mem_mb=2000", "runtime=60"]
        quick = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--max-threads", "1"]
        quick += ["--retries", "0"]
        command = [
            "-m",
            "snakemake",
            "-s",
            str(ROOT / "Snakefile"),
            "--profile",
            str(profile),
            "--retries",
            "0",
            *quick,
        ]
        return subprocess.Popen(
            [sys.executable, *command, str((self.out(classifier) / "manifest.json").relative_to(self.folder)), *site],
            cwd=self.folder,
            env={**self.cluster, "MASTER_ADDR": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def out(self, classifier: str) -> Path:
        return self.folder / "results" / "scenes" / "s0" / "classifiers" / classifier

    def log(self, classifier: str) -> str:
        path = self.folder / "logs" / "scenes" / "s0" / "classifiers" / f"{classifier}.log"
        return path.read_text() if path.exists() else "no log"

    def about(self, job: str) -> str:
        """What SLURM knows of a job."""
        command = ["scontrol", "show", "job", job]
        return subprocess.run(command, env=self.cluster, capture_output=True, text=True, check=True).stdout


@pytest.mark.timeout(1200)
def test_a_recipe_over_two_nodes_on_a_site_that_wants_gres(cluster: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    """Snakemake submits one job, whose command has srun start a process on each node; nobody does anything by hand."""
    workflow = Workflow(tmp_path, cluster)
    run = workflow.start("spread")
    said, _ = run.communicate(timeout=1000)
    assert run.returncode == 0, said + workflow.log("spread")
    assert "by 2 processes" in workflow.log("spread")
    told = json.loads((workflow.out("spread") / "run.json").read_text())
    assert (told["processes"], told["threads"]) == (2, 1)
    known = workflow.about(re.findall(r"SLURM jobid '?(\d+)", said)[-1])
    assert "NumNodes=2" in known and re.search(r"TresPerNode=\S*gpu:1", known), known


@pytest.mark.timeout(1200)
def test_a_training_that_makes_way_for_others_goes_on_by_itself(cluster: dict[str, str], tmp_path: Path) -> None:  # noqa: F811
    """Preempted, it goes back into the queue under its own number; Snakemake waits for it and submits nothing."""
    workflow = Workflow(tmp_path, cluster)
    run = workflow.start("long")
    deadline = time.monotonic() + 600
    while steps(workflow.out("long")) == 0:
        assert run.poll() is None and time.monotonic() < deadline, workflow.log("long")
        time.sleep(0.02)
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, env=cluster, check=True, capture_output=True, timeout=60)
    said, _ = run.communicate(timeout=1000)
    assert run.returncode == 0, said + workflow.log("long")
    numbers = re.findall(r"SLURM jobid '?(\d+)", said)
    assert len(set(numbers)) == 2, said  # index and classifier
    assert "Restarts=1" in workflow.about(numbers[-1])
    assert re.search(r"resuming at step \d+", workflow.log("long")), workflow.log("long")
