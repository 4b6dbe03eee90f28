"""Which round of self-training is the last worth training, told by agreement alone."""

from __future__ import annotations

from pathlib import Path

from tests.evaluate.test_effects import Run
from wsss.report.rounds import settled


def round_of(run: Run, name: str, prior: str, network: str, miou: float) -> None:
    facts = {"agreement": [{"a": "networks", "b": f"masks {prior}", "agreement": 0.99, "miou": miou, "pixels": 9}]}
    settings = {"source": "segmenter", "segmenters": [network], "prior": prior}
    run.masks(name, 0.5, f"masks/{prior}", facts=facts, **settings)


def test_the_first_round_that_settles_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.masks("walk", 0.5, "cams/x", facts={})
    round_of(run, "round-1", "walk", "first", 0.90)
    assert settled(run.scored) == []
    round_of(run, "round-2", "round-1", "second", 0.96)
    round_of(run, "round-3", "round-2", "third", 0.98)
    (sentence,) = settled(run.scored)
    assert sentence.startswith("Self-training has settled: the network second agrees with the pseudo-labels round-1 up")
    assert "mean IoU of 96.0 % (tags given, no ground truth), above 95 %" in sentence
    assert sentence.endswith("one on the pseudo-labels round-2 would hardly say anything else.")


def test_seeds_are_averaged_and_masks_without_a_prior_say_nothing(tmp_path: Path) -> None:
    one, two = Run(tmp_path, 0), Run(tmp_path, 1)
    for run, miou in ((one, 0.97), (two, 0.92)):
        round_of(run, "again", "walk", "net", miou)
        run.masks("teacher", 0.5, "masks/again", facts={}, source="segmenter", segmenters=["net"], prior=None)
    assert settled([*one.scored, *two.scored]) == []
    assert len(settled(one.scored)) == 1
