"""``wsss run``: what is said and asked before, what Snakemake is called with, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import wsss.cli.run
from tests.cli.finished_run import CONFIG, ROOT, changed
from tests.workflow.checkout import Checkout
from wsss.cli.run import others, snakemake
from wsss.store.kept import set_aside


class Called(Exception):
    """In place of Snakemake."""


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake does not start."""

    def become(program: str, words: list[str]) -> None:
        assert program == sys.executable and words[:3] == [program, "-m", "snakemake"]
        raise Called(words[3:])

    monkeypatch.setattr(os, "execv", become)


@pytest.fixture
def called(instead: None):
    """Run the program; gives Snakemake's words."""

    def call(*args: str) -> list[str]:
        with pytest.raises(Called) as caught:
            wsss.cli.main(["run", *args])
        return caught.value.args[0]

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a configuration, and nothing made."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


SNAKEFILE = ["--snakefile", str(ROOT / "Snakefile")]
USUAL = [*SNAKEFILE, "--cores", "all", "--rerun-incomplete"]


def test_flags(folder, called) -> None:
    assert called() == [*SNAKEFILE, "--cores", "all", "--rerun-incomplete"]
    assert called("-n") == [*SNAKEFILE, "--cores", "all", "--rerun-incomplete", "-n"]


def test_all_else_is_passed_on_in_its_order(folder, called) -> None:
    for name in ("a.yaml", "b.yaml"):
        Path(name).write_text(yaml.safe_dump(CONFIG))
    words = called("--until", "cams", "all_masks", "--configfile", "a.yaml", "--configfile", "b.yaml", "-q", "rules",
                   "--config", "seeds=[1]", "--set-resources", "cams:mem_mb=1")  # fmt: skip
    assert words == [
        *SNAKEFILE, "--configfile", "a.yaml", "b.yaml", "--cores", "all", "--rerun-incomplete", "--until", "cams",
        "all_masks", "-q", "rules", "--config", "seeds=[1]", "--set-resources", "cams:mem_mb=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "own", [["--cores", "3"], ["--cores=3"], ["-c3"], ["-j", "2"], ["--profile", "p"], ["--jobs=4"]]
)
def test_cores_are_said_once(folder, called, own: list[str]) -> None:
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
    def lock(self, folder) -> None:
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


def test_a_configuration_with_problems_is_told_before(folder, instead, capsys) -> None:
    Path("config.yaml").write_text(yaml.safe_dump({**CONFIG, "seeds": 3}))
    assert wsss.cli.main(["run"]) == 2
    assert "seeds: expected a list" in capsys.readouterr().err


LOST = "13 finished results (5.0 GPU-hours) to be made again because of: lr: was 0.1, is 0.2"
CURES = "Nothing was begun: give --yes to go on, keep them as they are with wsss accept, or change the settings back"


class TestFinishedResults:
    """A training of five hours on a GPU, and all that rests on it, would be made again."""

    @pytest.fixture(autouse=True)
    def lost(self, results, instead) -> None:
        results.edit("s0/classifiers/vanilla", wall_seconds=5 * 3600 - 1200, peak_gpu_memory_mib=3072)
        results.configure(changed("classifiers", "vanilla", "lr", value=0.2))

    def test_are_not_made_again_where_nobody_can_be_asked(self, wsss) -> None:
        code, _, said = wsss("run")
        assert (code, said) == (2, f"wsss: error: {LOST}. {CURES}\n")

    @pytest.mark.parametrize("answer", ["y", "YES"])
    def test_are_made_again_if_somebody_says_so(self, called, typed, capsys, answer: str) -> None:
        typed(answer)
        assert called() == USUAL
        assert f"{LOST}. Go on? [y/N] " in capsys.readouterr().err

    @pytest.mark.parametrize("answer", ["n", "", "what?"])
    def test_stay_if_somebody_says_anything_else(self, wsss, typed, answer: str) -> None:
        typed(answer)
        code, _, said = wsss("run")
        assert code == 2 and said.endswith(f"[y/N] wsss: error: {LOST}. {CURES}\n")

    def test_are_made_again_with_consent_beforehand(self, called, capsys) -> None:
        assert called("--yes") == USUAL
        assert capsys.readouterr().err.startswith(f"wsss: {LOST}\n")

    @pytest.mark.parametrize("consent", [["--yes"], []])
    def test_are_not_made_again_beyond_a_number_of_hours(self, wsss, typed, consent: list[str]) -> None:
        typed("y")
        code, _, said = wsss("run", "--most", "4", *consent)
        assert (code, said) == (2, f"wsss: error: {LOST}. That is more than --most 4 hours; nothing was begun\n")

    def test_a_number_of_hours_is_no_consent_below_it(self, called, wsss) -> None:
        assert CURES in wsss("run", "--most", "40")[2]
        assert called("--most", "40", "--yes") == USUAL

    def test_a_dry_run_tells_and_does_not_ask(self, called, capsys) -> None:
        assert called("-n") == [*USUAL, "-n"]
        assert capsys.readouterr().err.startswith(f"wsss: {LOST}\n")

    @pytest.mark.parametrize("part", [["--until", "cams"], ["-U", "cams"], ["--touch"], ["--batch=all=1/3"]])
    def test_part_of_a_run_tells_and_does_not_ask(self, called, capsys, part: list[str]) -> None:
        assert called(*part) == [*USUAL, *part]
        assert capsys.readouterr().err.startswith(f"wsss: {LOST}\n")

    def test_little_time_is_not_worth_a_question(self, results, called, capsys) -> None:
        results.configure(changed("segmenters", "p-noc", "predict", value={"flip": False}))
        for path in ("predictions/p-noc", "scores/segmenters/p-noc"):
            results.edit(f"s0/{path}", wall_seconds=10)
        assert called() == USUAL
        assert "2 finished results (0.3 minutes) to be made again because of: flip: was" in capsys.readouterr().err

    def test_only_what_is_asked_for_counts(self, results, called, wsss) -> None:
        assert "5 finished results (4.8 GPU-hours)" in wsss("run", "all_masks")[2]
        assert "3 finished results (4.7 GPU-hours)" in wsss("run", "results/scenes/s0/cams/p-noc/manifest.json")[2]
        results.configure(changed("masks", "p-noc", "crf", value=None))
        assert called("all_cams")[-1] == "all_cams"

    def test_what_comes_back_from_where_it_is_kept_costs_nothing(self, results, called, capsys) -> None:
        results.configure(changed("masks", "p-noc", "crf", value=None))
        set_aside(results.run / "masks/p-noc")
        results.make(results.configure(changed("masks", "p-noc", "crf", value=None)))
        before = capsys.readouterr().err
        assert called("all_masks") == [*USUAL, "all_masks"] and not before
        results.configure(CONFIG)
        assert called("all_masks") == [*USUAL, "all_masks"]
        assert "finished result" not in capsys.readouterr().err

    def test_a_profile_is_no_target(self, wsss) -> None:
        assert LOST in wsss("run", "--profile", "workflow/profiles/slurm")[2]

    def test_what_is_left_out_is_not_asked_about(self, called, capsys) -> None:
        assert called("--only", "masks:p-noc", "--yes")
        assert "GPU-hours" not in capsys.readouterr().err

    def test_those_of_all_saliency_masks_count(self, results, wsss) -> None:
        raw = {**CONFIG, "saliency": {"c2am": {"objective": "c2am", "refine": {"threshold": 0.3}}}}
        results.make(results.configure(raw))
        raw["saliency"]["c2am"]["refine"]["threshold"] = 0.4
        results.configure(raw)
        assert "1 finished result (1.7 minutes)" in wsss("run", "all_saliency")[2]


