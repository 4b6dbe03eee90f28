"""``wsss adopt``: an artefact made elsewhere takes its place in the results."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.cli.finished_run import changed, listed
from wsss.provenance import outputs
from wsss.store.weights import save_weights

MINE = changed("masks", "p-noc", "crf", value="deeplab")
"""Other masks than any of the ablation study."""
NO_CRF = changed("masks", "p-noc", "crf", value=None)
MASKS, VANILLA = "scenes/s0/masks/p-noc", "scenes/s0/classifiers/vanilla"


@pytest.fixture
def theirs(results) -> Path:
    """A colleague's results with the same configuration, beside one's own."""
    results.make(results.configure(MINE))
    shutil.copytree("results", "theirs")
    return Path("theirs")


def trained(folder: Path, classes: list[str] | None) -> None:
    """Give a network weights that know some classes, as if it had been trained so."""
    save_weights(folder / "model.safetensors", {"w": torch.zeros(1)}, {} if classes is None else {"classes": classes})
    about = json.loads((folder / "manifest.json").read_text())
    about["outputs"]["model.safetensors"] = outputs.digest(folder / "model.safetensors")
    (folder / "manifest.json").write_text(json.dumps(about | {"content": outputs.content(about["outputs"])}))


def test_what_is_missing_is_taken_from_elsewhere(theirs, results, wsss) -> None:
    shutil.rmtree(results.run / "masks")
    code, said, _ = wsss("adopt", theirs / MASKS)
    assert (code, said) == (0, f"results/{MASKS}: adopted from theirs/{MASKS}\n")
    assert (results.run / "masks/p-noc/masks/a.png").read_bytes() == (theirs / MASKS / "masks/a.png").read_bytes()
    assert "16 of 16 jobs done" in wsss("plan")[1]


def test_what_was_there_is_kept(theirs, results, wsss) -> None:
    results.edit("s0/masks/p-noc", declared={"masks": 0}, identity="0" * 16)
    before = results.read("s0/masks/p-noc")
    wsss("adopt", theirs / MASKS)
    kept = f"s0/masks/.kept/{'0' * 16}"
    assert results.read(kept) == before and (results.folder / "results/scenes" / kept / "masks/a.png").is_file()
    assert results.read("s0/masks/p-noc")["identity"] != "0" * 16


def test_the_manifest_tells_where_it_came_from(theirs, results, wsss) -> None:
    before = results.read("s0/masks/p-noc")
    wsss("adopt", theirs / MASKS)
    (adopted,) = results.read("s0/masks/p-noc")["adopted"]
    assert adopted["identity"] == before["identity"]
    assert adopted["because"]["from"] == str(results.folder / "theirs" / MASKS)
    assert adopted["because"]["inputs"] == before["inputs"] and adopted["because"]["differences"] == []
    assert json.loads((results.run / "masks/p-noc/run.json").read_text())["device"] == "A GPU"


def test_it_stands_on_what_lies_here(theirs, results, wsss) -> None:
    """A colleague's inputs need not be ours."""
    results.edit("s0/cams/p-noc", content="0" * 16)
    for name in ("scores", "masks"):
        chain = results.configure(MINE)
        folder = f"results/scenes/s0/{'scores/cams' if name == 'scores' else 'masks'}/p-noc"
        results.job(chain, chain.at(folder))
    wsss("adopt", theirs / MASKS)
    manifest = results.read("s0/masks/p-noc")
    assert manifest["inputs"]["cams"]["content"] == "0" * 16
    assert manifest["adopted"][0]["because"]["inputs"]["cams"]["content"] != "0" * 16
    assert f"results/{MASKS}" not in listed(wsss("plan", "--jobs")[1])


def test_the_place_is_found_by_settings_and_seed(theirs, results, wsss) -> None:
    results.make(results.configure({**MINE, "seeds": [0, 1]}))
    shutil.copytree("results", "both")
    for seed in (0, 1):
        said = wsss("adopt", f"both/scenes/s{seed}/cams/p-noc")[1]
        assert said == f"results/scenes/s{seed}/cams/p-noc: adopted from both/scenes/s{seed}/cams/p-noc\n"


def test_names_of_other_recipes_are_nothing_to_it(theirs, results, wsss) -> None:
    config = {key: value for key, value in MINE.items() if key not in ("masks", "segmenters")}
    maps = {"mine": MINE["cams"]["p-noc"]}
    masks = {"better": {**MINE["masks"]["p-noc"], "cams": "mine"}}
    chain = results.configure({**config, "cams": maps, "masks": masks})
    results.make(chain, [job for job in chain.wanted() if job.name == "mine"])
    code, said, _ = wsss("adopt", theirs / MASKS)
    assert code == 0 and said.startswith("results/scenes/s0/masks/better: adopted from")


