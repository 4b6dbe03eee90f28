"""Short jobs that a cluster is given together (``--group-components scores=8``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.checkout import ROOT
from tests.workflow.planned import dag
from wsss.workflow.resources import NEEDS

CONFIG = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes}}
classifiers: {a: {objective: vanilla}, b: {objective: vanilla, lr: 0.3}}
cams: {a: {classifier: a}, b: {classifier: b}, both: {source: ensemble, members: [a, b], rule: calibrated}}
masks:
  best: {cams: a, threshold: {policy: calibrated}}
  plain: {cams: b}
  voted: {source: vote, members: [best, plain]}
segmenters: {net: {masks: voted}}
seeds: [0, 1]
""")
CHOOSING = {f"s{seed}/scores/cams/{name}" for seed in (0, 1) for name in "ab"}
"""Scores by which a threshold or weights are chosen."""


def folder_of(job: Any) -> str:
    return Path(job.output[0]).parent.relative_to("results/scenes").as_posix()


def test_scores_go_together_but_for_those_that_something_is_chosen_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that SLURM is given asks for as many cores as there are scores in it, for all their memory and for the
    time of one: they run side by side."""
    submit = pytest.importorskip("snakemake_executor_plugin_slurm.submit_string")
    # else Snakemake takes no notice of groups
    monkeypatch.setattr("snakemake.workflow.Workflow.non_local_exec_or_dryrun", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with dag(ROOT / "Snakefile", tmp_path, components={"scores": 8}, cores=None, max_threads=8) as plan:
        plan.update_groups()  # raises where a group depends on itself
        scores = {folder_of(job): job for job in plan.needrun_jobs() if job.rule.name == "scores"}
        groups = {id(group): group for group in plan._group.values()}.values()
        assert CHOOSING < set(scores) and len(scores) == 2 * (2 + 3 + 3 + 1)
        assert {name for name, job in scores.items() if job.group is None} == CHOOSING
        assert {folder_of(job) for group in groups for job in group} == set(scores) - CHOOSING
        assert sorted(len(list(group)) for group in groups) == [6, 8]
        assert all(job.threads == (4 if name in CHOOSING else 1) for name, job in scores.items())
        about = {"run_uuid": "u", "slurm_logfile": "log", "comment_str": "c", "account": "", "partition": "-p cpu",
                 "workdir": "."}  # fmt: skip
        for group in groups:
            size, line = len(list(group)), submit.get_submit_command(group, about)
            memory = size * NEEDS["scores"].memory(1, 1)
            assert re.search(rf"--mem {memory}\b", line) and f"--cpus-per-task={size}" in line, line
            assert re.search(rf"-t {NEEDS['scores'].minutes}\b", line) and "--gpus" not in line, line


def test_nothing_is_grouped_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with dag(ROOT / "Snakefile", tmp_path, cores=4) as plan:
        assert {job.group for job in plan.needrun_jobs()} == {None}
        assert all(job.threads == 4 for job in plan.needrun_jobs() if job.rule.name == "scores")