class TestAgain:
    """``--again`` and ``--only``: stages, or recipes of a stage."""

    @pytest.fixture(autouse=True)
    def made(self, results, instead) -> None:
        pass

    def test_a_stage(self, called) -> None:
        assert called("--again", "classifier") == [*USUAL, "--forcerun", "classifier"]

    def test_a_recipe_over_all_seeds(self, results, called) -> None:
        results.make(results.configure({**CONFIG, "seeds": [0, 1]}))
        manifests = [f"results/scenes/s{seed}/masks/p-noc/manifest.json" for seed in (0, 1)]
        assert called("--again", "masks:p-noc") == [*USUAL, "--forcerun", *manifests]

    def test_several(self, called) -> None:
        manifest = "results/scenes/s0/cams/vanilla/manifest.json"
        assert called("-q", "--again", "cams:vanilla", "--again", "report") == [
            *USUAL, "-q", "--forcerun", manifest, "report",
        ]  # fmt: skip

    def test_only_a_recipe(self, called) -> None:
        manifest = "results/scenes/s0/masks/p-noc/manifest.json"
        assert called("--only", "masks:p-noc") == [*USUAL, "--allowed-rules", "masks", "masks_shard", "--", manifest]

    def test_only_a_stage_that_is_never_in_shards(self, called) -> None:
        words = called("--only", "segmenter:p-noc", "--only", "segmenter")
        assert words[len(USUAL) : len(USUAL) + 3] == ["--allowed-rules", "segmenter", "--"]

    @pytest.mark.parametrize("stage", ["index", "scores", "summary"])
    def test_only_a_stage_without_recipes(self, called, stage: str) -> None:
        assert called("--only", stage)[-1].endswith("/manifest.json")

    def test_only_the_recipes_of_the_configuration(self, called) -> None:
        assert called("--only", "masks")[-2:] == ["--", "results/scenes/s0/masks/p-noc/manifest.json"]

    def test_only_a_stage_of_which_there_is_no_recipe(self, wsss, instead) -> None:
        code, _, said = wsss("run", "--only", "walk")
        assert code == 2 and "walk" in said

    def test_a_target_that_nobody_knows(self, called) -> None:
        assert called("all_walks")[-1] == "all_walks"

    @pytest.mark.parametrize("flag", ["--again", "--only"])
    def test_an_unknown_stage(self, wsss, flag: str) -> None:
        code, _, said = wsss("run", flag, "maks")
        assert code == 2 and "maks: no stage 'maks'; did you mean 'masks'? (there: index, classifier, " in said

    def test_a_stage_without_recipes_has_none_of_a_name(self, wsss) -> None:
        assert "report:scenes: no stage 'report'" in wsss("run", "--again", "report:scenes")[2]

    @pytest.mark.parametrize("flag", ["--again", "--only"])
    def test_an_unknown_recipe(self, wsss, flag: str) -> None:
        code, _, said = wsss("run", flag, "masks:pnoc")
        assert code == 2
        assert "masks:pnoc: config.yaml has no masks 'pnoc'; did you mean 'p-noc'? (there: p-noc" in said


def test_snakemake_understands_again_and_only(tmp_path: Path) -> None:
    checkout = Checkout.build(tmp_path / "checkout", CONFIG)
    checkout.finish()
    checkout.configure(changed("classifiers", "vanilla", "lr", value=0.2))
    for flag, rules in (("--only", {"masks"}), ("--again", {"classifier", "cams", "masks", "segmenter"})):
        command = [sys.executable, "-m", "wsss", "run", "-n", "--quiet", "rules", flag, "masks:p-noc"]
        done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        counted = set(re.findall(r"^(\w+) +\d+$", done.stdout, re.M)) - {"total"}
        assert counted == rules if flag == "--only" else counted > rules
