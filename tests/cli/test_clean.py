"""``wsss clean``: what is of no use any more, and intermediates that are given up (``keep: false``)."""

from __future__ import annotations

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.finished_run import CONFIG, changed, listed
from wsss.store.kept import set_aside

NO_CRF = changed("masks", "p-noc", "crf", value=None)


@pytest.fixture
def kept(results) -> Path:
    """Masks that were made anew with another setting; the folder of the earlier ones."""
    set_aside(results.run / "masks/p-noc")
    results.make(results.configure(NO_CRF))
    (folder,) = (results.run / "masks/.kept").iterdir()
    return folder


def aged(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(folder, (then, then))


def checkpoint(folder: Path) -> Path:
    """What a training leaves that was begun with other settings."""
    state = folder / "state" / ("0" * 16)
    state.mkdir(parents=True)
    (state / "checkpoint.pt").write_bytes(bytes(3 << 20))
    return state


def given_up(kind: str, name: str = "p-noc") -> dict[str, Any]:
    """The configuration with ``keep: false`` for one recipe."""
    config = copy.deepcopy(CONFIG)
    config[kind][name]["keep"] = False
    return config


def test_nothing(results, wsss) -> None:
    assert wsss("clean")[:2] == (0, "Nothing to clean.\n")


def test_sizes_are_told_before_it_is_asked(results, kept, wsss, typed) -> None:
    typed("n")
    (kept / "masks/large.bin").write_bytes(bytes(5 << 20))
    checkpoint(results.run / "classifiers/vanilla")
    code, said, asked = wsss("clean")
    assert said.splitlines() == [
        "what         folders   size",
        "kept               1  5 MiB  earlier results, kept when something was made anew",
        "checkpoints        1  3 MiB  half-done trainings of other settings or versions",
    ]
    assert asked == ("Delete 2 folders? [y/N] wsss: error: nothing was deleted; give --yes where nobody can be asked\n")
    assert code == 2 and kept.is_dir()


def test_nobody_is_asked_without_a_terminal(kept, wsss) -> None:
    code, _, said = wsss("clean")
    assert (code, said) == (2, "wsss: error: nothing was deleted; give --yes where nobody can be asked\n")
    assert kept.is_dir()


@pytest.mark.parametrize("answer", [True, False])
def test_yes(results, kept, wsss, typed, answer: bool) -> None:
    if answer:
        typed("y")
    code, said, _ = wsss("clean", *([] if answer else ["--yes"]))
    assert code == 0 and said.endswith("\nDeleted.\n") and not kept.exists()
    assert "16 of 16 jobs done" in wsss("plan")[1]
    assert wsss("clean")[1] == "Nothing to clean.\n"


def test_only_what_is_named(results, kept, wsss) -> None:
    state = checkpoint(results.run / "classifiers/vanilla")
    wsss("clean", "--checkpoints", "--yes")
    assert kept.is_dir() and not state.exists()
    wsss("clean", "--kept", "--yes")
    assert not kept.exists()


def test_every_folder_is_named_on_demand(results, kept, wsss) -> None:
    assert str(kept.name) not in wsss("clean")[1]
    assert f"  results/scenes/s0/masks/.kept/{kept.name}: 0 MiB\n" in wsss("clean", "--list")[1]


def test_what_is_younger_stays(results, kept, wsss) -> None:
    aged(kept, 10)
    assert wsss("clean", "--older", "11", "--yes")[1] == "Nothing to clean.\n" and kept.is_dir()
    wsss("clean", "--older", "9", "--yes")
    assert not kept.exists()


def test_a_training_that_is_not_finished_keeps_its_checkpoints(results, wsss) -> None:
    folder = results.run / "classifiers/vanilla"
    state = checkpoint(folder)
    (folder / "manifest.json").unlink()
    assert wsss("clean", "--yes")[1] == "Nothing to clean.\n" and state.is_dir()


def test_without_a_configuration(results, wsss) -> None:
    Path("config.yaml").unlink()
    code, _, said = wsss("clean")
    assert code == 2 and "no config.yaml in" in said


class TestUnnamed:
    """Results of recipes that are no longer in the configuration."""

    def test_recipes_and_seeds(self, results, wsss) -> None:
        results.make(results.configure({**CONFIG, "seeds": [0, 1]}))
        results.configure({**CONFIG, "segmenters": {}})
        code, said, _ = wsss("clean", "--unnamed", "--list", "--yes")
        assert code == 0 and "results/scenes/s0/segmenters/p-noc: 0 MiB" in said
        assert not list(results.folder.glob("results/scenes/s1/*/*/*.json"))
        assert not (results.run / "predictions/p-noc").exists() and (results.run / "masks/p-noc").is_dir()

    def test_they_are_not_looked_for_unasked(self, results, wsss) -> None:
        results.configure({**CONFIG, "segmenters": {}})
        assert wsss("clean", "--yes")[1] == "Nothing to clean.\n"

    def test_what_other_targets_make_is_named(self, results, wsss) -> None:
        config = {**CONFIG, "explanations": {"minmax": {"classifier": "vanilla", "explainer": "minmax-cam"}}}
        chain = results.configure(config)
        for target in ("explain", "ablation"):
            results.make(chain, chain.wanted(target))
        assert wsss("clean", "--unnamed")[1] == "Nothing to clean.\n"
        results.configure(CONFIG)
        said = wsss("clean", "--unnamed", "--list")[1]
        assert listed(said) == ["results/scenes/explanations", "results/scenes/s0/explanations/minmax"]

    def test_a_dataset(self, results, wsss) -> None:
        other = {"other": CONFIG["datasets"]["scenes"]}
        results.configure({**CONFIG, "dataset": "other", "datasets": other})
        wsss("clean", "--unnamed", "--yes")
        assert not list(results.folder.glob("results/scenes/*/manifest.json"))

    def test_what_is_younger_stays_below_an_older_summary(self, results, wsss) -> None:
        aged(results.folder / "results/scenes", 40)
        results.configure({**CONFIG, "dataset": "other", "datasets": {"other": CONFIG["datasets"]["scenes"]}})
        wsss("clean", "--unnamed", "--older", "30", "--yes")
        assert (results.run / "classifiers/vanilla/model.safetensors").is_file()

    def test_a_manifest_that_cannot_be_read(self, results, wsss) -> None:
        results.configure({**CONFIG, "segmenters": {}})
        (results.run / "segmenters/p-noc/manifest.json").write_text("no JSON")
        assert wsss("clean", "--unnamed", "--yes")[0] == 0


class TestIntermediates:
    """Artefacts with ``keep: false``, when all that reads them is made."""

    def test_files_go_and_the_manifest_stays(self, results, wsss) -> None:
        results.configure(given_up("cams"))
        maps = results.run / "cams/p-noc"
        before = results.read("s0/cams/p-noc")
        said = wsss("clean", "--yes", "--list")[1]
        assert "intermediates        1" in said and "results/scenes/s0/cams/p-noc: 0 MiB" in said
        assert not list(maps.glob("*.h5")) and results.read("s0/cams/p-noc") == before
        assert wsss("clean", "--yes")[1] == "Nothing to clean.\n"

    def test_nothing_that_follows_is_made_again(self, results, wsss) -> None:
        results.configure(given_up("cams"))
        wsss("clean", "--yes")
        assert wsss("plan")[1].splitlines()[-1] == "Nothing to do."
        results.configure(given_up("cams") | {"segmenters": {"p-noc": {"masks": "p-noc", "lr": 0.1}}})
        assert "results/scenes/s0/cams/p-noc" not in listed(wsss("plan", "--jobs")[1])

    def test_they_are_made_again_when_something_needs_them(self, results, wsss) -> None:
        results.configure(given_up("cams"))
        wsss("clean", "--yes")
        config = given_up("cams")
        config["masks"]["p-noc"]["crf"] = None
        results.configure(config)
        said = wsss("plan", "--jobs")[1]
        assert "results/scenes/s0/cams/p-noc: 1.7 min; shard-00000-of-00001.h5 is gone\n" in said
        assert "results/scenes/s0/classifiers/p-noc" not in listed(said)

    def test_they_stay_until_all_that_reads_them_is_made(self, results, wsss) -> None:
        config = given_up("cams")
        results.configure({**config, "segmenters": {"p-noc": {"masks": "p-noc", "lr": 0.1}}})
        assert "intermediates" not in wsss("clean")[1], "the tables picture them, and are to be made"
        config["masks"]["p-noc"]["crf"] = None
        results.configure(config)
        assert "intermediates" not in wsss("clean")[1]

    def test_a_part_of_a_recipe(self, results, wsss) -> None:
        config = copy.deepcopy(CONFIG)
        config["segmenters"]["p-noc"]["predict"] = {"keep": False}
        results.configure(config)
        wsss("clean", "--intermediates", "--yes")
        assert not (results.run / "predictions/p-noc/masks").exists()
        assert (results.run / "segmenters/p-noc/model.safetensors").is_file()
        assert (results.run / "predictions/p-noc/manifest.json").is_file()

    def test_keep_is_no_change(self, results, wsss) -> None:
        results.configure(given_up("cams"))
        assert "16 of 16 jobs done" in wsss("plan")[1] and "keep" not in results.read("s0/cams/p-noc")["settings"]

    def test_by_default_everything_stays(self, results, wsss) -> None:
        assert wsss("clean", "--intermediates", "--yes")[1] == "Nothing to clean.\n"

    def test_what_was_accepted_is_done_too(self, results, wsss) -> None:
        config = given_up("cams")
        config["segmenters"]["p-noc"]["lr"] = 0.1
        results.configure(config)
        wsss("accept", "--yes")
        wsss("clean", "--yes")
        assert not list((results.run / "cams/p-noc").glob("*.h5"))
        assert "16 of 16 jobs done" in wsss("plan")[1]

    def test_what_is_older_has_no_files_to_give_up(self, results, wsss) -> None:
        results.configure(given_up("cams"))
        results.age()
        assert wsss("clean", "--yes")[1] == "Nothing to clean.\n"
        assert json.loads((results.run / "cams/p-noc/manifest.json").read_text())["code"] == "c0de" * 4
