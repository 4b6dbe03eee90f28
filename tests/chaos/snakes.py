"""Deaths of Snakemake itself: killed in the middle of a job, stopped, interrupted, started twice.

python -m tests.chaos.snakes            a training (by hand: minutes)
python -m tests.chaos.snakes index      the drawing of the images (seconds)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.chaos.house import ROOT, SMALL
from tests.chaos.judge import Tree, differences, tree

PARTS = ("Snakefile", "workflow", "stages", "wsss", "envs")
PATIENCE = 300.0
LOCKED, UNLOCK = "cannot be locked", "--unlock"
BUSY_BY_ORPHAN = "another copy of this stage is at work here"


class Snakes:
    """A folder for runs of one artefact, and its undisturbed run.

    Args:
        folder: Where all of it lies; a copy of the checkout too.
        kind: ``index``, or ``training`` for a classifier.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.checkout = folder, folder / "checkout"
        self.checkout.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source, target = ROOT / part, self.checkout / part
            shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy2(source, target)
        training = kind == "training"
        scenes = {"kind": "scenes", "train": 10 if training else 600, "val": 4, "size": 64, "classes": 3}
        vanilla = {"objective": "vanilla", **SMALL, "epochs": 60}
        config = {"dataset": "scenes", "datasets": {"scenes": scenes}, "classifiers": {"vanilla": vanilla}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.out = Path("results/scenes/s0/classifiers/vanilla" if training else "results/scenes/index")
        self.sign = self.out / ("state/metrics.jsonl" if training else "images/train-00040.png")
        whole = self.place("whole")
        code, said = self.run(whole)
        if code:
            raise SystemExit(f"the undisturbed run failed:\n{said}")
        self.wanted: Tree = tree(whole / self.out)

    def place(self, name: str) -> Path:
        """A new working folder."""
        (self.folder / name).mkdir()
        return self.folder / name

    def start(self, place: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", str(self.out / "manifest.json"), "--cores", "2"]
        command += [
            "--rerun-incomplete",
            "-s",
            str(self.checkout / "Snakefile"),
            "--configfile",
            str(self.folder / "config.yaml"),
            *more,
        ]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=place, start_new_session=True, **pipes)

    def run(self, place: Path, *more: str) -> tuple[int, str]:
        process = self.start(place, *more)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def busy(self, place: Path, process: subprocess.Popen[str], after: float = 0.0) -> bool:
        """Wait until the stage is in the middle of its work, begun ``after`` that time; False where there is none
        left."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                if (place / self.sign).stat().st_mtime > after:
                    return True
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        raise SystemExit("the stage did not begin")

    def at_work(self, place: Path) -> bool:
        """Whether a stage holds the artefact's lock."""
        with (place / self.out / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def judge(self, place: Path) -> list[str]:
        return differences(tree(place / self.out), self.wanted)


def killed(snakes: Snakes) -> list[str]:
    """Snakemake is killed outright, and its stage goes on without it. The same command names the one that removes the
    lock; after that it is refused by the stage as long as that is at work; then it goes on. A second Snakemake is
    refused meanwhile, and disturbs nothing."""
    place, wrong = snakes.place("killed"), []
    first = snakes.start(place)
    if not snakes.busy(place, first):
        return [f"it ended before it could be killed:\n{first.communicate()[0]}"]
    first.kill()
    first.wait()
    first.stdout.close()
    wrong += refused("a lock that was left", UNLOCK, *snakes.run(place))
    code, said = snakes.run(place, "--unlock")
    if code:
        wrong.append(f"--unlock fails:\n{said}")
    if snakes.at_work(place):
        code, said = snakes.run(place)
        if code and BUSY_BY_ORPHAN not in said:
            wrong.append(f"a stage that is still at work is not named ({code}):\n{said}")
        while snakes.at_work(place):
            time.sleep(0.1)
    begun = time.time()
    last = snakes.start(place)
    if snakes.busy(place, last, begun):
        wrong += refused("a second Snakemake", LOCKED, *snakes.run(place))
    said, _ = last.communicate(timeout=PATIENCE)
    return wrong + (
        [f"the same command ends with {last.returncode}:\n{said}"] if last.returncode else snakes.judge(place)
    )


def refused(what: str, reason: str, code: int, said: str) -> list[str]:
    return [] if code and reason in said else [f"{what} is not refused by naming {reason!r} ({code}):\n{said}"]


def stopped(snakes: Snakes) -> list[str]:
    """Ctrl-C, then SIGTERM to Snakemake alone, then to all its processes: no lock is left, the same command goes on."""
    place, wrong, begun = snakes.place("stopped"), [], 0.0
    for what, number, strike in (
        ("Ctrl-C", signal.SIGINT, os.killpg),
        ("SIGTERM", signal.SIGTERM, os.kill),
        ("SIGTERM to all", signal.SIGTERM, os.killpg),
    ):
        process = snakes.start(place)
        if snakes.busy(place, process, begun):
            strike(process.pid, number)
        said, _ = process.communicate(timeout=PATIENCE)
        begun = time.time()
        print(f"  {what}: Snakemake ended with {process.returncode}", flush=True)
        if LOCKED in said:
            wrong.append(f"a lock was left before {what}:\n{said}")
        if process.returncode == 0:  # a stage that goes on to its end may do so
            break
    code, said = snakes.run(place)
    return wrong + ([f"the same command ends with {code}:\n{said}"] if code else snakes.judge(place))


FLOWS: dict[str, Callable[[Snakes], list[str]]] = {"killed": killed, "stopped": stopped}


def main(kind: str = "training", *names: str) -> int:
    folder = Path(tempfile.mkdtemp(prefix="wsss-snakes-"))
    bad = 0
    try:
        snakes = Snakes(folder, kind)
        for name in names or FLOWS:
            begun = time.monotonic()
            wrong = FLOWS[name](snakes)
            bad += bool(wrong)
            print(f"{name}: {time.monotonic() - begun:.1f} s", *wrong, sep="\n  WRONG ", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(names or FLOWS)} flows, {bad} wrong")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
