"""The SLURM profile on a real SLURM of one pretended node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}


def lacking() -> list[str]:
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment for the cluster's clients. SLURM is installed only where WSSS_TEST_SLURM=install says so."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM can only be started by root")
    if lacking() and os.environ.get("WSSS_TEST_SLURM") != "install":
        pytest.skip(f"no SLURM here ({', '.join(lacking())}); WSSS_TEST_SLURM=install installs it")
    if lacking():
        if shutil.which("apt-get") is None:
            pytest.skip("no SLURM here, and no apt-get to install it")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends " + " ".join(lacking())
        done = subprocess.run(["bash", "-c", install], env=quiet, capture_output=True, text=True, timeout=300)
        if lacking():
            pytest.skip(f"SLURM could not be installed: {done.stderr.strip()[-300:]}")
    # A short path: SLURM's sockets have a limit of about 100 characters.
    lab = Path(f"/tmp/wsss-slurm-{os.getpid()}")
    up = subprocess.run(["bash", HERE / "slurm_up.sh", lab], capture_output=True, text=True, timeout=200)
    if up.returncode == 3:
        pytest.skip(up.stderr.strip())
    assert up.returncode == 0, up.stderr
    try:
        yield {**os.environ, "SLURM_CONF": str(lab / "conf" / "slurm.conf")}
    finally:
        subprocess.run(["bash", HERE / "slurm_down.sh", lab], timeout=120)


def test_profile_runs_the_chain_on_a_cluster(cluster: dict[str, str], tmp_path: Path) -> None:
    config = {
        "dataset": "scenes",
        "datasets": {"scenes": {"kind": "scenes", "train": 8, "val": 4, "size": 64, "classes": 3}},
        "classifiers": {
            "vanilla": {
                "objective": "vanilla",
                **{"backbone": "resnet10t", "pretrained": False, "output_stride": 8},
                **{"crop": 64, "long_side": [56, 72], "epochs": 1, "batch_size": 4},
            }
        },
        "cams": {"vanilla": {"classifier": "vanilla", "scales": [1.0], "shards": 1}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    wanted = "results/scenes/s0/cams/vanilla/manifest.json"
    snakemake = [sys.executable, "-m", "snakemake", wanted, "-s", str(ROOT / "Snakefile"), "--configfile", "tiny.yaml"]
    profile = ["--profile", str(ROOT / "workflow" / "profiles" / "slurm")]
    quick = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", "--retries", "0"]
    few = ["--set-threads", "index=2", "classifier=2", "cams=2"]
    done = subprocess.run(
        [*snakemake, *profile, *quick, *few],
        cwd=tmp_path,
        env=cluster,
        capture_output=True,
        text=True,
        timeout=400,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert (tmp_path / wanted).is_file()
    assert said.count("SLURM jobid") >= 3, said

    # What the cluster made is up to date for this machine too.
    local = [*snakemake, "--cores", "1", "-n"]
    again = subprocess.run(local, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
