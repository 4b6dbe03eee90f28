"""How many GPU jobs run at once on one machine, seen in real runs whose stages only wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workflow.checkout import Checkout

CONFIG = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes"}},
    "classifiers": {name: {"objective": "vanilla"} for name in ("a", "b", "c")},
}
WAITING = """
import json, pathlib, sys, time
started = time.time()
pathlib.Path(f"started-{time.time_ns()}").touch()
time.sleep(0.5)
while len(list(pathlib.Path().glob("started-*"))) < EXPECTED and time.time() < started + 5:
    time.sleep(0.05)  # a busy machine may take a while to start those beside this one
with open("times.jsonl", "a") as file:
    stage = pathlib.Path(sys.argv[0]).stem
    file.write(json.dumps([stage, started, time.time()]) + "\\n")
"""


def at_once(checkout: Checkout, stage: str) -> int:
    """The most jobs of a stage that ran at the same moment."""
    jobs = [json.loads(line) for line in (checkout.folder / "times.jsonl").read_text().splitlines()]
    spans = [(start, end) for name, start, end in jobs if name == stage]
    assert len(spans) == 3
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


@pytest.mark.parametrize(
    ("gpus", "flags", "expected"),
    [
        (None, (), 1),
        (2, (), 2),
        (None, ("--resources", "gpu=3"), 3),
        (None, ("--profile", "workflow/profiles/workstation"), 1),
    ],
)
def test_one_gpu_job_a_gpu(gpus: int | None, flags: tuple[str, ...], expected: int, tmp_path: Path) -> None:
    """Without any flag; cores would suffice for all of them."""
    checkout = Checkout.build(tmp_path / "checkout", CONFIG | ({"workstation": {"gpus": gpus}} if gpus else {}))
    fake = checkout.folder / "stages" / "_path.py"
    fake.write_text(WAITING.replace("EXPECTED", str(expected)) + fake.read_text())
    checkout.snakemake("results/scenes/index/manifest.json")
    for mark in checkout.folder.glob("started-*"):
        mark.unlink()
    checkout.snakemake("all_classifiers", "--cores", "6", "--set-threads", "classifier=1", *flags)
    assert at_once(checkout, "classifier") == expected