def test_recipes_of_the_study_come_last(results, wsss) -> None:
    shutil.copytree("results", "theirs")
    assert wsss("adopt", f"theirs/{MASKS}")[1].startswith(f"results/{MASKS}: adopted from")


def test_names_of_other_recipes_decide_between_two(results, wsss) -> None:
    masks = {name: {**MINE["masks"]["p-noc"], "cams": name} for name in ("p-noc", "vanilla")}
    results.make(results.configure({**MINE, "masks": masks}))
    shutil.copytree("results", "theirs")
    assert wsss("adopt", f"theirs/{MASKS}")[1].startswith(f"results/{MASKS}: adopted from")


def test_its_own_place_is_none(theirs, results, wsss) -> None:
    code, _, said = wsss("adopt", results.run / "masks/p-noc")
    assert code == 2
    assert said == f"wsss: error: results/{MASKS} lies in its place already; wsss accept takes it as it is\n"


def test_what_it_rests_on_has_to_be_there(theirs, results, wsss) -> None:
    shutil.rmtree("results")
    code, _, said = wsss("adopt", theirs / MASKS)
    assert (
        code == 2
        and (
            f"results/{MASKS} rests on results/scenes/index, results/scenes/s0/cams/p-noc, "
            "results/scenes/s0/scores/cams/p-noc, not made here yet or stale; make it first, then adopt"
        )
        in said
    )
    assert not Path("results").exists()


def test_a_file_that_is_gone(theirs, wsss) -> None:
    shutil.rmtree(theirs / MASKS / "masks")
    code, _, said = wsss("adopt", theirs / MASKS)
    assert code == 2 and f"theirs/{MASKS}: masks is gone; adopt it from where it is whole" in said


def test_a_file_that_was_changed(theirs, wsss) -> None:
    (theirs / MASKS / "masks/a.png").write_text("by hand")
    code, _, said = wsss("adopt", theirs / MASKS)
    assert code == 2
    assert f"theirs/{MASKS}: masks is not the one that was made (damaged, or changed by hand); adopt it fr" in said


def test_a_file_that_was_added(theirs, results, wsss) -> None:
    (theirs / MASKS / "masks/b.png").write_text("one more")
    assert "masks is not the one that was made" in wsss("adopt", theirs / MASKS)[2]


def test_the_place_that_is_named_is_for_another_stage(theirs, wsss) -> None:
    code, _, said = wsss("adopt", theirs / MASKS, "--to", "results/scenes/s0/cams/p-noc")
    assert code == 2
    assert f"results/scenes/s0/cams/p-noc is made by cams, and theirs/{MASKS} was made by masks" in said


def test_other_settings_are_refused(theirs, results, wsss) -> None:
    results.configure(NO_CRF)
    before = results.read("s0/masks/p-noc")
    code, _, said = wsss("adopt", theirs / MASKS, "--to", f"results/{MASKS}")
    assert (
        code == 2
        and (
            f"theirs/{MASKS} has other settings than results/{MASKS}: crf: was deeplab, is null. Change the recipe, or "
            "give --anyway; the manifest then says so"
        )
        in said
    )
    assert results.read("s0/masks/p-noc") == before


def test_other_settings_anyway(theirs, results, wsss) -> None:
    results.configure(NO_CRF)
    code, said, _ = wsss("adopt", theirs / MASKS, "--to", f"results/{MASKS}", "--anyway")
    assert code == 0 and said.endswith(", although crf: was deeplab, is null\n")
    manifest = results.read("s0/masks/p-noc")
    assert manifest["settings"]["crf"] is not None
    assert manifest["adopted"][0]["because"]["differences"] == ["crf: was deeplab, is null"]
    assert f"results/{MASKS}" not in listed(wsss("plan", "--jobs")[1])


def test_no_recipe_has_its_settings(theirs, results, wsss) -> None:
    results.configure(NO_CRF)
    code, _, said = wsss("adopt", theirs / MASKS)
    assert (
        code == 2
        and (f"theirs/{MASKS}: no recipe has the settings and seed of this masks (candidates: results/{MASKS}") in said
        and said.endswith("); name one with --to\n")
    )


