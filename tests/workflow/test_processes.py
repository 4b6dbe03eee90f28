"""``processes: N`` in a recipe: what is started, and what it asks for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.workflow.chain import Chain
from wsss.workflow.resources import NEEDS
from wsss.workflow.rules import Rules

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> dict[str, str]:
    """Rule and recipe -> what Snakemake says of the job, with its command."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    wanted = ["all_classifiers", "all_segmenters", "results/scenes/s0/affinity/three/manifest.json"]
    wanted += ["results/scenes/s0/saliency-maps/two/manifest.json"]
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "8", "-n", "-p", *wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = {}
    for block in re.split(r"\n(?=\[.*\d{4}\]\n)", done.stdout + done.stderr):
        stage = re.search(r"/stages/(\w+)\.py.* --out \S*/(\S+) --state", block)
        if stage:
            found[" ".join(stage.groups())] = block
    return found


def test_trainings_run_under_torchrun_with_a_gpu_for_each_process(jobs):
    assert set(SPREAD) < set(jobs) and {"classifier one", "cams four", "saliency_maps two"} < set(jobs)
    for job, block in jobs.items():
        together = re.search(r"-m torch.distributed.run --standalone --nproc-per-node (\d+) \S+/stages/", block)
        assert (int(together[1]) if together else 1) == SPREAD.get(job, 1), block
    for job in ("classifier one", "classifier four", "saliency two", "segmenter two", "cams four"):
        assert f" --threads {2 * SPREAD.get(job, 1)} " in jobs[job], "8 cores for 4 GPUs"


def test_the_number_of_processes_stands_in_no_settings_string(jobs):
    """Neither Snakemake nor a checkpoint can tell how many there are."""
    for job, block in jobs.items():
        settings = re.search(r"--settings ('.*?'|\{\}) ", block)
        if settings:
            assert "processes" not in json.loads(settings[1].strip("'")), job


def test_what_a_spread_training_asks_for():
    """A GPU, its cores and its memory for each process."""
    rules = Rules(Chain(load(CONFIG)), ROOT, cores=8, gpu_cores=2)

    def asked(kind: str, name: str, **files: list[str]) -> tuple[int, int, int]:
        job = SimpleNamespace(dataset="scenes", seed="0", folder=kind, name=name)
        threads = rules.threads(job)
        return rules.gpus(job, files), threads, rules.memory(job, files, 1, threads)

    one = NEEDS["classifier"].memory(1, 2)
    assert asked("classifiers", "one") == (1, 2, one) and asked("classifiers", "four") == (4, 8, 4 * one)
    assert asked("segmenters", "two") == (2, 4, 2 * NEEDS["segmenter"].memory(1, 2))
    assert asked("saliency", "two")[0] == 2 and asked("affinity", "three")[:2] == (3, 6)
    assert asked("saliency-maps", "two") == (1, 2, NEEDS["saliency_maps"].memory(1, 2))
    assert asked("saliency-maps", "two", parts=["0-of-1.json"])[0] == 0
    assert rules.gpus(SimpleNamespace(dataset="scenes", folder="index"), {}) == 0


def test_a_batch_that_the_processes_cannot_share_is_refused_while_the_snakefile_is_read():
    config = {
        **CONFIG,
        "classifiers": {"one": {"objective": "vanilla", "processes": 3}, "four": {"objective": "vanilla"}},
    }
    with pytest.raises(WsssError, match=r"classifiers.one: .*batch_size .16. must be a multiple of processes .3."):
        load(config)
