"""``processes: N`` in a recipe: what is started, and what it asks for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from snakemake.settings.types import WorkflowSettings
from snakemake_interface_executor_plugins.settings import ExecMode

from tests.workflow.checkout import ROOT, named
from tests.workflow.finished import inside
from tests.workflow.planned import dag
from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.workflow.resources import NEEDS

CONFIG = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes}}
classifiers: {one: {objective: vanilla}, four: {objective: vanilla, processes: 4}}
cams: {four: {classifier: four}}
saliency: {two: {objective: c2am, processes: 2}}
affinity: {three: {cams: four, saliency: two, processes: 3, batch_size: 12}}
masks: {four: {cams: four}}
segmenters: {two: {masks: four, processes: 2}}
workstation: {gpus: 4}
""")
SPREAD = {"classifier four": 4, "saliency two": 2, "affinity three": 3, "segmenter two": 2}


WANTED = {"all_classifiers", "all_segmenters"} | {
    f"results/scenes/s0/{folder}/manifest.json" for folder in ("affinity/three", "saliency-maps/two")
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """Rule and recipe -> the job as Snakemake has it, on a machine with 8 cores."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with inside(folder), dag(ROOT / "Snakefile", folder, targets=frozenset(WANTED), cores=8) as plan:
        yield {named(job): job for job in plan.needrun_jobs() if job.output}


def test_trainings_run_under_torchrun_with_a_gpu_for_each_process(jobs):
    """And with its cores and its memory."""
    assert set(SPREAD) < set(jobs) and {"classifier one", "cams four", "saliency_maps two"} < set(jobs)
    for name, job in jobs.items():
        processes, rule = SPREAD.get(name, 1), job.rule.name
        together = re.search(
            r"-m torch.distributed.run --standalone --nproc-per-node (\d+) \S+/stages/", job.params.command
        )
        assert (int(together[1]) if together else 1) == processes, name
        asked = job.rule.expand_resources(job.wildcards_dict, job.input, 1, skip_evaluation=set())
        if NEEDS[rule].gpu:
            assert asked["gpu"] == processes and job.threads == 2 * processes, "8 cores for 4 GPUs"
            assert asked["mem_mb"] == processes * NEEDS[rule].memory(1, 2)
            assert f" --threads {job.threads} " in job.params.command
        else:
            assert asked["gpu"] == 0


def test_the_number_of_processes_stands_in_no_settings_string(jobs):
    """Neither Snakemake nor a checkpoint can tell how many there are."""
    for name, job in jobs.items():
        words = shlex.split(job.params.command)
        assert "--settings" not in words or "processes" not in words[words.index("--settings") + 1], name


def test_a_batch_that_the_processes_cannot_share_is_refused_while_the_snakefile_is_read():
    config = {
        **CONFIG,
        "classifiers": {"one": {"objective": "vanilla", "processes": 3}, "four": {"objective": "vanilla"}},
    }
    with pytest.raises(WsssError, match=r"classifiers.one: .*batch_size .16. must be a multiple of processes .3."):
        load(config)


def test_a_cluster_gives_each_process_its_gpu_and_its_cores(tmp_path, monkeypatch):
    """``workstation.gpus`` is of one machine, ``--max-threads`` of one GPU, outside a job as well as inside; the line
    that SLURM is given asks for all of it on one node."""
    utils = pytest.importorskip("snakemake_executor_plugin_slurm.utils")
    submit = pytest.importorskip("snakemake_executor_plugin_slurm.submit_string")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"workstation": {"gpus": 1}}))
    monkeypatch.chdir(tmp_path)
    in_a_job = WorkflowSettings(exec_mode=ExecMode.REMOTE)
    for given in ({"cores": None, "max_threads": 6}, {"cores": 128, "max_threads": 24, "settings": in_a_job}):
        with dag(ROOT / "Snakefile", tmp_path, targets=frozenset(WANTED), **given) as plan:
            jobs = {named(job): job for job in plan.needrun_jobs() if job.output}
            for name, job in jobs.items():
                if NEEDS[job.rule.name].gpu:
                    processes = SPREAD.get(name, 1)
                    assert (job.resources.gpu, job.threads) == (processes, 6 * processes), name
                    assert f" --threads {job.threads} " in job.params.command
                else:
                    assert job.threads <= 6, name
            about = {
                "run_uuid": "u",
                "slurm_logfile": "log",
                "comment_str": "c",
                "account": "",
                "partition": "-p gpu",
                "workdir": ".",
            }
            four = jobs["classifier four"]
            line = submit.get_submit_command(four, about) + utils.set_gres_string(four)
            assert re.search(r"--gpus=4\b", line) and "--cpus-per-task=24" in line and "--nodes=1" in line, line
