"""What really happens when a run is repeated, changed, changed back and forced: jobs run, with next to no work."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.checkout import Checkout

CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {"plain": {"objective": "vanilla", "epochs": 2}},
    "cams": {"plain": {"classifier": "plain"}},
}
RUN = "results/scenes/s0"
EVERYTHING = {
    *("index scenes", "classifier plain", "cams plain", "scores cams plain", "scores classifiers plain"),
    *("summary scenes", "report scenes"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run whose stages really ran."""
    checkout = Checkout.build(tmp_path_factory.mktemp("kept") / "checkout", CONFIG)
    assert checkout.plan() == EVERYTHING
    checkout.snakemake()
    assert checkout.plan() == set()
    return checkout


@pytest.fixture
def checkout(finished: Checkout, tmp_path: Path) -> Checkout:
    return finished.copy(tmp_path / "copy")


def with_lr(checkout: Checkout, lr: float | None) -> None:
    config = copy.deepcopy(CONFIG)
    if lr is not None:
        config["classifiers"]["plain"]["lr"] = lr
    checkout.configure(config)


def manifest(checkout: Checkout, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkout.folder / RUN / folder / "manifest.json").read_text())
    return found


def files(checkout: Checkout) -> list[Path]:
    """All that artefacts hold, manifests and locks left out."""
    found = (path for path in (checkout.folder / RUN).rglob("*") if path.is_file())
    return [path for path in found if path.suffix != ".json" and path.name != ".lock"]


def weights(checkout: Checkout) -> str:
    return (checkout.folder / RUN / "classifiers/plain/model.safetensors").read_text()


def test_the_same_again_has_nothing_to_do(checkout: Checkout) -> None:
    assert "Nothing to be done" in checkout.snakemake()


def test_a_setting_changed_and_changed_back(checkout: Checkout) -> None:
    """The old result is kept, and comes back without any work; nothing is ever lost on the way."""
    before, first = weights(checkout), manifest(checkout, "classifiers/plain")
    with_lr(checkout, 0.02)
    told = checkout.snakemake()
    assert "4 finished results" in told and "because of: lr: was 0.1, is 0.02" in told
    assert weights(checkout) != before and checkout.plan() == set()
    kept = checkout.folder / RUN / "classifiers/.kept" / first["identity"]
    assert (kept / "model.safetensors").read_text() == before and not (kept / ".lock").exists()
    with_lr(checkout, None)
    assert checkout.plan() == {"classifier plain", "cams plain", "summary scenes", "report scenes"} | {
        *("scores cams plain", "scores classifiers plain"),
    }
    told = checkout.snakemake()
    assert told.count("made before, and kept: brought back") == 4 and "finished result" not in told
    assert weights(checkout) == before and manifest(checkout, "classifiers/plain") == first
    assert not kept.exists() and checkout.plan() == set()


def test_what_is_made_again_with_the_same_content_runs_nothing_after_it(checkout: Checkout) -> None:
    """A forced index is the same to the byte: everything that reads it sees that and stays as it is."""
    before = {path: path.stat().st_mtime_ns for path in files(checkout)}
    index = checkout.folder / "results/scenes/index/manifest.json"
    text = index.read_text()
    told = checkout.snakemake("-R", "index")
    assert "up to date, nothing to do" in told or "Job stats" in told
    assert index.read_text() == text
    after = {path: path.stat().st_mtime_ns for path in files(checkout)}
    assert after == before and checkout.plan() == set()


@pytest.mark.parametrize("how", [("-R", "classifier"), ("-f", f"{RUN}/classifiers/plain/manifest.json")])
def test_what_a_person_forces_is_made_anew(checkout: Checkout, how: tuple[str, str]) -> None:
    file = checkout.folder / RUN / "classifiers/plain/model.safetensors"
    before = file.stat().st_ino
    first = manifest(checkout, "classifiers/plain")
    checkout.snakemake(*how)
    assert file.stat().st_ino != before and manifest(checkout, "classifiers/plain") == first
    assert not (file.parent / ".again").exists() and checkout.plan() == set()


