"""A short selection of deaths; ``python -m tests.chaos --kills 200`` is the long run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.deaths import KINDS
from tests.chaos.house import check_complete, jobs
from tests.chaos.judge import after_death, differences, tree

ROOT = Path(__file__).resolve().parents[2]
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_stages_that_are_killed_end_right() -> None:
    """Each way to die, at one of five stages."""
    command = [sys.executable, "-m", "tests.chaos", "--kills", "14", "--short", "--seed", "0"]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0 and done.stdout.endswith("\n14 kills, 0 wrong\n"), done.stdout + done.stderr
    assert all(f"; {kind} (" in done.stdout for kind in KINDS), done.stdout


def test_every_stage_has_a_job_in_the_chain() -> None:
    check_complete(jobs())
    with pytest.raises(SystemExit, match="no job for walk"):
        check_complete([job for job in jobs() if job.stage != "walk"])


def test_a_killed_snakemake_and_a_second_one() -> None:
    command = [sys.executable, "-m", "tests.chaos.snakes", "index", "killed"]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0 and done.stdout.endswith("\n1 flows, 0 wrong\n"), done.stdout + done.stderr


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text('{"images": 1, "wall_seconds": 2}')
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"a mask")
    return tmp_path


def test_the_judge_sees_what_differs_and_not_what_is_of_the_run(artefact: Path) -> None:
    wanted = tree(artefact)
    (artefact / "manifest.json").write_text('{"images": 1, "wall_seconds": 3}')
    assert differences(tree(artefact), wanted) == []
    (artefact / "manifest.json").write_text('{"images": 2, "wall_seconds": 3}')
    (artefact / "masks" / "a.png").write_bytes(b"a mas")
    (artefact / ".b.tmp").touch()
    said = differences(tree(artefact), wanted)
    assert [line.partition(" (")[0] for line in said] == [
        ".b.tmp is left over",
        "manifest.json: images has other content",
        "masks/a.png has other content",
    ]


def test_a_manifest_beside_half_an_artefact_is_seen(artefact: Path) -> None:
    wanted = tree(artefact)
    assert after_death(artefact, wanted) == []
    (artefact / "masks" / "a.png").unlink()
    assert after_death(artefact, wanted) == ["a manifest stands beside a half artefact: masks/a.png is missing"]
    (artefact / "manifest.json").unlink()
    assert after_death(artefact, wanted) == []
