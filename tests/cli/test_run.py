"""``wsss run``: what Snakemake is called with, and what is refused before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made import ROOT

import wsss.cli.run
from wsss.cli.run import others, snakemake


class Called(Exception):
    """In place of Snakemake."""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the program in an empty folder with a configuration; gives Snakemake's words."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("")

    def call(*args: str) -> list[str]:
        def become(program: str, words: list[str]) -> None:
            assert program == sys.executable and words[:3] == [program, "-m", "snakemake"]
            raise Called(words[3:])

        monkeypatch.setattr(os, "execv", become)
        with pytest.raises(Called) as caught:
            wsss.cli.main(["run", *args])
        return caught.value.args[0]

    return call


SNAKEFILE = ["--snakefile", str(ROOT / "Snakefile")]


def test_flags(called) -> None:
    assert called() == [*SNAKEFILE, "--cores", "all", "--rerun-incomplete"]
    assert called("-n") == [*SNAKEFILE, "--cores", "all", "--rerun-incomplete", "-n"]


def test_all_else_is_passed_on_in_its_order(called) -> None:
    Path("a.yaml").write_text("")
    Path("b.yaml").write_text("")
    words = called("--until", "cams", "all_masks", "--configfile", "a.yaml", "--configfile", "b.yaml", "-q", "rules",
                   "--config", "seeds=[1]", "--set-resources", "cams:mem_mb=1")  # fmt: skip
    assert words == [
        *SNAKEFILE, "--configfile", "a.yaml", "b.yaml", "--cores", "all", "--rerun-incomplete", "--until", "cams",
        "all_masks", "-q", "rules", "--config", "seeds=[1]", "--set-resources", "cams:mem_mb=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "own", [["--cores", "3"], ["--cores=3"], ["-c3"], ["-j", "2"], ["--profile", "p"], ["--jobs=4"]]
)
def test_cores_are_said_once(called, own: list[str]) -> None:
    assert called(*own) == [*SNAKEFILE, "--rerun-incomplete", *own]


def test_in_a_checkout_its_own_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert snakemake([], []) == ["--cores", "all", "--rerun-incomplete"]


def test_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert wsss.cli.main(["run"]) == 2
    assert "write one for your photos with wsss init FOLDER" in capsys.readouterr().err
    assert wsss.cli.main(["run", "--configfile", "my.yaml"]) == 2
    assert "--configfile my.yaml: there is no such file" in capsys.readouterr().err


def test_without_a_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wsss.cli.run, "checkout", lambda: None)
    assert wsss.cli.main(["run"]) == 2
    assert "this wsss is the package alone" in capsys.readouterr().err


class TestLock:
    @pytest.fixture(autouse=True)
    def lock(self, called) -> None:
        Path(".snakemake/locks").mkdir(parents=True)
        Path(".snakemake/locks/0.output.lock").write_text("x")

    def test_of_a_killed_run(self, capsys) -> None:
        assert wsss.cli.main(["run"]) == 2
        assert "an earlier run was killed and left its lock" in (said := capsys.readouterr().err)
        assert "wsss run --unlock" in said

    @pytest.mark.parametrize("free", ["--unlock", "-n", "--dry-run", "--nolock"])
    def test_what_needs_none(self, called, free: str) -> None:
        assert called(free)[-1] == free

    @pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked up in /proc")
    def test_of_a_run_at_work(self, capsys) -> None:
        command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)", "snakemake"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                process.stdout.readline()
                assert list(others()) == [process.pid]
                assert wsss.cli.main(["run"]) == 2
                assert f"another run is at work in this folder (process {process.pid})" in capsys.readouterr().err
            finally:
                process.kill()
        for _ in range(50):
            if not list(others()):
                break
            time.sleep(0.1)
        assert list(others()) == []

    def test_an_empty_folder_of_locks_is_none(self, called) -> None:
        Path(".snakemake/locks/0.output.lock").unlink()
        assert called()