def test_no_recipe_is_of_its_stage(theirs, results, wsss) -> None:
    manifest = theirs / MASKS / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "stage": "vote"}))
    assert "no recipe has the settings and seed of this vote (candidates: none)" in wsss("adopt", theirs / MASKS)[2]


def test_several_recipes_have_its_settings(theirs, results, wsss) -> None:
    results.configure({**MINE, "masks": {"p-noc": MINE["masks"]["p-noc"], "twin": MINE["masks"]["p-noc"]}})
    said = wsss("adopt", theirs / MASKS)[2]
    assert (
        f"theirs/{MASKS}: several recipes have the settings and seed of this masks (candidates: results/{MASKS}, "
        "results/scenes/s0/masks/twin); name one with --to"
    ) in said
    assert wsss("adopt", theirs / MASKS, "--to", "results/scenes/s0/masks/twin")[0] == 0


def test_a_network_of_other_classes(theirs, results, wsss) -> None:
    trained(theirs / VANILLA, ["dog", "cat"])
    code, _, said = wsss("adopt", theirs / VANILLA)
    assert code == 2 and f"theirs/{VANILLA} knows the classes dog, cat; the dataset here has cat" in said


@pytest.mark.parametrize("classes", [["cat"], None])
def test_a_network_of_the_same_classes(theirs, results, wsss, classes: list[str] | None) -> None:
    trained(theirs / VANILLA, classes)
    assert wsss("adopt", theirs / VANILLA)[0] == 0
    weights = [folder / VANILLA / "model.safetensors" for folder in (theirs, Path("results"))]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "input classifier: results/scenes/s0/classifiers/vanilla was made again since" in " ".join(
        wsss("plan", "--jobs")[1].split()
    )


def test_one_from_before_there_were_identities(theirs, results, wsss) -> None:
    results.age("s0/masks/p-noc")
    shutil.rmtree(theirs / MASKS)
    shutil.move(results.run / "masks/p-noc", theirs / MASKS)
    assert wsss("adopt", theirs / MASKS)[0] == 0
    manifest = results.read("s0/masks/p-noc")
    assert manifest["adopted"][0]["identity"] is None and set(manifest["outputs"]) == {"masks"}
    assert "16 of 16 jobs done" in wsss("plan")[1]


def test_what_is_no_artefact(results, wsss, tmp_path) -> None:
    assert "nowhere: not made yet (no manifest.json)" in wsss("adopt", "nowhere")[2]
    assert "never finished (no manifest.json)" in wsss("adopt", "results/scenes/s0")[2]


def test_a_place_that_the_configuration_does_not_make(theirs, wsss) -> None:
    code, _, said = wsss("adopt", theirs / MASKS, "--to", "results/scenes/s0/masks/p-nok")
    assert code == 2 and "config.yaml has no recipe 'p-nok' in 'masks'; did you mean 'p-noc'?" in said


def test_nothing_else_may_be_at_work_there(theirs, results, wsss) -> None:
    lock = results.run / "masks/p-noc/.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, said = wsss("adopt", theirs / MASKS)
    assert code == 2 and f"{MASKS}: another copy of this stage is at work here" in said


def test_another_seed_is_another_setting(theirs, results, wsss) -> None:
    results.make(results.configure({**MINE, "seeds": [0, 1]}))
    code, _, said = wsss("adopt", theirs / MASKS, "--to", "results/scenes/s1/masks/p-noc")
    assert code == 2 and "seed" in said


def test_other_versions_are_told(theirs, results, wsss) -> None:
    manifest = theirs / MASKS / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "declared": {"masks": 0}}))
    said = wsss("adopt", theirs / MASKS)[1]
    assert "version of masks: was 0, is 1" in said
    assert "version of masks: was 0, is 1" in results.read("s0/masks/p-noc")["adopted"][0]["because"]["differences"]


def test_weights_that_cannot_be_read(theirs, results, wsss) -> None:
    assert "not a readable file of weights" in wsss("adopt", theirs / VANILLA)[2]


def test_an_index_that_has_lost_its_classes(theirs, results, wsss) -> None:
    trained(theirs / VANILLA, ["cat"])
    (results.folder / "results/scenes/index/classes.txt").unlink()
    code, _, said = wsss("adopt", theirs / VANILLA)
    assert code == 2 and "rests on results/scenes/index, not made here yet or stale" in said


def test_a_place_outside_the_results(theirs, wsss) -> None:
    assert "elsewhere/x" in wsss("adopt", theirs / MASKS, "--to", "elsewhere/x")[2]
