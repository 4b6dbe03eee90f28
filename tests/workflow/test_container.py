"""Jobs in a container from outside of it. Apptainer is played by a program that writes down how it is called and runs
the command where it is: whether an image has what a job needs can only be seen with the true one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.workflow.checkout import ROOT, Checkout
from tests.workflow.planned import called

APPTAINER = """#!/bin/bash
test "$1" = --version && echo "apptainer version 1.3.4" && exit
printf '%s\\0' "$@" > "$CALLED"
exec bash -c "${@: -1}"
"""
CONFIG = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes"}},
    "workstation": {"container": "images/wsss.sif"},
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in is, and the Python of the "image"; how it was called stands in the file ``called``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "apptainer").write_text(APPTAINER)
    (folder / "python").write_text(f'#!/bin/sh\ntouch "{tmp_path}/inside"\nexec "{sys.executable}" "$@"\n')
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    return tmp_path


@pytest.mark.parametrize("wanted", [True, False])
def test_a_job_runs_in_the_image_only_if_snakemake_is_told_to(wanted: bool, programs: Path) -> None:
    """With the image's Python and what the site says of binds and GPUs; else as ever."""
    checkout = Checkout.build(programs / "checkout", CONFIG)
    (checkout.folder / "images").mkdir()
    (checkout.folder / "images" / "wsss.sif").touch()
    index = "results/scenes/index/manifest.json"
    flags = ["--sdm", "apptainer", "--apptainer-args", "--nv --bind /scratch"] if wanted else []
    called(checkout.folder, index, "--cores", "1", *flags)
    assert (checkout.folder / index).exists()
    assert (programs / "inside").exists() == (programs / "called").exists() == wanted
    if wanted:
        words = (programs / "called").read_text().rstrip("\0").split("\0")
        assert words[:3] == ["exec", "--home", str(checkout.folder)] and {"--nv", "--bind", "/scratch"} <= set(words)
        assert words[-4].endswith("images/wsss.sif") and words[-3:-1] == ["bash", "-c"]
        assert f"python {checkout.folder}/stages/index.py " in words[-1] and sys.executable not in words[-1]


def test_the_image_is_made_of_the_pinned_wheels() -> None:
    """By the same installer as everywhere, which asks for every hash."""
    text = (ROOT / "envs" / "wsss.def").read_text()
    assert "envs/install.sh" in text or "--require-hashes -r /opt/wsss/envs/requirements.txt" in text
