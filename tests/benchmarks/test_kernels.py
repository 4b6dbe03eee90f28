"""Every kernel that is measured, at a small size: both forms give the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import KERNELS
from benchmarks.frame import Estimate

ROOT = Path(__file__).resolve().parents[2]
MOST = {
    "crf-two-problems": 1e-3,
    "crf-21-pruned": 5e-3,
    "crf-21-exact": 1e-3,
    "walk-47x63": 1e-4,
    "walk-94x125": 1e-4,
    "threshold-sweep": 0,
    "cam-preprocess": 2,
    "cam-inference": 5e-3,
    "cam-store": 0,
    "edge-affinity": 0,
    "explain-captum": 1e-4,
    "explain-grad-cam": 1e-3,
}
"""Largest difference allowed, in the kernel's own measure."""


@pytest.mark.parametrize("name", KERNELS)
def test_both_forms_agree(name):
    if KERNELS[name].missing:
        pytest.skip(f"{KERNELS[name].needs} is not installed")
    case = KERNELS[name].make(0.02)
    baseline, ours = case.baseline(), case.ours()
    if isinstance(baseline, Estimate):
        assert baseline.seconds > 0
        baseline = baseline.result
    assert case.difference(baseline, ours) <= MOST[name]
    if case.sizes:
        more, fewer = case.sizes()
        assert more > fewer > 0


@pytest.mark.slow
def test_the_command_writes_a_list(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--only", "threshold-sweep", "--repeats", "1", "--json", "out.json"]
    ran = subprocess.run(
        [*command[:-1], str(tmp_path / "out.json")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (row,) = json.loads((tmp_path / "out.json").read_text())
    assert row["name"] == "threshold-sweep" and row["difference"] == 0
    assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
    assert row["baseline_bytes"] > 0 and row["ours_bytes"] >= 0
    assert "counts differ by at most 0" in ran.stdout
