"""What each step brought: which results are compared, at which threshold, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsss.report.effects import Effect, effects, effects_table, harm, missed, signed
from wsss.report.provenance import Scored, supervision
from wsss.report.tables import scores_table
from wsss.store.manifest import write_manifest

CURVE = {"threshold": [0.1, 0.3, 0.6], "miou": [0.20, 0.40, 0.35]}


class Run:
    """Results with their scores, one seed."""

    def __init__(self, base: Path, seed: int = 0) -> None:
        self.base, self.seed, self.scored = base / f"s{seed}", seed, []

    def add(self, place: str, inputs: list[str], settings: dict[str, Any] | None = None, **facts: Any) -> None:
        """An artefact that nobody scored."""
        given = {f"input{n}": {"path": f"../../{one}", "digest": ""} for n, one in enumerate(inputs)}
        if place.startswith("predictions"):
            given = {"segmenter": given["input0"]}
        folder = self.base / place
        folder.mkdir(parents=True)
        write_manifest(folder, {"settings": settings or {}, "seed": self.seed, "inputs": given, **facts})

    def score(self, kind: str, place: str, **splits: dict[str, Any]) -> None:
        name, folder = place.split("/")[1], self.base / place
        content = {"kind": kind, "recipe": name, "splits": splits}
        self.scored.append(Scored(self.base / "scores" / kind / name, kind, name, self.seed, content, folder))

    def maps(self, name: str, value: float, *inputs: str, policy: str = "calibrated", **settings: Any) -> None:
        self.add(f"cams/{name}", list(inputs), settings)
        split = {"policies": {policy: {"miou": value}}, "curve": CURVE}
        self.score("cams", f"cams/{name}", train=split, val=split)

    def masks(self, name: str, value: float, *inputs: str, facts: dict[str, Any], more: Any = None, **settings: Any):
        self.add(f"masks/{name}", list(inputs), settings, **facts)
        split = {"policies": {"": {"miou": value, **(more or {})}}}
        self.score("masks", f"masks/{name}", val=split)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def at(value: float) -> dict[str, Any]:
    return {"threshold": {"value": value, "policy": "fixed"}}


def said(found: list[Effect]) -> list[tuple[Any, ...]]:
    return [(e.step, e.before[1], e.after[1], e.split, *(round(v, 3) for v in e.values[0]), e.verdict) for e in found]


def test_masks_stand_beside_the_maps_at_their_threshold(run: Run) -> None:
    run.maps("plain", 0.41)
    run.masks("crf", 0.45, "cams/plain", facts=at(0.3), crf={"iterations": 10})
    run.masks("high", 0.34, "cams/plain", facts=at(0.6), crf={"iterations": 10})
    run.masks("raw", 0.402, "cams/plain", facts=at(0.3), crf=None)
    run.masks("other", 0.5, "cams/plain", facts=at(0.25), crf=None)  # not on the curve
    run.masks("each", 0.5, "cams/plain", facts={"threshold": {"value": 0.3, "per_class": {"cat": 0.2}}})
    run.masks("salient", 0.5, "cams/plain", "masks/raw", facts={}, saliency="x", crf={"iterations": 10})
    of_saliency = {"threshold": {"policy": "saliency above", "value": 0.3}}  # no place on the curve of the maps
    run.masks("alone", 0.5, "cams/plain", "masks/raw", facts=of_saliency, saliency="x", crf={"iterations": 10})
    assert said(effects(run.scored)) == [
        ("dense CRF", "plain", "crf", "val", 0.4, 0.45, "helps"),
        ("dense CRF", "plain", "high", "val", 0.35, 0.34, "hurts"),
        ("threshold", "plain", "raw", "val", 0.4, 0.402, "no clear difference"),
        ("threshold", "plain", "other", "val", 0.41, 0.5, "helps"),
        ("threshold", "plain", "each", "val", 0.41, 0.5, "helps"),
        ("saliency and dense CRF", "plain", "salient", "val", 0.41, 0.5, "helps"),
        ("saliency and dense CRF", "plain", "alone", "val", 0.41, 0.5, "helps"),
    ]


def test_masks_with_a_threshold_of_each_map_stand_beside_the_calibrated_one(run: Run) -> None:
    """There is no one place on the curve, so the step is the threshold, too."""
    run.maps("plain", 0.41)
    facts = {"threshold": {"policy": "otsu", "mean": 0.3, "maps": 7}}
    run.masks("raw", 0.42, "cams/plain", facts=facts, crf=None)
    run.masks("crf", 0.45, "cams/plain", facts=facts, crf={"iterations": 10})
    assert said(effects(run.scored)) == [
        ("Otsu per map", "plain", "raw", "val", 0.41, 0.42, "helps"),
        ("Otsu per map and dense CRF", "plain", "crf", "val", 0.41, 0.45, "helps"),
    ]
    assert missed(run.scored, [one.artefact for one in run.scored]) == []  # nothing was fixed beforehand


def test_saliency_masks_with_otsus_threshold_stand_beside_the_calibrated_one(run: Run) -> None:
    run.add("saliency-maps/net", [])
    run.score("saliency", "saliency-maps/net", val={"policies": {"calibrated": {"miou": 0.7}}, "curve": CURVE})
    run.add("saliency-masks/net", ["saliency-maps/net"], {"threshold": "otsu"}, threshold={"policy": "otsu"})
    run.score("saliency-masks", "saliency-masks/net", val={"policies": {"": {"miou": 0.3}}})
    assert said(effects(run.scored)) == [("Otsu per map", "net", "net", "val", 0.7, 0.3, "hurts")]


def test_the_table_says_that_each_map_has_its_threshold(run: Run) -> None:
    facts = {"policy": "otsu", "images": 5, "maps": 7, "mean": 0.312, "std": 0.1}
    run.masks("otsu", 0.42, facts={"threshold": facts}, more={"images": 9}, cams="plain", crf=None)
    bare = {"threshold": {"policy": "otsu", "images": 0, "maps": 0}}
    run.masks("bare", 0.42, facts=bare, more={"images": 9}, cams="plain", crf=None)
    table = scores_table("masks", run.scored)
    place = table.heads.index("threshold chosen")
    assert {row[0]: row[place] for row in table.rows} == {"otsu": "Otsu per map, mean 0.31", "bare": "Otsu per map"}
    (folder,) = (one.artefact for one in run.scored if one.recipe == "otsu")
    assert not any("mask" in each for each in supervision(folder))


def test_masks_that_leave_pixels_out_are_not_compared(run: Run) -> None:
    run.maps("plain", 0.41)
    run.masks("band", 0.3, "cams/plain", facts={"threshold": {"foreground": 0.5}}, more={"unlabelled": 0.2})
    assert effects(run.scored) == []


def test_walks_ensembles_and_votes(run: Run) -> None:
    """Maps are compared only at calibrated thresholds: those of a walk are in another unit than those of a network."""
    run.maps("plain", 0.41)
    run.maps("better", 0.44)
    run.maps("walk", 0.38, "cams/plain", source="walk")
    run.maps("both", 0.46, "cams/plain", "cams/better", source="ensemble")
    run.maps("fixed", 0.30, "cams/plain", source="walk", policy="fixed")
    for name, value in (("a", 0.5), ("b", 0.52)):
        run.masks(name, value, facts={})
    run.masks("vote", 0.51, "masks/a", "masks/b", facts={}, source="vote")
    assert [row for row in said(effects(run.scored)) if row[3] == "val"] == [
        ("random walk", "plain", "walk", "val", 0.41, 0.38, "hurts"),
        ("ensemble", "better", "both", "val", 0.44, 0.46, "helps"),
        ("vote", "b", "vote", "val", 0.52, 0.51, "hurts"),
    ]
    run.masks("again", 0.55, "segmenters/net", "masks/vote", facts={}, source="segmenter")
    run.masks("best", 0.51, "masks/vote", "masks/b", facts={}, source="choice")
    assert said(effects(run.scored))[-1] == ("choice", "b", "best", "val", 0.52, 0.51, "hurts")
    assert said(effects(run.scored))[-2] == ("self-training", "vote", "again", "val", 0.51, 0.55, "helps")
    assert [e.split for e in effects(run.scored) if e.after[1] == "walk"] == ["val", "train"]


def test_saliency_masks_stand_beside_their_maps_at_their_threshold(run: Run) -> None:
    run.add("saliency-maps/net", [])
    run.score("saliency", "saliency-maps/net", val={"policies": {"calibrated": {"miou": 0.7}}, "curve": CURVE})
    run.add("saliency-masks/net", ["saliency-maps/net"], {"threshold": 0.1, "crf": {"iterations": 10}})
    run.score("saliency-masks", "saliency-masks/net", val={"policies": {"": {"miou": 0.3}}})
    assert said(effects(run.scored)) == [("dense CRF", "net", "net", "val", 0.2, 0.3, "helps")]


def test_a_network_is_beside_the_masks_it_learnt_from_without_a_verdict(run: Run) -> None:
    run.masks("good", 0.6, facts={})
    run.add("segmenters/net", ["masks/good"], {"masks": "good"})
    run.add("predictions/net", ["segmenters/net"])
    run.score("segmenters", "predictions/net", val={"policies": {"": {"miou": 0.5}}})
    (effect,) = effects(run.scored)
    assert (effect.step, effect.before, effect.after) == (
        "training a network",
        ("masks", "good"),
        ("segmenters", "net"),
    )
    assert effect.verdict == "not comparable: no tags"
    assert harm(run.scored, [run.base / "predictions/net"]) == []


def test_seeds_must_agree(tmp_path: Path) -> None:
    scored = []
    for seed, better, mixed in ((0, 0.43, 0.5), (1, 0.42, 0.39)):
        run = Run(tmp_path, seed)
        run.maps("plain", 0.41)
        run.masks("better", better, "cams/plain", facts=at(0.3), crf={})
        run.masks("mixed", mixed, "cams/plain", facts=at(0.3), crf={})
        scored += run.scored
    found = {e.after[1]: (round(e.difference, 4), e.verdict, len(e.values)) for e in effects(scored)}
    assert found == {"better": (0.025, "helps", 2), "mixed": (0.045, "no clear difference", 2)}


def test_the_table_and_the_sentence(run: Run) -> None:
    run.maps("plain", 0.41)
    run.masks("crf", 0.345, "cams/plain", facts=at(0.3), crf={"iterations": 10})
    table = effects_table(effects(run.scored))
    row = ["dense CRF", "−5.5", "hurts", "val", "maps plain", "pseudo-labels crf", "40.0", "34.5", 1]
    assert table.rows == [row] and len(table.heads) == len(row)
    (sentence,) = harm(run.scored, [run.base / "masks/crf"])
    assert sentence == (
        "Dense CRF makes it worse here: on the validation images the pseudo-labels crf have 5.5 points of mIoU less "
        "than the maps plain that they were made from. Try without it."
    )
    assert harm(run.scored, [run.base / "cams/plain"]) == []


def test_a_fixed_threshold_that_costs_much_is_told(run: Run) -> None:
    run.maps("plain", 0.41)
    better = {"miou": 0.43, "threshold": 0.3, "threshold_images": 20}
    run.scored[0].content["splits"] |= {
        s: {"policies": {"calibrated": better}, "curve": CURVE} for s in ("train", "val")
    }
    run.masks("low", 0.3, "cams/plain", facts=at(0.1))
    run.masks("near", 0.4, "cams/plain", facts={"threshold": {"value": 0.6, "policy": "calibrated"}})
    folders = [run.base / "masks/low", run.base / "masks/near"]
    (sentence,) = missed(run.scored, folders)
    assert sentence == (
        "The threshold of the pseudo-labels low, 0.1, was fixed beforehand. At 0.3, calibrated on 20 ground-truth "
        "masks of training images, the maps plain have 23.0 points of mIoU more on the validation images: 'threshold: "
        "{policy: calibrated}' would look at these masks."
    )
    assert missed(run.scored, folders[1:]) == []
    better["miou"] = 0.205
    assert missed(run.scored, folders) == []


@pytest.mark.parametrize("value, text", [(0.0234, "+2.3"), (-0.004, "−0.4"), (0.0, "+0.0")])
def test_signs(value: float, text: str) -> None:
    assert signed(value) == text
