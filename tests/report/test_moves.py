"""Which scores moved between two results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsss.cli import main
from wsss.errors import WsssError
from wsss.report.moves import moved, moves, scores_about
from wsss.report.provenance import Scored
from wsss.store.artefact import load


def scored_as(name: str, kind: str = "cams", classes: str = "abcdefg", **policies: dict[str, Any]) -> Scored:
    content = {"classes": list(classes), "splits": {"val": {"policies": policies}}}
    return Scored(Path(name), kind, name, 0, content, Path(name))


def figures(miou: float | None, threshold: float, images: int = 9, **ious: float | None) -> dict[str, Any]:
    per_class = {name: {"iou": value} for name, value in ious.items()}
    return {"miou": miou, "threshold": threshold, "images": images, "per_class": per_class}


def test_figures_and_the_largest_moves_by_hand() -> None:
    a = scored_as("a", fixed=figures(0.9, 0.1), calibrated=figures(
        0.5, 0.25, a=0.1, b=0.2, c=0.3, d=0.4, e=0.5, f=0.6, g=0.7, background=None))  # fmt: skip
    b = scored_as("b", calibrated=figures(
        0.467, 0.3, images=8, a=0.1004, b=0.1, c=0.32, d=0.45, e=0.47, f=0.61, g=0.704, background=0.9))  # fmt: skip
    assert list(moves(a, b)) == [
        "",
        "scores on validation images: a | b",
        "  mIoU: 50.0 | 46.7 (−3.3)",
        "  threshold: 0.25 (calibrated) | 0.3 (calibrated)",
        "  images: 9 | 8",
        "  IoU of b: 20.0 | 10.0 (−10.0)",
        "  IoU of d: 40.0 | 45.0 (+5.0)",
        "  IoU of e: 50.0 | 47.0 (−3.0)",
        "  IoU of c: 30.0 | 32.0 (+2.0)",
        "  IoU of f: 60.0 | 61.0 (+1.0)",
        "  (1 more class moved less)",
    ]
    assert list(moves(a, a))[2:] == ["  mIoU: 50.0 | 50.0 (same)"]
    assert list(moves(scored_as("c", oracle=figures(1, 0)), a)) == []  # an oracle's score is never compared
    assert list(moves(a, scored_as("d", classes="ab"))) == [
        "",
        "scores: not compared, for they are of other classes",
    ]


@pytest.fixture
def copy(scored: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run in the working directory, with a summary."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(scored.base, tmp_path / "results", symlinks=True)
    manifest = {"stage": "summary", "inputs": {}, "settings": {}, "seed": 0}
    (tmp_path / "results" / "manifest.json").write_text(json.dumps(manifest))
    for path in (tmp_path / "results").glob("s*/scores/*/*/manifest.json"):
        read = json.loads(path.read_text("utf-8"))["inputs"]["artefact"]
        known = {"content": read["content"], "identity": read["content"]}
        edit(path.parent / read["path"] / "manifest.json", lambda about, known=known: about.update(known))
    return tmp_path / "results"


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_scores_are_found_from_all_that_they_are_about(copy: Path) -> None:
    run = copy / "s0"
    for of, scores in (
        ("classifiers/plain", "classifiers/plain"), ("cams/plain", "cams/plain"), ("masks/plain", "masks/plain"),
        ("segmenters/net", "segmenters/net"), ("predictions/net", "segmenters/net"), ("scores/cams/plain",) * 2,
    ):  # fmt: skip
        found = scores_about(load(run / of))
        assert found is not None and found.folder == run / "scores" / scores.removeprefix("scores/")
    shutil.rmtree(run / "scores" / "masks")
    assert scores_about(load(run / "masks/plain")) is None
    edit(run / "cams/plain/manifest.json", lambda about: about.update(content="new"))
    with pytest.raises(WsssError, match="results/s0/scores/cams/plain is of an earlier result"):
        scores_about(load(run / "cams/plain"))
    masks, cams, others = (load(copy / path) for path in ("s0/masks/plain", "s0/cams/plain", "s3/masks/plain"))
    assert moved(masks, others) == ["", "scores of results/s0/masks/plain: none"]
    assert moved(masks, masks) == []
    assert moved(cams, masks)[1].startswith("scores of results/s0/cams/plain: not compared: results/s0/scores/cams")


def test_the_command_tells_moves_of_two_results_and_of_two_runs(copy: Path, capsys) -> None:
    values = [
        json.loads((copy / f"s{seed}/scores/masks/plain/scores.json").read_text("utf-8"))["splits"] for seed in (0, 3)
    ]
    assert main(["diff", "results/s0/masks/plain", "results/s3/masks/plain"]) == 1
    said = capsys.readouterr().out
    for split, words in (("train", "training"), ("val", "validation")):
        one, other = (100 * value[split]["policies"][""]["miou"] for value in values)
        assert (
            f"scores on {words} images: results/s0/scores/masks/plain | results/s3/scores/masks/plain\n"
            f"  mIoU: {one:.1f} | {other:.1f} (−{one - other:.1f})\n" in said
        )
    assert said.index("validation") < said.index("training images") and said.count("  IoU of ") == 8

    shutil.copytree(copy, copy.parent / "now", symlinks=True)
    assert main(["diff", "results", "now"]) == 0
    assert "scores: 5 results, none moved" in capsys.readouterr().out

    def lower(scores) -> None:
        scores["splits"]["val"]["policies"][""]["miou"] -= 0.1

    for seed in (0, 3):
        edit(copy.parent / f"now/s{seed}/scores/segmenters/net/scores.json", lower)
    assert main(["diff", "results", "now"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("  network")]
    assert row[:2] == ["network", "net"] and row[-1] == "−10.0"
    assert not any("pseudo-labels" in line for line in lines)