def test_what_rests_on_a_forced_result_looks_at_it_in_the_same_run(checkout: Checkout) -> None:
    told = checkout.snakemake("-R", "classifier")
    assert "results/scenes/s0/cams/plain: up to date, nothing to do" in told, "it came out the same"
    work = checkout.folder / "stages" / "_path.py"
    text = work.read_text()
    assert text.count('f"{name} {{}}\\n"') == 1
    work.write_text(text.replace('f"{name} {{}}\\n"', 'f"{name} {{}} on another GPU\\n"'))
    told = checkout.snakemake("-R", "classifier")
    assert "results/scenes/s0/cams/plain: up to date" not in told and checkout.plan() == set()
    assert "another GPU" in (checkout.folder / RUN / "cams/plain/shard-00000-of-00001.h5").read_text()


def test_a_dry_run_touches_nothing(checkout: Checkout) -> None:
    before = {path: path.stat().st_mtime_ns for path in (checkout.folder / "results").rglob("*")}
    with_lr(checkout, 0.02)
    checkout.snakemake("-n")
    checkout.snakemake("-n", "-R", "classifier")
    assert {path: path.stat().st_mtime_ns for path in (checkout.folder / "results").rglob("*")} == before


def test_touch_changes_nothing_about_what_is_wanted(checkout: Checkout) -> None:
    """Snakemake's own way to accept results rewrites times; there is one truth, and it is not times."""
    with_lr(checkout, 0.02)
    wanted = checkout.plan()
    checkout.snakemake("--touch")
    assert checkout.plan() == wanted != set()


def test_without_snakemakes_memory_exactly_the_cone_runs(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".snakemake")
    with_lr(checkout, 0.02)
    assert checkout.plan() == EVERYTHING - {"index scenes"}
    checkout.snakemake()
    assert checkout.plan() == set()


def test_strict_makes_again_what_other_code_made(checkout: Checkout) -> None:
    config = {**CONFIG, "code": "strict"}
    checkout.configure(config)
    assert checkout.plan() == set()
    checkout.edit("wsss/training/engine.py", "CHECKPOINT_SECONDS = 60.0", "CHECKPOINT_SECONDS = 61.0")
    assert checkout.plan() == set(), "the fake stages import no engine"
    checkout.edit("wsss/steps.py", '"""The steps', '"""The  steps')
    checkout.edit("stages/cams.py", "scattered=True", "scattered=bool(1)")
    assert checkout.plan() == {"cams plain", "scores cams plain", "summary scenes", "report scenes"}
    checkout.snakemake()
    assert checkout.plan() == set()


def test_intermediates_go_when_all_that_reads_them_is_made(checkout: Checkout) -> None:
    config = copy.deepcopy(CONFIG)
    config["cams"]["plain"]["keep"] = False
    checkout.configure(config)
    maps = checkout.folder / RUN / "cams/plain"
    assert list(maps.glob("*.h5")) and checkout.plan() == set()
    with_lr(checkout, 0.02)
    config["classifiers"]["plain"]["lr"] = 0.02
    checkout.configure(config)
    assert "1 intermediate results deleted" in checkout.snakemake()
    assert not list(maps.glob("*.h5")) and (maps / "manifest.json").is_file()
    assert checkout.plan() == set(), "what follows from them is there"
    config["evaluation"] = {"calibration_images": 5}
    checkout.configure(config)
    assert checkout.plan() == {"cams plain", "scores cams plain", "summary scenes", "report scenes"}
    checkout.snakemake()
    assert checkout.plan() == set() and not list(maps.glob("*.h5"))


def test_two_changes_with_what_stays_between_them(checkout: Checkout) -> None:
    """The classifier comes back from where it is kept, its maps are what is wanted all along, and how they are scored
    has changed: Snakemake follows the arrows from the first to the last, although nothing happens in the middle."""
    shutil.copytree(checkout.folder, Path(str(checkout.folder) + "-before"))
    with_lr(checkout, 0.02)
    checkout.snakemake()
    config = copy.deepcopy(CONFIG)
    for name in ("cams/plain", "scores/cams/plain", "scores/classifiers/plain"):  # as if lr made no difference to them
        shutil.rmtree(checkout.folder / RUN / name)
        shutil.copytree(Path(str(checkout.folder) + "-before") / RUN / name, checkout.folder / RUN / name)
    config["evaluation"] = {"calibration_images": 5}
    checkout.configure(config)
    assert checkout.plan() >= {"classifier plain", "scores cams plain", "summary scenes", "report scenes"}
    assert "cams plain" not in checkout.plan()
    checkout.snakemake()
    assert checkout.plan() == set()
