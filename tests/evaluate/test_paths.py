"""Whole paths at the same final form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.test_effects import Run, at
from wsss.report.effects import Effect
from wsss.report.paths import paths


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    run.maps("plain", 0.4)
    run.maps("walk", 0.5, "cams/plain", source="walk")
    run.masks("plain", 0.6, "cams/plain", facts=at(0.3), crf={"iterations": 10})
    run.masks("raw", 0.55, "cams/plain", facts=at(0.3), crf=None)
    run.masks("walk", 0.52, "cams/walk", facts=at(0.3), crf={"iterations": 1})
    for name, masks, value, settings in (
        ("plain", "plain", 0.58, {}), ("walk", "walk", 0.54, {}), ("bound", "plain", 0.8, {"supervision": "masks"}),
    ):  # fmt: skip
        run.add(f"segmenters/{name}", [f"masks/{masks}"], settings)
        run.add(f"predictions/{name}", [f"segmenters/{name}"])
        run.score("segmenters", f"predictions/{name}", val={"policies": {"": {"miou": value}}})
    return run


def said(found: list[Effect]) -> list[tuple[str, str, str, float, str]]:
    return [(e.after[0], e.before[1], e.after[1], round(e.difference, 3), e.verdict) for e in found]


def test_a_path_stands_beside_the_best_shorter_one_of_its_kind(run: Run) -> None:
    """The walk helps the maps it is applied to, and yet its masks are worse than those made without it."""
    assert said(paths(run.scored)) == [
        ("masks", "plain", "walk", -0.08, "hurts"),
        ("segmenters", "plain", "walk", -0.04, "hurts"),
    ]


def test_networks_that_learnt_from_ground_truth_and_masks_with_gaps_take_no_part(run: Run) -> None:
    run.masks("gaps", 0.9, "cams/plain", facts=at(0.3), more={"unlabelled": 0.1}, crf=None)
    run.masks("longer", 0.62, "masks/plain", facts=at(0.3), crf=None)
    assert ("masks", "plain", "longer", 0.02, "helps") in said(paths(run.scored))
    assert not [row for row in said(paths(run.scored)) if "bound" in row or "gaps" in row]
