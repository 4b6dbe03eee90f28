"""The lines that SLURM is given: by Snakemake, its executor and the profile, to an ``sbatch`` that writes its arguments
down. ``docs/tutorials/cluster.md`` has a table of what sites ask for, and names the test of each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.settings.types import WorkflowSettings
from snakemake_interface_executor_plugins.settings import ExecMode

from tests.workflow.checkout import ROOT, named
from tests.workflow.finished import artefact, inside
from tests.workflow.planned import called, dag
from wsss.errors import WsssError
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.resources import NEEDS
from wsss.workflow.site import Site
from wsss.workflow.staleness import Staleness

pytest.importorskip("snakemake_executor_plugin_slurm")
PROFILE = ROOT / "workflow" / "profiles" / "slurm"
CONFIG = """
dataset: scenes
datasets: {scenes: {kind: scenes}}
classifiers:
  one: {objective: vanilla}
  four: {objective: vanilla, processes: 4}
  spread: {objective: vanilla, processes: 8, nodes: 2}
  apart: {objective: vanilla, processes: 2, nodes: 2}
cams: {one: {classifier: one, shards: 2}}
masks: {imported: {source: external, path: masks}}
"""
"""Once there is an index, the trainings can be submitted, and the import, which wants no GPU."""
TARGETS = ("all_classifiers", "all_masks")
SBATCH = """#!/bin/sh
test -d "$RECORDED" || exit 3
printf '%s\\0' "$@" > "$RECORDED/$$"
echo written down >&2
exit 1
"""
NOBODY_KNOWS = "#!/bin/sh\nexit 1\n"
QUICK = ("--retries", "0", "--slurm-init-seconds-before-status-checks", "1")
IN_A_JOB = WorkflowSettings(exec_mode=ExecMode.REMOTE)

Submit = Callable[..., dict[str, str]]


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Recipe to the arguments of ``sbatch`` without the command that is to run; ``site``: lines of the profile's
    ``default-resources``, ``args`` of the command line."""
    folder, programs, recorded = (tmp_path / name for name in ("work", "bin", "recorded"))
    for one in (folder, programs, recorded):
        one.mkdir()
    known = {"sacct": NOBODY_KNOWS, "scontrol": NOBODY_KNOWS, "sacctmgr": "#!/bin/sh\necho mine\n"}
    for name, text in {"sbatch": SBATCH, **known}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORDED", str(recorded))
    (folder / "config.yaml").write_text(CONFIG)
    with inside(folder):
        artefact(Staleness(Chain.read(["config.yaml"]), ROOT), Job("index", "scenes"))

    def run(site: dict[str, Any] | None = None, *args: str, config: str = CONFIG) -> dict[str, str]:
        (folder / "config.yaml").write_text(config)
        profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
        profile["default-resources"].update(site or {})
        (tmp_path / "profile").mkdir(exist_ok=True)
        (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))
        (tmp_path / "profile" / "partitions.yaml").write_text((PROFILE / "partitions.yaml").read_text())
        for path in recorded.iterdir():
            path.unlink()
        given = ["-s", str(ROOT / "Snakefile"), "--profile", str(tmp_path / "profile"), *QUICK, *args]
        said = called(folder, *TARGETS, *given, check=False)
        found = {}
        for path in recorded.iterdir():
            words = path.read_text().rstrip("\0").split("\0")
            name = words[words.index("--comment") + 1].rpartition("_")[2]
            found[name] = " ".join(word for word in words if not word.startswith("--wrap"))
        assert {"one", "four", "spread", "apart", "imported"} <= set(found), said
        return found

    return run


def asks_for(line: str, *flags: str) -> None:
    """The line has these flags, and no other that is about nodes, tasks, cores or GPUs."""
    found = re.findall(r"--(?:nodes|ntasks|cpus|gpus|gres|gpu)[\w-]*=\S+", line)
    assert sorted(found) == sorted(flags), line


def memory(line: str) -> int:
    found = re.search(r"--mem (\d+)\b", line)
    assert found, line
    return int(found[1])


def test_one_gpu_four_gpus_and_none(submit: Submit) -> None:
    """A node with as many GPUs as processes, and the cores and the memory of each; the partition follows."""
    lines = submit()
    asks_for(lines["one"], "--nodes=1", "--gpus=1", "--cpus-per-task=8")
    asks_for(lines["four"], "--nodes=1", "--gpus=4", "--cpus-per-task=32")
    asks_for(lines["imported"], "--nodes=1", "--ntasks=1", "--cpus-per-task=4")
    assert memory(lines["one"]) == NEEDS["classifier"].memory(1, 8)
    assert memory(lines["four"]) == 4 * memory(lines["one"])
    assert all(" -p gpu " in lines[name] for name in ("one", "four", "spread")) and " -p cpu " in lines["imported"]


def test_two_nodes(submit: Submit) -> None:
    """As many GPUs on each, which --gpus would not say; cores and memory are a node's."""
    lines = submit()
    asks_for(lines["spread"], "--nodes=2", "--gres=gpu:4", "--cpus-per-task=32")
    asks_for(lines["apart"], "--nodes=2", "--gres=gpu:1", "--cpus-per-task=8")
    assert memory(lines["spread"]) == memory(lines["four"]) and memory(lines["apart"]) == memory(lines["one"])


