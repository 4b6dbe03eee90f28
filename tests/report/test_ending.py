"""The lines at the end of a run, from scores written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wsss.data.index import Item, write_index
from wsss.report.ending import ending, main
from wsss.store.manifest import write_manifest
from wsss.system.files import write_rows

ROOT = Path(__file__).resolve().parents[2]


class Results:
    """A dataset's folder of results with a summary, a report and some scores."""

    def __init__(self, base: Path) -> None:
        self.base = base
        items = [Item(id, "val", Path(f"photos/{id}.jpg"), None, 4, 4, (0,), False) for id in ("farm/good", "bad")]
        write_index(base / "index", ("cat", "dog"), items)
        (base / "index" / "report.json").write_text(json.dumps({"dataset": "photos"}))
        write_manifest(base / "index", {"stage": "index", "settings": {}, "inputs": {}})
        self.inputs: dict[str, Any] = {"index": {"path": "index", "content": "0"}}

    def add(self, kind: str, name: str, value: float | None, made: str = "", seed: int = 0) -> None:
        place = {"segmenters": "predictions"}.get(kind, kind)
        folder = self.base / f"s{seed}" / place / name
        folder.mkdir(parents=True)
        inputs = {"given": {"path": f"../../{made}", "content": "0"}} if made else {}
        write_manifest(folder, {"stage": place, "settings": {}, "seed": seed, "inputs": inputs})
        scores = self.base / f"s{seed}/scores/{kind}/{name}"
        scores.mkdir(parents=True)
        metric = "map" if kind == "classifiers" else "miou"
        policies = {"": {metric: value}} if value is not None else {}
        content = {"kind": kind, "recipe": name, "classes": ["cat", "dog"],
                   "splits": {"val": {"images": 12, "policies": policies}}}  # fmt: skip
        (scores / "scores.json").write_text(json.dumps(content))
        artefact = {"path": f"../../../{place}/{name}", "content": "0"}
        write_manifest(scores, {"stage": "scores", "settings": {}, "seed": seed, "inputs": {"artefact": artefact}})
        self.inputs[f"scores s{seed}/{kind}/{name}"] = {
            "path": scores.relative_to(self.base).as_posix(),
            "content": "0",
        }

    def finish(self, *pictures: tuple[str, str, str, str, str, float]) -> None:
        (self.base / "report").mkdir()
        columns = ("class", "rank", "id", "split", "ordered_by", "figure")
        write_rows(self.base / "report" / "pictures.csv", columns, pictures)
        (self.base / "report.html").write_text("")
        write_manifest(self.base, {"stage": "summary", "settings": {}, "inputs": self.inputs})

    def lines(self) -> list[str]:
        return list(ending(self.base))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.chdir(tmp_path)
    return Results(Path("results/photos"))


def test_three_numbers_two_photos_and_where_to_look(results: Results) -> None:
    results.add("classifiers", "vanilla", 0.912)
    results.add("masks", "walk", 0.53, made="classifiers/vanilla")
    results.add("masks", "other", 0.6)
    results.add("segmenters", "walk", 0.525, made="masks/walk")
    results.add("segmenters", "worse", 0.4)
    mask = results.base / "s0/predictions/walk/masks/farm/good.png"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"")
    results.finish(
        ("cat", "best", "farm/good", "val", "iou", 0.9),
        ("dog", "worst", "bad", "val", "iou", 0.1),
        ("dog", "median", "bad", "val", "iou", 0.5),
    )
    assert results.lines() == [
        "  network        mIoU 52.5 % (walk, 12 validation photos)",
        "  pseudo-labels  mIoU 53.0 % (walk, 12 validation photos)",
        "  tags           mAP 91.2 % (vanilla, 12 validation photos)",
        "  best photo     photos/farm/good.jpg (cat 90 % IoU), mask",
        "                 results/photos/s0/predictions/walk/masks/farm/good.png",
        "  worst photo    photos/bad.jpg (dog 10 % IoU)",
        "  report         results/photos/report.html",
        "  other photos   wsss predict results/photos/s0/segmenters/walk PHOTOS --out masks",
    ]


def test_seeds(results: Results) -> None:
    for seed, value in ((0, 0.5), (1, 0.6)):
        results.add("masks", "walk", value, seed=seed)
    results.finish()
    assert results.lines()[0] == "  pseudo-labels  mIoU 55.0 % (walk, 12 validation photos, mean of 2 seeds)"
    assert not any("predict" in line for line in results.lines()), "there is no network"


def test_without_ground_truth(results: Results) -> None:
    results.add("classifiers", "vanilla", 0.8)
    results.add("segmenters", "walk", None, made="classifiers/vanilla")
    results.finish(("cat", "surest", "bad", "val", "probability", 0.9))
    said = "\n".join(results.lines())
    assert "walk; no ground-truth masks to measure it by" in said and "mAP 80.0 %" in said and "best photo" not in said


def test_classifiers_alone(results: Results) -> None:
    results.add("classifiers", "vanilla", 0.8)
    results.add("classifiers", "better", 0.9)
    results.finish()
    assert results.lines() == [
        "  tags    mAP 90.0 % (better, 12 validation photos)",
        "  report  results/photos/report.html",
    ]


def test_what_cannot_be_told_is_no_failure(results: Results, capsys) -> None:
    assert main(["results/nowhere"]) == 0
    assert "results/nowhere" in capsys.readouterr().out
    results.finish()
    assert results.lines() == []


def test_as_a_program(results: Results) -> None:
    results.add("masks", "walk", 0.5)
    results.finish()
    code = "import sys, wsss.report.ending as e\ne.main(['results/photos'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert "mIoU 50.0 %" in done.stdout and done.stdout.endswith("False\n"), done.stderr


def test_a_classifier_below_the_linear_layer_is_said(results: Results) -> None:
    results.add("classifiers", "probe", 0.912)
    results.add("classifiers", "mine", 0.466)
    for name, objective in (("probe", "linear"), ("mine", "vanilla")):
        folder = results.base / "s0" / "classifiers" / name
        write_manifest(folder, {"stage": "classifier", "settings": {"objective": objective}, "seed": 0, "inputs": {}})
    results.add("masks", "mine", 0.113, "classifiers/mine")
    results.finish()
    said = " ".join(" ".join(results.lines()).split())
    assert (
        "poor training The trained classifier mine has mAP 46.6 %, a linear layer on a frozen backbone (probe) 91.2 %"
        in said
    )
