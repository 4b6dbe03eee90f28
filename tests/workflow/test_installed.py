"""An installation without a checkout (``pip install .``): the workflow lies beside the package, and runs in any
folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.checkout import ROOT
from wsss.provenance.versions import ROOT as OURS
from wsss.provenance.versions import versions
from wsss.settings import MasksSettings, ScenesSettings
from wsss.store.manifest import read_manifest

CONFIG = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8, "size": 64, "classes": 3}},
    "classifiers": {"vanilla": {"objective": "vanilla", "backbone": "test_resnet"}},
    "cams": {"vanilla": {"classifier": "vanilla"}},
}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would install, but for the extension modules: ``site/`` with the package, ``share/wsss/``."""
    at = tmp_path_factory.mktemp("prefix")
    copy = at / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "results", "build", "*.so"))
    install = ["build_py", f"--build-lib={at / 'site'}", "install_data", f"--install-dir={at}"]
    subprocess.run([sys.executable, "setup.py", "--quiet", *install], cwd=copy, check=True, timeout=100)
    about = at / "site" / "wsss-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wsss\nVersion: 0.1.0\n")
    (about / "RECORD").write_text("wsss/__init__.py,,\n../share/wsss/Snakefile,,\n")
    shutil.rmtree(copy)
    return at


def program(prefix: Path, folder: Path, *args: str) -> str:
    """``wsss ARGS`` of the installation, called in a folder; what it says."""
    environment = os.environ | {"PYTHONPATH": str(prefix / "site")}
    call = [sys.executable, "-m", "wsss", *args]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nothing_is_left_out_and_nothing_else_is_there(prefix: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git repository here")
    parts = ("Snakefile", "envs/", "native/", "stages/", "workflow/", "wsss/")
    known = {path for path in listed.stdout.splitlines() if path.startswith(parts)}
    checkout = prefix / "share" / "wsss"
    there = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    assert {path for path in there if "__pycache__" not in path} == known
    package = {path.relative_to(prefix / "site").as_posix() for path in (prefix / "site/wsss").rglob("*.*")}
    assert {path for path in package if "__pycache__" not in path} == {path for path in known if path[:5] == "wsss/"}


def test_its_versions_are_ours(prefix: Path) -> None:
    settings = MasksSettings(cams="x", crf="labels")
    assert versions("masks", settings, prefix / "share" / "wsss") == versions("masks", settings, OURS) != {}


def test_run_plan_and_show(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    snakefile = prefix / "share" / "wsss" / "Snakefile"
    said = program(prefix, tmp_path, "run", "--until", "index", "-q")
    assert f"--snakefile {os.path.relpath(snakefile, tmp_path)}" in said or f"--snakefile {snakefile}" in said
    made = read_manifest(tmp_path / "results" / "scenes" / "index")
    assert made["declared"] == versions("index", ScenesSettings(kind="scenes"), OURS)
    assert "stages/index.py" in made["code"] and "wsss/data/kinds/scenes.py" in made["code"]
    assert "up to date" in program(prefix, tmp_path, "show", "results/scenes/index")
    assert "1 of" in program(prefix, tmp_path, "plan")
