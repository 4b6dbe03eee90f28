"""The whole chain on a few images: every rule really runs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(1600)  # every stage runs once: minutes alone, more beside other work


def snakemake(folder: Path, config: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--configfile", str(config)]
    return subprocess.run([*command, "--cores", "2", *args], cwd=folder, capture_output=True, text=True, timeout=1500)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny run")  # a space in the path: every command has to quote it
    done = snakemake(folder, ROOT / "tests" / "tiny.yaml", "all", "explain", "beyond")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_artefact_is_there(run: Path) -> None:
    scenes = run / "results" / "scenes"
    base = scenes / "s0"
    for folder in (
        "classifiers/vanilla",
        "classifiers/p-noc",
        "classifiers/linear",
        "cams/p-noc",
        "cams/walk",
        "cams/alike",
        "cams/both",
        "saliency/c2am-h",
        "saliency-maps/c2am-h",
        "saliency-masks/c2am-h",
        "affinity-labels/p-noc",
        "affinity/p-noc",
        "masks/p-noc",
        "masks/walk",
        "masks/voted",
        "masks/best",
        "masks/again",
        "segmenters/p-noc",
        "segmenters/again",
        "segmenters/taught",
        "segmenters/early",
        "segmenters/pair",
        "predictions/p-noc",
        "explanations/minmax",
        "segmenters/step-1",
        "memories/salient",
        "audits/box",
        "searches/small",
        "segmenters/found",
        "scores/cams/p-noc",
        "scores/saliency/c2am-h",
        "scores/saliency-masks/c2am-h",
        "scores/segmenters/p-noc",
    ):
        manifest, run = (json.loads((base / folder / name).read_text()) for name in ("manifest.json", "run.json"))
        assert {"identity", "declared", "settings", "seed", "inputs", "outputs", "content"} <= set(manifest), folder
        assert {"versions", "device", "wall_seconds", "code", "host"} <= set(run), folder
        assert not set(manifest) & set(run), folder
    assert len(list((base / "masks/p-noc/masks").glob("*.png"))) == 32
    assert len(list((base / "masks/best/masks").glob("*.png"))) == 32
    assert len(list((base / "masks/again/masks").glob("*.png"))) == 24
    assert len(list((base / "predictions/p-noc/masks").glob("*.png"))) == 8
    with Image.open(next((base / "masks/p-noc/masks").glob("*.png"))) as mask:
        assert mask.mode == "P"
    assert list((scenes / "panels").glob("*.png"))
    assert "p-noc" in (scenes / "summary.md").read_text()
    assert "minmax-cam" in (scenes / "explanations" / "explanations.md").read_text()
    assert "seg-grad-cam" in (scenes / "audits" / "audits.md").read_text()
    assert "After step-0: " in (scenes / "continual" / "continual.md").read_text()
    assert "**No verdict**" in (scenes / "searches" / "searches.md").read_text()
    page = (scenes / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "p-noc" in page and page.count("<img ") >= 20


def test_summary_has_its_columns_and_every_stage(run: Path) -> None:
    with open(run / "results" / "scenes" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["dataset", "seed", "kind", "recipe", "split", "policy", "metric", "value", "images"]
    assert {row["kind"] for row in rows} == {
        *("classifiers", "cams", "saliency", "saliency-masks", "masks", "segmenters"),
    }
    fractions = [float(row["value"]) for row in rows if row["metric"] in ("miou", "map", "f1")]
    assert fractions and all(0 <= value <= 1 for value in fractions)


def test_second_run_has_nothing_to_do(run: Path) -> None:
    done = snakemake(run, ROOT / "tests" / "tiny.yaml", "all", "explain", "beyond")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_what_is_wrong_with_the_users_files_is_shown(tmp_path: Path) -> None:
    """Every problem reaches the terminal, not only a log."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no image")
    (tmp_path / "tags.csv").write_text("id,labels\na,cat\nb,dog\nc,cat\n")
    config = tmp_path / "mine.yaml"
    photos = {"kind": "folder", "images": "photos", "labels": "tags.csv"}
    config.write_text(yaml.safe_dump({"dataset": "photos", "datasets": {"photos": photos}}))
    done = snakemake(tmp_path, config)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "b.jpg" in said
    assert "c" in said
    assert "Traceback" not in said
    assert not (tmp_path / "results" / "photos" / "index" / "manifest.json").exists()
