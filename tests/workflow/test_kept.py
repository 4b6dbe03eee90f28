"""What really happens when a run is repeated, changed, changed back and forced: jobs run, with next to no work."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from house import House

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
def finished(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A run whose stages really ran."""
    house = House.build(tmp_path_factory.mktemp("kept") / "house", CONFIG)
    assert house.plan() == EVERYTHING
    house.snakemake()
    assert house.plan() == set()
    return house


@pytest.fixture
def house(finished: House, tmp_path: Path) -> House:
    return finished.copy(tmp_path / "copy")


def with_lr(house: House, lr: float | None) -> None:
    config = copy.deepcopy(CONFIG)
    if lr is not None:
        config["classifiers"]["plain"]["lr"] = lr
    house.configure(config)


def said(house: House, *args: str) -> str:
    done = house.snakemake(*args)
    return done.stdout + done.stderr


def manifest(house: House, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((house.folder / RUN / folder / "manifest.json").read_text())
    return found


def files(house: House) -> list[Path]:
    """All that artefacts hold, manifests and locks left out."""
    found = (path for path in (house.folder / RUN).rglob("*") if path.is_file())
    return [path for path in found if path.suffix != ".json" and path.name != ".lock"]


def weights(house: House) -> str:
    return (house.folder / RUN / "classifiers/plain/model.safetensors").read_text()


def test_the_same_again_has_nothing_to_do(house: House) -> None:
    assert "Nothing to be done" in said(house)


def test_a_setting_changed_and_changed_back(house: House) -> None:
    """The old result is kept, and comes back without any work; nothing is ever lost on the way."""
    before, first = weights(house), manifest(house, "classifiers/plain")
    with_lr(house, 0.02)
    told = said(house)
    assert "4 finished results" in told and "because of: lr: was 0.1, is 0.02" in told
    assert weights(house) != before and house.plan() == set()
    kept = house.folder / RUN / "classifiers/.kept" / first["identity"]
    assert (kept / "model.safetensors").read_text() == before and not (kept / ".lock").exists()
    with_lr(house, None)
    assert house.plan() == {"classifier plain", "cams plain", "summary scenes", "report scenes"} | {
        *("scores cams plain", "scores classifiers plain"),
    }
    told = said(house)
    assert told.count("made before, and kept: brought back") == 4 and "finished result" not in told
    assert weights(house) == before and manifest(house, "classifiers/plain") == first
    assert not kept.exists() and house.plan() == set()


def test_what_is_made_again_with_the_same_content_runs_nothing_after_it(house: House) -> None:
    """A forced index is the same to the byte: everything that reads it sees that and stays as it is."""
    before = {path: path.stat().st_mtime_ns for path in files(house)}
    index = house.folder / "results/scenes/index/manifest.json"
    text = index.read_text()
    told = said(house, "-R", "index")
    assert "up to date, nothing to do" in told or "Job stats" in told
    assert index.read_text() == text
    after = {path: path.stat().st_mtime_ns for path in files(house)}
    assert after == before and house.plan() == set()


@pytest.mark.parametrize("how", [("-R", "classifier"), ("-f", f"{RUN}/classifiers/plain/manifest.json")])
def test_what_a_person_forces_is_made_anew(house: House, how: tuple[str, str]) -> None:
    file = house.folder / RUN / "classifiers/plain/model.safetensors"
    before = file.stat().st_ino
    first = manifest(house, "classifiers/plain")
    said(house, *how)
    assert file.stat().st_ino != before and manifest(house, "classifiers/plain") == first
    assert not (file.parent / ".again").exists() and house.plan() == set()


def test_what_rests_on_a_forced_result_looks_at_it_in_the_same_run(house: House) -> None:
    told = said(house, "-R", "classifier")
    assert "results/scenes/s0/cams/plain: up to date, nothing to do" in told, "it came out the same"
    work = house.folder / "stages" / "_house.py"
    work.write_text(work.read_text().replace('f"{name} {identity}\\n"', 'f"{name} {identity} on another GPU\\n"'))
    told = said(house, "-R", "classifier")
    assert "results/scenes/s0/cams/plain: up to date" not in told and house.plan() == set()
    assert "another GPU" in (house.folder / RUN / "cams/plain/shard-00000-of-00001.h5").read_text()


def test_a_dry_run_touches_nothing(house: House) -> None:
    before = {path: path.stat().st_mtime_ns for path in (house.folder / "results").rglob("*")}
    with_lr(house, 0.02)
    said(house, "-n")
    said(house, "-n", "-R", "classifier")
    assert {path: path.stat().st_mtime_ns for path in (house.folder / "results").rglob("*")} == before


def test_touch_changes_nothing_about_what_is_wanted(house: House) -> None:
    """Snakemake's own way to accept results rewrites times; there is one truth, and it is not times."""
    with_lr(house, 0.02)
    wanted = house.plan()
    said(house, "--touch")
    assert house.plan() == wanted != set()


def test_without_snakemakes_memory_exactly_the_cone_runs(house: House) -> None:
    shutil.rmtree(house.folder / ".snakemake")
    with_lr(house, 0.02)
    assert house.plan() == EVERYTHING - {"index scenes"}
    said(house)
    assert house.plan() == set()


def test_strict_makes_again_what_other_code_made(house: House) -> None:
    config = {**CONFIG, "code": "strict"}
    house.configure(config)
    assert house.plan() == set()
    house.edit("wsss/training/engine.py", "CHECKPOINT_SECONDS = 60.0", "CHECKPOINT_SECONDS = 61.0")
    assert house.plan() == set(), "the fake stages import no engine"
    house.edit("wsss/steps.py", '"""The steps', '"""The  steps')
    house.edit("stages/cams.py", "scattered=True", "scattered=bool(1)")
    assert house.plan() == {"cams plain", "scores cams plain", "summary scenes", "report scenes"}
    said(house)
    assert house.plan() == set()


def test_intermediates_go_when_all_that_reads_them_is_made(house: House) -> None:
    config = copy.deepcopy(CONFIG)
    config["cams"]["plain"]["keep"] = False
    house.configure(config)
    maps = house.folder / RUN / "cams/plain"
    assert list(maps.glob("*.h5")) and house.plan() == set()
    with_lr(house, 0.02)
    config["classifiers"]["plain"]["lr"] = 0.02
    house.configure(config)
    assert "1 intermediate results deleted" in said(house)
    assert not list(maps.glob("*.h5")) and (maps / "manifest.json").is_file()
    assert house.plan() == set(), "what follows from them is there"
    config["evaluation"] = {"calibration_images": 5}
    house.configure(config)
    assert house.plan() == {"cams plain", "scores cams plain", "summary scenes", "report scenes"}
    said(house)
    assert house.plan() == set() and not list(maps.glob("*.h5"))


def test_two_changes_with_what_stays_between_them(house: House) -> None:
    """The classifier comes back from where it is kept, its maps are what is wanted all along, and how they are scored
    has changed: Snakemake follows the arrows from the first to the last, although nothing happens in the middle."""
    shutil.copytree(house.folder, Path(str(house.folder) + "-before"))
    with_lr(house, 0.02)
    said(house)
    config = copy.deepcopy(CONFIG)
    for name in ("cams/plain", "scores/cams/plain", "scores/classifiers/plain"):  # as if lr made no difference to them
        shutil.rmtree(house.folder / RUN / name)
        shutil.copytree(Path(str(house.folder) + "-before") / RUN / name, house.folder / RUN / name)
    config["evaluation"] = {"calibration_images": 5}
    house.configure(config)
    assert house.plan() >= {"classifier plain", "scores cams plain", "summary scenes", "report scenes"}
    assert "cams plain" not in house.plan()
    said(house)
    assert house.plan() == set()
