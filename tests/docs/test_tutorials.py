"""The tutorials, word for word: every block of commands and of Python is run, in order, as it stands on the page."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from wsss.data.kinds.scene_drawing import GLYPHS
from wsss.data.kinds.scenes import scene
from wsss.settings import ScenesSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "tutorials"
EXECUTED = ("photos.md", "objective.md")
BLOCK = re.compile(r"^(<!-- not executed: [^\n]+ -->\n)?```(bash|python)\n(.*?)^```$", re.M | re.S)
pytestmark = pytest.mark.timeout(1800)  # a minute on a quiet machine


class Block(NamedTuple):
    line: int
    language: str
    text: str
    executed: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(text[: found.start()].count("\n") + 1, found[2], found[3], not found[1])
        for found in BLOCK.finditer(text)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, str]]:
    """The environment in which ``wsss`` and ``python`` are those of a checkout."""

    def environment(checkout: Path) -> dict[str, str]:
        programs = tmp_path_factory.mktemp("bin")
        for name, call in (("wsss", f'"{sys.executable}" -m wsss'), ("python", f'"{sys.executable}"')):
            (programs / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}

    return environment


def follow(page: str, folder: Path, environment: dict[str, str]) -> dict[int, str]:
    """Run a page's blocks in a folder; line of a block to what it printed."""
    said = {}
    for block in blocks(PAGES / page):
        if block.executed:
            shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
            done = subprocess.run([*shell, block.text], cwd=folder, env=environment, capture_output=True, text=True)
            said[block.line] = done.stdout + done.stderr
            assert done.returncode == 0, f"{page}, line {block.line}:\n{block.text}\n{said[block.line]}"
    return said


def test_every_block_is_run_or_says_why_not() -> None:
    pages = sorted(PAGES.glob("*.md"))
    assert {page.name for page in pages} >= {*EXECUTED, "cluster.md"}
    for page in pages:
        found = blocks(page)
        assert found, page
        fences = re.findall(r"^```(?:bash|sh|shell|console|python)\b", page.read_text("utf-8"), re.M)
        assert len(fences) == len(found), f"{page}: a block that this test does not see"
        if page.name not in EXECUTED:
            assert not any(block.executed for block in found), page


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, commands) -> tuple[Path, dict[int, str]]:
    """The first tutorial, followed with two dozen drawn photos."""
    folder = tmp_path_factory.mktemp("my photos")
    settings = ScenesSettings(size=64, classes=3, difficulty=0.0)
    (folder / "photos" / "farm").mkdir(parents=True)
    rows = ["id,labels"]
    for number in range(24):
        image, _, labels = scene(settings, "train", number)
        id = f"{'farm/' * (number % 2)}photo {number}"
        Image.fromarray(image).save(folder / "photos" / f"{id}.jpg", quality=95)
        rows.append(f"{id},{';'.join(list(GLYPHS)[c] for c in labels)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")
    return folder, follow("photos.md", folder, commands(ROOT))


def test_photos(photos: tuple[Path, dict[int, str]]) -> None:
    folder, said = photos
    text = "".join(said.values())
    assert "All in order" in text and "24 masks in new-masks/masks" in text and "Traceback" not in text
    base = folder / "results" / "photos"
    pseudo, new = base / "s0/masks/mixed/masks", folder / "new-masks/masks"
    for masks in (pseudo, new):
        assert len(list(masks.rglob("*.png"))) == 24
        with Image.open(masks / "farm/photo 1.png") as image:
            assert image.mode == "P" and image.size == (64, 64) and set(np.unique(np.array(image))) <= {0, 1, 2, 3}
    assert any(np.array(Image.open(path)).any() for path in pseudo.rglob("*.png"))
    assert "mixed" in (base / "summary.md").read_text() and list((base / "panels").glob("*.png"))
    assert "mixed" in (base / "report.html").read_text()
    assert len(json.loads((folder / "new-masks/coco.json").read_text())["images"]) == 24


def test_photos_says_what_the_page_says(photos: tuple[Path, dict[int, str]]) -> None:
    """Names on the page are those that ``init`` chooses, and the last block plans the whole chain."""
    folder, said = photos
    first, *_, last = said.values()
    assert "wsss predict results/photos/s0/segmenters/mixed FOLDER" in first
    assert "salient" in (folder / "config.yaml").read_text() and "segmenter" in last


def test_objective(tmp_path: Path, commands) -> None:
    """In a copy of the checkout, which it adds files to."""
    checkout = tmp_path / "checkout"
    wanted = ("wsss", "stages", "workflow", "native", "tests", "envs", "Snakefile", "config.yaml", "pyproject.toml")
    checkout.mkdir()
    for name in wanted:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    for built in ROOT.glob("*.so"):
        shutil.copy(built, checkout)
    text = "".join(follow("objective.md", checkout, commands(checkout)).values())
    assert "2 passed" in text and "quiet.yaml: well-formed" in text
    run = checkout / "results/scenes/s0"
    assert json.loads((run / "cams/quiet/manifest.json").read_text())["images"] == 20
    steps = [json.loads(line) for line in (run / "classifiers/quiet/metrics.jsonl").read_text().splitlines()]
    assert {"loss", "whole", "noise"} <= set(steps[-1]) and steps[-1]["noise"] >= 0
    about = json.loads((run / "classifiers/quiet/manifest.json").read_text())
    assert about["settings"]["objective"] == "quiet"
    # its own two files count by content: the edit made classifier and maps anew, and the old ones are kept
    assert {"objective quiet", "settings of quiet"} <= {
        key for key, was in about["declared"].items() if len(str(was)) == 16
    }
    assert "2 finished results" in text and "because of: version of objective quiet: was" in text
    (kept,) = (run / "classifiers/.kept").iterdir()
    before = json.loads((kept / "manifest.json").read_text())
    assert before["declared"] | {"objective quiet": ""} == about["declared"] | {"objective quiet": ""}
    assert before["content"] != about["content"] and (kept / "model.safetensors").is_file()


def test_the_notebook(tmp_path: Path, commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, and gives outputs of the kinds on record; the last says what the corrections changed."""
    spec = importlib.util.spec_from_file_location("notebook_runner", ROOT / "docs" / "notebook.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    for name, value in commands(ROOT).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    recorded = runner.read(PAGES / "notebook.ipynb")
    found = runner.executed(recorded)

    def kinds(notebook: dict) -> list[list[list[str]]]:
        outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return [[sorted(one.get("data", {one["output_type"]: 0})) for one in each] for each in outputs]

    assert kinds(found) == kinds(recorded) and ["image/png", "text/plain"] in kinds(found)[0]
    last = "".join(found["cells"][-1]["outputs"][0]["text"])
    assert "pseudo-labels mixed: corrected null → corrections" in last and "network mixed" in last
