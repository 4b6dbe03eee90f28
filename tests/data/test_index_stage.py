"""The index program, and the index of real photos."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsss.data.images import read_image, read_mask
from wsss.settings import FolderSettings
from wsss.stages.index import build_index

ROOT = Path(__file__).resolve().parents[2]
ANIMALS = ROOT.parent / "shared" / "data" / "animals"


def run(*arguments, folder):
    command = [sys.executable, str(ROOT / "stages" / "index.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_program(tmp_path):
    settings = json.dumps({"kind": "scenes", "train": 6, "val": 2, "size": 48, "classes": 2})
    done = run("--dataset", "tiny", "--settings", settings, "--out", "index", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tiny: 6 training and 2 validation images, 2 classes" in done.stderr
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert manifest["images"] == {"train": 6, "val": 2} and manifest["dropped"] == 0
    with open(tmp_path / "index" / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 2


def test_program_says_what_is_wrong(photos):
    photos.build()
    photos.image("p0").unlink()
    photos.image("p1").write_bytes(b"no")
    names = {"images": "images", "labels": "tags.csv", "masks": "masks", "train": "train.txt", "val": "val.txt"}
    settings = json.dumps({"kind": "folder", **names})
    done = run("--dataset", "mine", "--settings", settings, "--out", "index", folder=photos.root)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "datasets.mine: 2 problems" in done.stderr and "images/p1.png" in done.stderr
    assert not (photos.root / "index" / "manifest.json").exists()


@pytest.mark.skipif(not ANIMALS.is_dir(), reason="the real photos are not beside the checkout (shared/data/animals)")
def test_animals(tmp_path):
    paths = {"images": "images", "labels": "labels.csv", "masks": "masks", "classes": "classes.txt"}
    lists = {"train": "train-small.txt", "val": "val-small.txt"}
    settings = FolderSettings(**{key: str(ANIMALS / name) for key, name in {**paths, **lists}.items()})
    index = build_index(settings, "animals", tmp_path, 2)
    assert index.classes == ("cat", "cow", "dog", "horse", "sheep", "person")
    assert (len(index.split("train")), len(index.scored("val"))) == (240, 120)
    for item in index.items[::40]:
        assert read_image(item.image).shape == (item.height, item.width, 3)
        assert read_mask(item.mask).shape == (item.height, item.width)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problems"] == [] and report["label_noise"]["tag_without_pixel"]
    assert report["notes"][0].startswith("1265 images of")
