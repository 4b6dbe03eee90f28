"""Kills of Snakemake itself: killed in the middle of a job, stopped, interrupted, started twice; killed while it makes
again what other settings want.

python -m tests.chaos.snakemake_runs            a training (by hand: minutes)
python -m tests.chaos.snakemake_runs index      the drawing of the images (seconds)
python -m tests.chaos.snakemake_runs chain      a training, its maps and their scores (by hand: minutes)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.checkout import ROOT, SMALL
from tests.chaos.judge import MANIFEST, Tree, differences, known_by, left_over, lost, present, tree

PARTS = ("Snakefile", "workflow", "stages", "wsss", "envs")
PATIENCE = 300.0
LOCKED, UNLOCK = "cannot be locked", "--unlock"
BUSY_BY_ORPHAN = "another copy of this stage is at work here"
RUN = "results/scenes/s0"
OUTS = {
    "index": ("results/scenes/index",),
    "training": (f"{RUN}/classifiers/vanilla",),
    "chain": tuple(f"{RUN}/{name}/vanilla" for name in ("classifiers", "cams", "scores/cams")),
}
"""What is wanted: artefact folders, each after those it needs."""
KILLS = {"index": 2, "training": 5, "chain": 10}
"""So often Snakemake is killed while it makes something again."""


def config(kind: str, changed: bool) -> dict[str, Any]:
    """What is run, and what is run when a setting is changed on which all of it depends."""
    count = {"index": 600, "training": 10, "chain": 10}[kind]
    scenes = {
        "kind": "scenes",
        "train": count,
        "val": 6 if changed and kind == "index" else 4,
        "size": 64,
        "classes": 3,
    }
    epochs = {"training": 60, "chain": 8}.get(kind, 2) - 1 * changed
    return {
        "dataset": "scenes",
        "datasets": {"scenes": scenes},
        "classifiers": {"vanilla": {"objective": "vanilla", **SMALL, "epochs": epochs}},
        "cams": {"vanilla": {"classifier": "vanilla", "scales": [1.0]}},
        "evaluation": {"calibration_images": 4},
    }


class SnakemakeRuns:
    """A folder for runs of one artefact or a few, and its undisturbed run.

    Args:
        folder: Where all of it lies; a copy of the checkout too.
        kind: ``index``, ``training`` for a classifier, or ``chain``.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.checkout, self.kind = folder, folder / "checkout", kind
        self.checkout.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source, target = ROOT / part, self.checkout / part
            shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy2(source, target)
        self.outs = [Path(out) for out in OUTS[kind]]
        self.out = self.outs[0]
        self.wanted, self.seconds = self.whole("whole", changed=False)

    def whole(self, name: str, changed: bool) -> tuple[list[Tree], float]:
        """What an undisturbed run makes, and its seconds."""
        place, begun = self.place(name, changed), time.monotonic()
        code, said = self.run(place)
        if code:
            raise SystemExit(f"the undisturbed run failed:\n{said}")
        return [tree(place / out) for out in self.outs], time.monotonic() - begun

    def place(self, name: str, changed: bool = False) -> Path:
        """A new working folder."""
        (self.folder / name).mkdir()
        self.configure(self.folder / name, changed)
        return self.folder / name

    def configure(self, place: Path, changed: bool) -> None:
        (place / "config.yaml").write_text(yaml.safe_dump(config(self.kind, changed)))

    def start(self, place: Path, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", str(self.outs[-1] / "manifest.json"), "--cores", "2"]
        command += ["--rerun-incomplete", "-s", str(self.checkout / "Snakefile"), "--configfile", "config.yaml", *more]
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
                if any(one.stat().st_mtime > after for one in self.signs(place)):
                    return True
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        raise SystemExit("the stage did not begin")

    def signs(self, place: Path) -> list[Path]:
        """What is there when the first stage is in the middle of its work."""
        sign = "images/train-00040.png" if self.kind == "index" else "state/*/metrics.jsonl"
        return list((place / self.out).glob(sign))

    def at_work(self, place: Path) -> bool:
        """Whether a stage holds an artefact's lock."""
        for out in self.outs:
            with contextlib.suppress(FileNotFoundError), (place / out / ".lock").open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return True
        return False

    def next(self, place: Path, wanted: list[Tree]) -> Path | None:
        """The first artefact that is not as it is wanted."""
        pairs = zip(self.outs, wanted, strict=True)
        return next((out for out, one in pairs if tree(place / out).get(MANIFEST) != one[MANIFEST]), None)

    def judge(self, place: Path, wanted: list[Tree] | None = None) -> list[str]:
        pairs = zip(self.outs, wanted or self.wanted, strict=True)
        return [f"{out}: {line}" for out, one in pairs for line in differences(tree(place / out), one)]


def killed(runs: SnakemakeRuns) -> list[str]:
    """Snakemake is killed outright, and its stage goes on without it. The same command names the one that removes the
    lock; after that it is refused by the stage as long as that is at work; then it goes on. A second Snakemake is
    refused meanwhile, and disturbs nothing."""
    place, wrong = runs.place("killed"), []
    first = runs.start(place)
    if not runs.busy(place, first):
        return [f"it ended before it could be killed:\n{first.communicate()[0]}"]
    first.kill()
    first.wait()
    first.stdout.close()
    wrong += refused("a lock that was left", UNLOCK, *runs.run(place))
    code, said = runs.run(place, "--unlock")
    if code:
        wrong.append(f"--unlock fails:\n{said}")
    if runs.at_work(place):
        code, said = runs.run(place)
        if code and BUSY_BY_ORPHAN not in said:
            wrong.append(f"a stage that is still at work is not named ({code}):\n{said}")
        while runs.at_work(place):
            time.sleep(0.1)
    begun = time.time()
    last = runs.start(place)
    if runs.busy(place, last, begun):
        wrong += refused("a second Snakemake", LOCKED, *runs.run(place))
    said, _ = last.communicate(timeout=PATIENCE)
    return wrong + (
        [f"the same command ends with {last.returncode}:\n{said}"] if last.returncode else runs.judge(place)
    )


def refused(what: str, reason: str, code: int, said: str) -> list[str]:
    return [] if code and reason in said else [f"{what} is not refused by naming {reason!r} ({code}):\n{said}"]


def stopped(runs: SnakemakeRuns) -> list[str]:
    """Ctrl-C, then SIGTERM to Snakemake alone, then to all its processes: no lock is left, the same command resumes."""
    place, wrong, begun = runs.place("stopped"), [], 0.0
    for what, number, strike in (
        ("Ctrl-C", signal.SIGINT, os.killpg),
        ("SIGTERM", signal.SIGTERM, os.kill),
        ("SIGTERM to all", signal.SIGTERM, os.killpg),
    ):
        process = runs.start(place)
        if runs.busy(place, process, begun):
            strike(process.pid, number)
        said, _ = process.communicate(timeout=PATIENCE)
        begun = time.time()
        print(f"  {what}: Snakemake ended with {process.returncode}", flush=True)
        if LOCKED in said:
            wrong.append(f"a lock was left before {what}:\n{said}")
        if process.returncode == 0:  # a stage that goes on to its end may do so
            break
    code, said = runs.run(place)
    return wrong + ([f"the same command ends with {code}:\n{said}"] if code else runs.judge(place))


def changed(runs: SnakemakeRuns) -> list[str]:
    """A setting is changed, and later changed back; each time Snakemake is killed again and again while it makes what
    is wanted now, with all its processes or alone. In the end the artefacts are those of an undisturbed run, and the
    ones from before are kept, whole."""
    place, rng, wrong = runs.place("changed"), random.Random(0), []
    runs.run(place)
    other, seconds = runs.whole("other", changed=True)
    for wanted, is_changed in ((other, True), (runs.wanted, False)):
        runs.configure(place, is_changed)
        known = [dict(zip(map(known_by, both), both, strict=True)) for both in zip(runs.wanted, other, strict=True)]
        before = [present(place / out, one)[0] for out, one in zip(runs.outs, known, strict=True)]
        kills = 0
        for number in range(KILLS[runs.kind]):
            out = runs.next(place, wanted)
            if out is None:
                break
            pause = number % 2 * rng.random() ** 2 * seconds / len(runs.outs) / 2
            kills += strike(runs, place, out, pause, rng.choice((os.kill, os.killpg)))
            found = [present(place / out, one) for out, one in zip(runs.outs, known, strict=True)]
            wrong += [line for _, bad in found for line in bad]
        code, said = runs.run(place)
        print(f"  settings changed{'' if is_changed else ' back'}: {kills} times killed", flush=True)
        wrong += [f"the same command ends with {code}:\n{said}"] if code else runs.judge(place, wanted)
        for out, one, had in zip(runs.outs, known, before, strict=True):
            wrong += [f"{out}: {line}" for line in lost(had, place / out, one) + left_over(place / out)]
    return wrong


def strike(runs: SnakemakeRuns, place: Path, out: Path, pause: float, kill: Callable[[int, int], None]) -> bool:
    """Kill Snakemake when the stage of an artefact has begun (artefacts are moved then), or a while later; take away
    its lock. Returns whether it was at work still."""
    begun, process = time.time(), runs.start(place)
    while process.poll() is None and not begun_since(place / out, begun):
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(pause)
    alive = process.poll() is None
    if alive:
        kill(process.pid, signal.SIGKILL)
    process.wait()
    while runs.at_work(place):
        time.sleep(0.1)
    process.stdout.close()
    shutil.rmtree(place / ".snakemake" / "locks", ignore_errors=True)  # as --unlock does, in no time
    return alive


def begun_since(out: Path, since: float) -> bool:
    """Whether a stage has taken the lock of a folder (in which it writes who it is)."""
    lock = out / ".lock"
    return lock.exists() and lock.stat().st_mtime > since


FLOWS: dict[str, Callable[[SnakemakeRuns], list[str]]] = {"killed": killed, "stopped": stopped, "changed": changed}


def main(kind: str = "training", *names: str) -> int:
    folder = Path(tempfile.mkdtemp(prefix="wsss-snakemake-"))
    bad = 0
    try:
        runs = SnakemakeRuns(folder, kind)
        for name in names or FLOWS:
            begun = time.monotonic()
            wrong = FLOWS[name](runs)
            bad += bool(wrong)
            print(f"{name}: {time.monotonic() - begun:.1f} s", *wrong, sep="\n  WRONG ", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(names or FLOWS)} flows, {bad} wrong")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