@pytest.mark.parametrize("site", [{"gres": "gpu"}, {"gres": "gpu:a100"}, {"gres": "gpu", "gpu_model": "a100"}])
def test_a_site_that_wants_gres(submit: Submit, site: dict[str, str]) -> None:
    """One line of the profile, for all rules, for any number of GPUs, and nothing for jobs without one."""
    lines, kind = submit(site), "gpu" if site == {"gres": "gpu"} else "gpu:a100"
    asks_for(lines["one"], "--nodes=1", f"--gres={kind}:1", "--cpus-per-task=8")
    asks_for(lines["four"], "--nodes=1", f"--gres={kind}:4", "--cpus-per-task=32")
    asks_for(lines["spread"], "--nodes=2", f"--gres={kind}:4", "--cpus-per-task=32")
    asks_for(lines["imported"], "--nodes=1", "--ntasks=1", "--cpus-per-task=4")
    assert " -p gpu " in lines["one"] and " -p cpu " in lines["imported"]


def test_a_model_of_gpu(submit: Submit) -> None:
    """One line of the profile; another one for a rule goes before it."""
    lines = submit({"gpu_model": "a100"})
    asks_for(lines["one"], "--nodes=1", "--gpus=a100:1", "--cpus-per-task=8")
    asks_for(lines["four"], "--nodes=1", "--gpus=a100:4", "--cpus-per-task=32")
    asks_for(lines["spread"], "--nodes=2", "--gres=gpu:a100:4", "--cpus-per-task=32")
    asks_for(lines["imported"], "--nodes=1", "--ntasks=1", "--cpus-per-task=4")
    other = submit({"gpu_model": "a100"}, "--set-resources", "classifier:gpu_model=h100")
    asks_for(other["four"], "--nodes=1", "--gpus=h100:4", "--cpus-per-task=32")


def test_further_words_of_a_site(submit: Submit) -> None:
    """Account, features, quality of service, requeueing, local disk: the executor's own names, for every job."""
    site = {"slurm_account": "mine", "constraint": "nvlink", "gres": "lscratch:50"}
    flags = ("--slurm-requeue", "--slurm-qos", "long", "--max-threads", "6")
    lines = submit(site, *flags, config=CONFIG.replace(", nodes: 2", ""))
    for line in lines.values():
        assert "-A mine" in line and "-C nvlink" in line and "--gres=lscratch:50" in line
        assert "--requeue" in line and "--qos=long" in line
    assert "--gpus=4" in lines["four"] and "--cpus-per-task=24" in lines["four"]


def test_inside_the_job_the_command_is_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There Snakemake is told all cores of a node; srun starts what runs on two."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    site = {"gres": "gpu", "runtime": 60}
    for given in (
        {"cores": None, "max_threads": 6, "default_resources": site},
        {"cores": 128, "max_threads": 24, "default_resources": site, "settings": IN_A_JOB},
    ):
        with dag(ROOT / "Snakefile", tmp_path, targets=frozenset(TARGETS), **given) as plan:
            jobs = {named(job): job for job in plan.needrun_jobs() if job.output}
            command = jobs["classifier spread"].params.command
            assert command.startswith(
                "srun --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=6 --kill-on-bad-exit=1 "
            )
            assert " --threads 24 " in command and "torch.distributed" not in command
            four = jobs["classifier four"]
            assert "--nproc-per-node 4" in four.params.command and "srun" not in four.params.command
            assert (four.resources.get("gres"), four.resources.get("mpi")) == ("gpu:4", None)


def test_shards_are_put_together_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    for site in ({"gres": "gpu"}, {"gpu_model": "a100"}):
        given = {"cores": None, "max_threads": 6, "default_resources": site}
        with dag(ROOT / "Snakefile", tmp_path, targets=frozenset({"all_cams"}), **given) as plan:
            jobs = [job for job in plan.needrun_jobs() if job.rule.name.startswith("cams")]
            wanted = {job.rule.name: [job.resources.get(k) for k in ("gpu", "gpu_model", "gres")] for job in jobs}
            assert wanted["cams"] == [0, None, None]
            assert wanted["cams_shard"] == ([0, None, "gpu:1"] if "gres" in site else [1, "a100", None])


def test_on_one_machine_nothing_of_this_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG + "workstation: {gpus: 8}\n")
    given = {"cores": 16, "default_resources": {"gres": "gpu"}}
    with dag(ROOT / "Snakefile", tmp_path, targets=frozenset(TARGETS), **given) as plan:
        jobs = {named(job): job for job in plan.needrun_jobs() if job.output}
    spread = jobs["classifier spread"]
    assert "--standalone --nproc-per-node 8" in spread.params.command and "srun" not in spread.params.command
    assert (spread.resources.gpu, spread.resources.nodes, spread.resources.get("gres")) == (8, 1, None)


@pytest.mark.parametrize("gres", ["gpu:2", "gpu:a100:2", "gpu:", "gpu:a:b"])
def test_a_number_of_gpus_in_the_profile_is_refused(gres: str) -> None:
    with pytest.raises(WsssError, match="each job adds how many"):
        Site.read(True, {"gres": gres})


def test_several_nodes_beside_another_gres_are_refused() -> None:
    site = Site.read(True, {"gres": "lscratch:50"})
    assert site.gres_of(4, 1) == site.gres_of(0, 1) == "lscratch:50"
    with pytest.raises(WsssError, match="take that line away"):
        site.gres_of(4, 2)


def test_the_page_on_clusters_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "tutorials" / "cluster.md").read_text(encoding="utf-8")
    section = page.split("## What sites ask for")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        cell = row.rstrip("| ").rpartition(" | ")[2]
        named_here = re.findall(r"`(tests/\S+?\.py)(?:::(\w+))?`", cell)
        assert named_here or cell.startswith("the same"), row
        for file, test in named_here:
            assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), (file, test)
