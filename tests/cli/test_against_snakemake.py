"""What ``wsss plan`` finds to do is what Snakemake would run."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from house import House
from made import CONFIG, ROOT

RULES = {"segmenters": "segmenter", "classifiers": "classifier"}


def planned(house: House) -> set[str]:
    """The jobs that ``wsss plan --jobs`` lists, as ``House.plan`` names them."""
    command = [sys.executable, "-m", "wsss", "plan", "--jobs"]
    done = subprocess.run(command, cwd=house.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    jobs = set()
    for folder in re.findall(r"^  results/(\S+): ", done.stdout, re.M):
        parts = folder.split("/")
        if len(parts) < 3:
            jobs.add(f"{(parts[1:] or ['summary'])[0]} {parts[0]}")
        else:
            jobs.add(" ".join(RULES.get(part, part) if n == 0 else part for n, part in enumerate(parts[2:])))
    return jobs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House.build(tmp_path_factory.mktemp("cli") / "house", CONFIG)
    shutil.copy(Path(__file__).with_name("idle_house.py"), house.folder / "stages" / "_house.py")
    everything = planned(house)
    assert len(everything) == 16
    house.snakemake()
    return house


def setting(*path: str, value: object) -> Callable[[House], None]:
    def change(house: House) -> None:
        config = copy.deepcopy(CONFIG)
        block = config
        for key in path[:-1]:
            block = block.setdefault(key, {})
        block[path[-1]] = value
        house.configure(config)

    return change


def code(path: str) -> Callable[[House], None]:
    return lambda house: house.edit(path, "from __future__ import annotations\n", "\nprint()\n")


def deleted(house: House) -> None:
    shutil.rmtree(house.folder / "results/scenes/s0/masks/p-noc")


def deleted_and_needed(house: House) -> None:
    deleted(house)
    setting("segmenters", "p-noc", "predict", value={"flip": False})(house)
    (house.folder / "results/scenes/s0/segmenters/p-noc/model.safetensors").unlink()


CASES: dict[str, tuple[Callable[[House], None], int]] = {
    "nothing": (lambda house: None, 0),
    "a setting": (setting("classifiers", "p-noc", "tiles", value=4), 11),
    "over how many jobs work is spread": (setting("cams", "p-noc", "shards", value=3), 0),
    "code of an objective": (code("wsss/objectives/p_noc.py"), 11),
    "an artefact deleted": (deleted, 0),
    "an artefact deleted that is needed": (deleted_and_needed, 7),
}


@pytest.mark.parametrize("case", CASES)
def test_plans_agree(case: str, finished: House, tmp_path: Path) -> None:
    change, count = CASES[case]
    house = finished.copy(tmp_path / "copy")
    change(house)
    jobs = planned(house)
    assert jobs == house.plan()
    assert len(jobs) == count


def test_installed_as_a_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["wsss"].partition(":")
    assert callable(getattr(import_module(module), name))
