"""Rounds of self-training: masks -> network -> masks -> network, planned by Snakemake from names alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.checkout import Checkout, changed
from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job

CONFIG: dict[str, Any] = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes, train: 24, val: 8}}
classifiers: {vanilla: {objective: vanilla}}
cams: {vanilla: {classifier: vanilla}}
masks:
  first: {cams: vanilla}
  second: {source: segmenter, segmenters: [first, twin], prior: first, shards: 2}
  third: {source: segmenter, segmenters: [second], prior: second, prior_weight: 0.3}
segmenters:
  first: {masks: first}
  twin: {masks: first, lr: 0.002}
  second: {masks: second}
  third: {masks: third}
""")


def of_network(name: str) -> set[str]:
    return {f"segmenter {name}", f"predictions {name}", f"scores segmenters {name}"}


SECOND = {"segmenter_masks second", "segmenter_masks second 0/2", "segmenter_masks second 1/2", "scores masks second"}
AFTER_THIRD = {"segmenter_masks third", "scores masks third", *of_network("third")}
AFTER_SECOND = {*SECOND, *of_network("second"), *AFTER_THIRD}
TOLD = {"summary scenes", "report scenes"}
FIRST = {"masks first", "scores masks first", *of_network("first"), *of_network("twin"), *AFTER_SECOND}
CLASSIFIER = {"classifier vanilla", "scores classifiers vanilla", "cams vanilla", "scores cams vanilla"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout.build(tmp_path_factory.mktemp("rounds") / "checkout", CONFIG)
    assert checkout.plan() == {"index scenes", *CLASSIFIER, *FIRST, *TOLD}
    checkout.finish()
    assert checkout.plan() == set()
    return checkout


CASES: dict[str, tuple[tuple[str, ...], Any, set[str]]] = {
    "the first masks": (("masks", "first", "crf"), None, FIRST),
    "one network of two": (("segmenters", "twin", "lr"), 0.003, {*of_network("twin"), *AFTER_SECOND}),
    "the mixture of the last round": (("masks", "third", "prior_weight"), 0.5, AFTER_THIRD),
    "another prior": (("masks", "third", "prior"), "first", AFTER_THIRD),
    "how a network is applied elsewhere": (
        ("segmenters", "first", "predict"),
        {"crf": "deeplab"},
        {"predictions first", "scores segmenters first"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_runs_again(finished: Checkout, tmp_path: Path, case: str) -> None:
    path, value, wanted = CASES[case]
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(changed(CONFIG, *path, value=value), sort_keys=False))
    plan = finished.plan(config=str(other))
    assert {job for job in plan if not job.endswith("/2")} == {job for job in {*wanted, *TOLD} if "/2" not in job}
    assert ("segmenter_masks second 0/2" in plan) == (SECOND <= wanted)


def test_the_order_and_what_a_round_reads() -> None:
    chain = Chain(load(CONFIG))
    jobs = chain.wanted()
    rounds = [(job.rule, job.name) for job in jobs if job.rule in ("masks", "segmenter_masks", "segmenter")]
    order = [("masks", "first"), ("segmenter", "first"), ("segmenter_masks", "second"), ("segmenter", "second")]
    order += [("segmenter_masks", "third"), ("segmenter", "third")]
    assert [one for one in rounds if one in order] == order
    job, run = Job("segmenter_masks", "scenes", "0", "second"), "results/scenes/s0"
    assert chain.inputs(job) == {
        "index": "results/scenes/index",
        "segmenters.0": f"{run}/segmenters/first",
        "segmenters.1": f"{run}/segmenters/twin",
        "prior": f"{run}/masks/first",
    }
    flags = f"--segmenters {run}/segmenters/first {run}/segmenters/twin --prior {run}/masks/first"
    assert flags in chain.flags(job)


def test_a_circle_is_refused_by_name() -> None:
    with pytest.raises(WsssError) as error:
        load(changed(CONFIG, "segmenters", "first", "masks", value="third"))
    said = "masks.second.segmenters -> segmenters.first.masks -> masks.third.segmenters -> segmenters.second.masks"
    assert f"recipes refer to each other in a circle: {said} -> masks.second" in str(error.value)
    with pytest.raises(WsssError, match=r"circle: masks.third.prior -> masks.third"):
        load(changed(CONFIG, "masks", "third", "prior", value="third"))


def test_the_prior_has_the_images() -> None:
    with pytest.raises(WsssError, match=r"masks.first holds images of val only; add train to masks.first.splits"):
        load(changed(CONFIG, "masks", "first", "splits", value=["val"]))
    with pytest.raises(WsssError, match=r"masks.second holds images of train only; add val to masks.second.splits"):
        load(changed(CONFIG, "masks", "third", "splits", value=["train", "val"]))
