"""The profile for other schedulers than SLURM, with a throw-away one that speaks like PBS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.checkout import ROOT, Checkout

PROFILE = ROOT / "workflow" / "profiles" / "cluster-generic"
CONFIG = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes"}},
    "classifiers": {"four": {"objective": "vanilla", "processes": 4}},
}
QSUB = """#!/bin/sh
test -e "$QUEUE/refuses" && exit 1
number=$(( $(cat "$QUEUE/last" 2>/dev/null || echo 40) + 1 ))
echo $number > "$QUEUE/last"
printf '%s\\0' "$@" > "$QUEUE/$number.asked"
for script; do :; done
touch "$QUEUE/$number.queued"
if grep -q '"rule": "classifier"' "${script%.job}" && test ! -e "$QUEUE/killed"; then
  touch "$QUEUE/killed"
  (sleep 1; rm "$QUEUE/$number.queued") > /dev/null 2>&1 &
else
  (setsid sh "$script" > "$QUEUE/$number.said" 2>&1; rm "$QUEUE/$number.queued") > /dev/null 2>&1 &
fi
echo $number.server
"""
"""Runs each job at once, but for the first training: that is killed before it has said a word."""
QSELECT = """#!/bin/sh
cd "$QUEUE" && for job in *.queued; do test -e "$job" && echo "${job%.queued}.server"; done; true
"""
RECORD = """#!/bin/sh
printf '%s\\0' "$@" > "$QUEUE/asked"
echo "Job <77> is submitted to queue <normal>."
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs, folder = tmp_path / "bin", tmp_path / "queue"
    programs.mkdir()
    folder.mkdir()
    for name, text in {"qsub": QSUB, "qselect": QSELECT, "bsub": RECORD, "bjobs": "#!/bin/sh\nexit 1\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(folder))
    monkeypatch.setenv("WSSS_CLUSTER_LATENCY", "2")
    return folder


def asked(path: Path) -> list[str]:
    return path.read_text().rstrip("\0").split("\0")


def ask(program: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROFILE / f"{program}.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=100)


@pytest.mark.slow  # each of its jobs starts Snakemake
@pytest.mark.timeout(1200)
def test_a_run_on_a_throw_away_scheduler_and_a_job_that_was_killed(queue: Path, tmp_path: Path) -> None:
    """Every job is submitted with what it needs; the one that vanished is submitted again."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    checkout = Checkout.build(tmp_path / "checkout", CONFIG)
    profile = checkout.folder / "workflow" / "profiles" / "cluster-generic"
    quick = ["--latency-wait", "10", "--max-status-checks-per-second", "5", "--seconds-between-status-checks", "1"]
    command = [sys.executable, "-m", "snakemake", "all_classifiers", "--profile", str(profile), *quick]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, timeout=1000)
    said = "".join(path.read_text() for path in queue.glob("*.said"))
    assert done.returncode == 0, done.stdout + done.stderr + said
    results = checkout.folder / "results" / "scenes"
    assert (results / "index" / "manifest.json").exists()
    assert (results / "s0" / "classifiers" / "four" / "manifest.json").exists()
    jobs = [asked(queue / f"{number}.asked") for number in (41, 42, 43)]
    assert [job[job.index("-N") + 1] for job in jobs] == ["wsss-index", "wsss-classifier", "wsss-classifier"]
    assert not (queue / "44.asked").exists()
    index, first, second = ([job[n + 1] for n, word in enumerate(job) if word == "-l"] for job in jobs)
    assert index == ["select=1:ncpus=8:mem=4000mb", "walltime=120:00"]
    assert first == ["select=1:ncpus=32:mem=64000mb:ngpus=4", "walltime=720:00"]
    assert second == ["select=1:ncpus=32:mem=128000mb:ngpus=4", "walltime=720:00"], "the second attempt asks for more"


def script_of(tmp_path: Path, **resources: object) -> Path:
    script = tmp_path / "snakejob.1.sh"
    wanted = {"mem_mb": 16000, "runtime": 720, "gpu": 1, **resources}
    script.write_text(
        f"#!/bin/sh\n# properties = {json.dumps({'rule': 'cams', 'threads': 8, 'resources': wanted})}\nexit 0\n"
    )
    return script


@pytest.mark.parametrize(
    "scheduler, words",
    [
        ("sge", "-pe smp 8 -l h_vmem=2000M -l gpu=1 -l h_rt=43200"),
        ("lsf", "-n 8 -R span[hosts=1] rusage[mem=16000] -gpu num=1 -W 720"),
    ],
)
def test_the_words_of_other_schedulers(scheduler: str, words: str, queue: Path, tmp_path: Path) -> None:
    done = ask("submit", str(script_of(tmp_path)), WSSS_SCHEDULER=scheduler)
    assert done.returncode == 0, done.stderr
    number, _, path = done.stdout.strip().partition(" ")
    assert number == ("41" if scheduler == "sge" else "77") and path == f"{tmp_path / 'snakejob.1.sh'}.exit"
    assert words in " ".join(asked(queue / ("41.asked" if scheduler == "sge" else "asked")))


def test_what_a_job_is(queue: Path, tmp_path: Path) -> None:
    """In the queue; gone with an exit code; gone without one; and where the scheduler cannot be asked."""
    path = tmp_path / "with space" / "job.exit"
    path.parent.mkdir()
    (queue / "5.queued").touch()
    assert ask("status", f"5 {path}").stdout == "running\n"
    (queue / "5.queued").unlink()
    assert ask("status", f"5 {path}").stdout == "failed\n"
    for code, word in (("0", "success"), ("75", "failed"), ("", "failed")):
        path.write_text(code)
        assert ask("status", f"5 {path}").stdout == f"{word}\n"
    path.unlink()
    assert ask("status", f"5 {path}", WSSS_SCHEDULER="lsf").stdout == "running\n", "bjobs fails for a reason unknown"


def test_a_refusal_and_several_nodes_are_errors(queue: Path, tmp_path: Path) -> None:
    done = ask("submit", str(script_of(tmp_path, nodes=2)))
    assert done.returncode != 0 and "over several nodes is for SLURM" in done.stderr
    (queue / "refuses").touch()
    done = ask("submit", str(script_of(tmp_path)))
    assert done.returncode != 0 and "did not take the job" in done.stderr


def test_the_exit_code_is_told_by_the_job_itself(queue: Path, tmp_path: Path) -> None:
    script = script_of(tmp_path)
    script.write_text(script.read_text().replace("exit 0", "exit 75"))
    path = Path(ask("submit", str(script)).stdout.strip().partition(" ")[2])
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert path.read_text() == "75\n"
