"""A short selection of kills; ``python -m tests.chaos --kills 200`` is the long run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.checkout import check_complete, jobs
from tests.chaos.console_commands import config
from tests.chaos.judge import KEPT, Tree, differences, known_by, left_over, lost, present, tree
from tests.chaos.kills import KINDS

ROOT = Path(__file__).resolve().parents[2]
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_stages_that_are_killed_end_right() -> None:
    """Each way to die, at one of five stages, and at one of the commands that rewrite manifests."""
    command = [sys.executable, "-m", "tests.chaos", "--kills", "16", "--short", "--seed", "0"]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0 and done.stdout.endswith("\n16 kills, 0 wrong, 0 lost\n"), done.stdout + done.stderr
    assert all(f"; {kind} (" in done.stdout for kind in KINDS) and "] wsss a" in done.stdout, done.stdout


def test_every_stage_has_a_job_in_the_chain() -> None:
    check_complete(jobs())
    with pytest.raises(SystemExit, match="no job for walk"):
        check_complete([job for job in jobs() if job.stage != "walk"])


@pytest.mark.parametrize("flow", ["killed", "changed"])
def test_a_killed_snakemake_and_the_next_one(flow: str) -> None:
    command = [sys.executable, "-m", "tests.chaos.snakemake_runs", "index", flow]
    done = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0 and done.stdout.endswith("\n1 flows, 0 wrong\n"), done.stdout + done.stderr


def made(folder: Path, identity: str = "one", text: str = "a mask") -> Tree:
    """An artefact as a stage leaves it."""
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "a.png").write_text(text)
    (folder / "state").mkdir()
    about = {"identity": identity, "content": text, "outputs": {"masks": text}, "images": 1}
    for name, value in (("run.json", {"made": "today"}), (".manifest.json", about), ("manifest.json", about)):
        (folder / name).write_text(json.dumps(value))
    return tree(folder)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return tmp_path / "masks" / "a"


def test_the_judge_sees_what_differs_and_not_what_is_of_the_run(artefact: Path) -> None:
    wanted = made(artefact)
    (artefact / "run.json").write_text('{"made": "tomorrow"}')
    (artefact / "state" / "another").mkdir()
    (artefact / "state" / "another" / "latest.pt").touch()
    assert differences(tree(artefact), wanted) == []
    manifest = artefact / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"images": 1', '"images": 2'))
    (artefact / "run.json").write_text('{"ma')
    (artefact / "masks" / "a.png").write_text("a mas")
    (artefact / "state" / "one").mkdir()
    (artefact / ".b.tmp").touch()
    assert sorted(differences(tree(artefact), wanted)) == [
        ".b.tmp is left over",
        "manifest.json has other content; images: 2, not 1",
        "masks/a.png has other content",
        "run.json has other content",
        "state/one is left over",
    ]


def test_a_manifest_beside_half_an_artefact_is_seen(artefact: Path) -> None:
    wanted = made(artefact)
    known = {known_by(wanted): wanted}
    assert present(artefact, known) == ({("one", "a mask")}, [])
    (artefact / "manifest.json").unlink()
    assert present(artefact, known) == ({("one", "a mask")}, []), "by its second name"
    (artefact / "masks" / "a.png").write_text("a mas")
    half = "a manifest stands beside a half artefact: {}/masks/a: masks/a.png has other content"
    assert present(artefact, known) == (set(), [half.format(artefact.parents[1].name)])
    (artefact / "masks" / "a.png").unlink()
    (artefact / "masks").rmdir()
    assert present(artefact, known) == (set(), []), "nobody takes it for whole"
    (artefact / ".manifest.json").rename(artefact / "manifest.json")
    assert len(present(artefact, known)[1]) == 2


def test_what_is_lost_is_seen_and_what_is_kept_is_not_lost(artefact: Path) -> None:
    one, two = made(artefact), made(artefact.with_name("b"), "two", "another mask")
    known = {known_by(one): one, known_by(two): two}
    kept = artefact.parent / KEPT / "two"
    shutil.copytree(artefact.with_name("b"), kept, ignore=shutil.ignore_patterns(".*", "state"))
    before, wrong = present(artefact, known)
    assert before == set(known) and not wrong and not lost(before, artefact, known) and not left_over(artefact)
    (kept / "masks" / "a.png").unlink()
    assert present(artefact, known)[1] and lost(before, artefact, known) == ["two is lost"]
    kept.rename(kept.with_name(".a.leaving"))
    assert lost(before, artefact, known) == ["two is lost"]
    assert left_over(artefact) == [".kept/.a.leaving is left over"]


def test_other_artefacts_are_made_by_other_commands() -> None:
    index, classifier = jobs()[:2]
    assert '"train": 8' in " ".join(index.another(1).args) and index.another(0) == index
    assert classifier.another(2).args[-2:] == ("--seed", "2") and '"epochs": 1' in " ".join(classifier.another(1).args)


def test_the_configuration_of_the_chain_names_the_same_settings() -> None:
    cams = next(job for job in jobs() if job.out.endswith("cams/vanilla"))
    assert config()["cams"]["vanilla"]["scales"] == [0.5, 1.0] and config(cams)["cams"]["vanilla"]["scales"] == [1.0]
    assert config(cams)["masks"] == config()["masks"]
