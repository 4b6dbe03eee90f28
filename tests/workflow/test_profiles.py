"""What jobs ask for on one machine and on a cluster, and where a cluster puts them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.settings.types import WorkflowSettings
from snakemake_interface_executor_plugins.settings import ExecMode

from tests.workflow.checkout import ROOT
from tests.workflow.planned import dag
from wsss.workflow.resources import NEEDS

PROFILES = ROOT / "workflow" / "profiles"
ON_GPU = {
    *(
        "classifier",
        "cams",
        "saliency",
        "saliency_maps",
        "affinity",
        "text_cams",
        "walk",
        "feature_walk",
        "segmenter",
        "predictions",
        "segmenter_masks",
        "explanation",
        "memory",
        "audit",
        "search",
    ),
}
TABLES = ("ablation", "explanations", "audits", "continual", "searches")
LAST = ("summary.md", "report.html", *(f"{name}/manifest.json" for name in TABLES))
IN_A_JOB = WorkflowSettings(exec_mode=ExecMode.REMOTE)


def jobs_of(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "", **given: Any) -> Iterator[Any]:
    """A job of each rule, those of the run itself and of the study."""
    monkeypatch.chdir(folder)
    recipes = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    recipes["cams"]["theirs"] = {"source": "external", "path": "maps.h5"}
    recipes["cams"]["words"] = {"source": "text"}
    recipes["masks"]["snapped"] = {"source": "regions", "masks": "p-noc", "regions": "sam"}
    recipes["masks"]["theirs"] = {"source": "external", "path": "masks"}
    (folder / "all.yaml").write_text(yaml.safe_dump(recipes) + more)
    targets = frozenset(f"results/scenes/{name}" for name in LAST)
    with dag(ROOT / "Snakefile", folder, "all.yaml", targets, **given) as jobs:
        yield from {job.rule.name: job for job in jobs.needrun_jobs()}.values()


@pytest.fixture
def on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {job.rule.name: job for job in jobs_of(tmp_path, monkeypatch, cores=None, max_threads=8)}


def test_every_rule_has_its_needs(on_a_cluster: dict[str, Any]) -> None:
    assert set(on_a_cluster) - {"vote_shard"} == set(NEEDS)
    for name, job in on_a_cluster.items():
        first, second = (
            job.rule.expand_resources(job.wildcards_dict, job.input, attempt, skip_evaluation=set())
            for attempt in (1, 2)
        )
        assert (first.get("gpu", 0) > 0) == (name in ON_GPU), name
        assert first["mem_mb"] >= 2000 and second["mem_mb"] == 2 * first["mem_mb"], name
        again = 1 if NEEDS[name.removesuffix("_shard")].resumes else 2
        assert 30 <= first["runtime"] and second["runtime"] == again * first["runtime"] <= 24 * 60, name


def test_memory_grows_with_the_workers() -> None:
    assert NEEDS["masks"].memory(attempt=1, threads=16) == 2000 + 16 * 700
    assert NEEDS["masks"].memory(attempt=3, threads=1) == 3 * 2700
    assert NEEDS["summary"].memory(attempt=1, threads=64) == 2000


def test_nothing_grows_after_the_third_attempt() -> None:
    """A training on a short queue is tried again many times; it resumes, and must not ask for 300 GB in the end."""
    for need in NEEDS.values():
        third = need.memory(3, 8), need.time(3)
        assert (need.memory(20, 8), need.time(20)) == third
    assert NEEDS["segmenter"].time(3) == NEEDS["segmenter"].time(1) and NEEDS["scores"].time(2) == 240


@pytest.mark.parametrize("gpus", [1, 4])
def test_cores_on_one_machine_are_shared_by_its_gpus(
    gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = f"\nworkstation: {{gpus: {gpus}}}\n"
    threads = {job.rule.name: job.threads for job in jobs_of(tmp_path, monkeypatch, here, cores=16)}
    assert threads["classifier"] == 16 // gpus and threads["masks"] == 16
    # on a cluster that number says nothing, neither outside a job nor inside, where all cores of a node are given
    outside = {"cores": None, "max_threads": 6}
    inside = {"cores": 128, "max_threads": 6, "settings": IN_A_JOB}
    for given in (outside, inside):
        threads = {job.rule.name: job.threads for job in jobs_of(tmp_path, monkeypatch, here, **given)}
        assert threads["classifier"] == threads["masks"] == 6


def test_jobs_go_to_the_partition_that_suits_them(on_a_cluster: dict[str, Any]) -> None:
    """Chosen by the plugin itself, from what a job asks for: no list of rules has to be kept."""
    partitions = pytest.importorskip("snakemake_executor_plugin_slurm.partitions")
    known = partitions.read_partition_file(PROFILES / "slurm" / "partitions.yaml")
    chosen = {
        name: partitions.get_best_partition(known, job, logging.getLogger(__name__))
        for name, job in on_a_cluster.items()
    }
    assert {name for name, partition in chosen.items() if partition == "gpu"} == ON_GPU
    others = {name for name, partition in chosen.items() if partition == "cpu"}
    assert others - {"vote_shard"} == set(NEEDS) - ON_GPU


def test_slurm_profile() -> None:
    text = (PROFILES / "slurm" / "config.yaml").read_text()
    profile = yaml.safe_load(text)
    assert profile["retries"] >= 1  # here, for in a rule all tries would run in the first job's allocation
    assert profile["slurm-status-command"] == "squeue"
    assert profile["slurm-init-seconds-before-status-checks"] <= 100
    assert (PROFILES / "slurm" / profile["slurm-partition-config"]).is_file()
    # what a site may uncomment: what each does stands in test_submitting.py
    offered = re.sub(r"^( +)# (?=\w+: )", r"\1", text, flags=re.M)
    assert set(yaml.safe_load(offered)["default-resources"]) - set(profile["default-resources"]) == {
        *("slurm_account", "gpu_model", "gres"),
    }


def test_no_retries_in_rules() -> None:
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert "retries:" not in rules.read_text(), rules


def test_the_page_on_clusters_quotes_the_profile() -> None:
    page = (ROOT / "docs" / "tutorials" / "cluster.md").read_text(encoding="utf-8")
    to_edit = re.findall(r"^\| `(\w+\.yaml)` \| `(.*?)` \|", page, re.M)
    assert len(to_edit) == 3
    for file, line in to_edit:
        assert any(line in one and "SITE" in one for one in (PROFILES / "slurm" / file).read_text().splitlines()), line
    for file in re.findall(r"`((?:wsss|workflow|envs)/[\w/.]*)`", page):
        assert (ROOT / file).exists(), file
