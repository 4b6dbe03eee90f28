"""``docs/where.md`` describes every folder of the library, in the order of imports, and names what exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "where.md").read_text("utf-8")


def test_every_folder_has_its_paragraph() -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("wsss/*/__init__.py")}
    assert set(re.findall(r"^\*\*`(wsss/\w+)`\*\*", PAGE, re.M)) == folders


def test_folders_stand_in_the_order_of_imports() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = next(one["layers"] for one in linter["contracts"] if one["type"] == "layers")
    floor = {name: number for number, layer in enumerate(layers) for name in layer.split(" | ")}
    order = [floor[name] for name in re.findall(r"^\*\*`wsss/(\w+)`\*\*", PAGE, re.M)]
    assert order == sorted(order)


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:wsss|stages|workflow|tests|benchmarks|native|config|envs|docs|tools)/[\w./]*)`", PAGE)
    assert len(paths) > 60 and not [path for path in paths if not (ROOT / path).exists()]
