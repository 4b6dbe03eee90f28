"""Stages that are scattered over jobs: what runs, what it asks for, and that their number re-runs nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.checkout import Checkout, changed, named
from tests.workflow.planned import dag
from wsss.workflow.resources import GATHER, NEEDS

CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {"vanilla": {"objective": "vanilla", "epochs": 2}},
    "cams": {"vanilla": {"classifier": "vanilla", "shards": 3}},
    "masks": {"vanilla": {"cams": "vanilla", "shards": 2}, "raw": {"cams": "vanilla", "crf": None}},
    "segmenters": {"vanilla": {"masks": "vanilla", "predict": {"shards": 2}}},
}
AFTER_CAMS = {
    *("masks", "masks 0/2", "masks 1/2", "masks raw", "segmenter", "predictions", "predictions 0/2", "predictions 1/2"),
    *("scores cams", "scores masks", "scores masks raw", "scores segmenters", "summary", "report"),
}
ALL = {"index", "classifier", "scores classifiers", "cams", "cams 0/3", "cams 1/3", "cams 2/3", *AFTER_CAMS}
RUN = "results/scenes/s0"


def planned(checkout: Checkout, *changes: tuple[tuple[str, ...], Any], targets: tuple[str, ...] = ()) -> set[str]:
    """Jobs that would run: ``cams``, ``cams 0/3``, ``masks raw``, ``scores masks``."""
    config = CONFIG
    for path, value in changes:
        config = changed(config, *path, value=value)
    checkout.configure(config)
    return set(map(short, checkout.plan(*targets)))


def short(job: str) -> str:
    return job.replace(" vanilla", "").replace(" scenes", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run that is done, with manifests as the stages write them."""
    checkout = Checkout.build(tmp_path_factory.mktemp("scatter") / "checkout", CONFIG)
    checkout.finish()
    return checkout


@pytest.fixture
def checkout(done: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A copy of it to spoil."""
    monkeypatch.chdir(shutil.copytree(done.folder, tmp_path / "copy"))
    return Checkout(tmp_path / "copy")


def run(checkout: Checkout, folder: str) -> dict[str, Any]:
    return json.loads((checkout.folder / RUN / folder / "run.json").read_text())


def test_everything_to_do(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "results")
    assert planned(checkout) == ALL


def test_nothing_to_do_and_nothing_left_over(checkout: Checkout) -> None:
    assert planned(checkout) == set()
    assert not list((checkout.folder / "results").rglob("parts"))
    assert run(checkout, "cams/vanilla")["shards"] == 3 and run(checkout, "predictions/vanilla")["shards"] == 2
    assert "shards" not in run(checkout, "masks/raw")


@pytest.mark.parametrize("shards", [1, 5])
def test_another_number_of_shards_runs_nothing(checkout: Checkout, shards: int) -> None:
    """From several to one, from one to several, from several to more."""
    change = [
        (("cams", "vanilla", "shards"), shards),
        (("masks", "vanilla", "shards"), shards + 1),
        (("masks", "raw", "shards"), shards),
        (("segmenters", "vanilla", "predict", "shards"), shards),
    ]
    assert planned(checkout, *change) == set()
    (checkout.folder / RUN / "cams" / "vanilla" / "manifest.json").touch()
    assert planned(checkout, *change) == set()


def test_what_has_to_run_anyway_takes_the_new_number(checkout: Checkout) -> None:
    flip, shards = (("cams", "vanilla", "flip"), False), (("cams", "vanilla", "shards"), 2)
    assert planned(checkout, flip) == {"cams", "cams 0/3", "cams 1/3", "cams 2/3", *AFTER_CAMS}
    assert planned(checkout, flip, shards) == {"cams", "cams 0/2", "cams 1/2", *AFTER_CAMS}
    # a stage upstream changed, and so what is downstream of it is out of date too
    downstream = AFTER_CAMS - {"masks 0/2", "masks 1/2"} | {"masks raw 0/2", "masks raw 1/2"}
    fewer = [(("masks", "vanilla", "shards"), 1), (("masks", "raw", "shards"), 2)]
    assert planned(checkout, flip, shards, *fewer) == {"cams", "cams 0/2", "cams 1/2", *downstream}


def test_shards_that_are_made_are_not_made_again(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / RUN / "cams")
    receipt = f"{RUN}/cams/vanilla/parts/1-of-3.json"
    checkout.snakemake(receipt)
    assert json.loads((checkout.folder / receipt).read_text())["shard"] == "1/3"
    assert not (checkout.folder / RUN / "cams" / "vanilla" / "manifest.json").exists()
    wanted = (f"{RUN}/cams/vanilla/manifest.json",)
    assert planned(checkout, targets=wanted) == {"cams", "cams 0/3", "cams 2/3"}
    checkout.snakemake(*wanted)
    assert planned(checkout, targets=wanted) == set() and not (checkout.folder / receipt).exists()


def test_a_shard_is_told_its_number_and_the_rule_their_number(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "results")
    said = checkout.snakemake("-n", "-p", f"{RUN}/cams/vanilla/manifest.json")
    commands = [line for line in said.splitlines() if "stages/cams.py" in line]
    out, index = f"--out {RUN}/cams/vanilla ", "--index results/scenes/index --classifier results/scenes/s0/classifiers"
    assert len(commands) == 4 and all(out in one and index in one and '"shards"' not in one for one in commands)
    assert {one.split(" --shard ")[1].split()[0] for one in commands if " --shard " in one} == {"0/3", "1/3", "2/3"}
    assert sum(" --gather 3 " in one for one in commands) == 1


def test_a_shard_asks_for_a_gpu_and_the_rest_for_little(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "results")
    with dag(checkout.folder / "Snakefile", checkout.folder, cores=4) as jobs:
        asked = {
            short(named(job)): job.rule.expand_resources(job.wildcards_dict, job.input, 1, skip_evaluation=set())
            for job in jobs.needrun_jobs()
            if job.output
        }
    assert asked["cams 0/3"]["gpu"] == asked["predictions 1/2"]["gpu"] == 1
    assert asked["cams"]["gpu"] == asked["predictions"]["gpu"] == 0
    for name, shard in (("cams", "0/3"), ("masks", "0/2"), ("predictions", "1/2")):
        assert asked[name]["mem_mb"] == GATHER.memory(1, 4)
        assert asked[f"{name} {shard}"]["mem_mb"] == NEEDS[name].memory(1, 4) > asked[name]["mem_mb"]
    assert asked["masks raw"]["mem_mb"] == NEEDS["masks"].memory(1, 4)
