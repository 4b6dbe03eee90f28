"""``wsss accept``: finished results stand for what the configuration wants, as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.finished_run import CONFIG, changed, fresh, listed
from tests.workflow.checkout import Checkout
from tests.workflow.finished import inside
from wsss.cli import main
from wsss.provenance.outputs import digest
from wsss.runtime.run import read_input
from wsss.store.kept import set_aside

LR = changed("classifiers", "vanilla", "lr", value=0.2)
REASON = "lr: was 0.1, is 0.2"
VANILLA = "s0/classifiers/vanilla"


def json_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def nothing_to_do(wsss) -> bool:
    return "16 of 16 jobs done" in wsss("plan")[1]


def test_what_is_up_to_date_needs_none(results, wsss) -> None:
    code, said, _ = wsss("accept")
    assert (code, said) == (0, "Nothing to accept: every finished result is what the configuration wants.\n")
    assert wsss("accept", results.run / "cams/p-noc")[:2] == (code, said)


def test_what_changed_is_shown_before_it_is_asked(results, wsss, typed) -> None:
    results.configure(LR)
    before = results.read(VANILLA)
    typed("n")
    code, said, asked = wsss("accept")
    assert said == f"  results/scenes/{VANILLA}: {REASON}\n"
    assert asked == (
        "Accept 1 result as they are? [y/N] wsss: error: nothing was accepted; give --yes where nobody can be asked\n"
    )
    assert code == 2 and results.read(VANILLA) == before


def test_nobody_is_asked_without_a_terminal(results, wsss) -> None:
    results.configure(LR)
    code, _, said = wsss("accept")
    assert (code, said) == (2, "wsss: error: nothing was accepted; give --yes where nobody can be asked\n")


def test_yes_at_the_terminal(results, wsss, typed) -> None:
    results.configure(LR)
    typed("y")
    code, said, _ = wsss("accept")
    assert code == 0 and said.endswith("\n1 result accepted; wsss show tells what they were made with.\n")
    assert nothing_to_do(wsss)


def test_what_was_made_of_an_accepted_result_stays_too(results, wsss) -> None:
    results.configure(LR)
    assert "1 of 16 jobs done" in wsss("plan")[1]
    others = {path: results.read(path) for path in ("s0/cams/vanilla", "s0/classifiers/p-noc", "report")}
    assert wsss("accept", "--yes")[0] == 0 and nothing_to_do(wsss)
    assert {path: results.read(path) for path in others} == others
    assert "Nothing to accept" in wsss("accept", "--yes")[1]


def test_the_manifest_tells_what_it_was_made_with_and_what_for(results, wsss) -> None:
    before = results.read(VANILLA)
    results.configure(LR)
    wsss("accept", "--yes")
    after = results.read(VANILLA)
    assert after["settings"] == before["settings"] and after["settings"]["lr"] == 0.1
    assert (after["outputs"], after["content"]) == (before["outputs"], before["content"])
    assert after["identity"] != before["identity"]
    assert after["accepted"] == [{"identity": before["identity"], "because": [REASON]}]
    assert "made" not in after and "A GPU" in (results.run / "classifiers/vanilla/run.json").read_text()


def test_what_was_accepted_twice_tells_both(results, wsss) -> None:
    first = results.read(VANILLA)["identity"]
    results.configure(LR)
    wsss("accept", "--yes")
    second = results.read(VANILLA)["identity"]
    results.configure(changed("classifiers", "vanilla", "lr", value=0.3))
    wsss("accept", "--yes")
    assert [one["identity"] for one in results.read(VANILLA)["accepted"]] == [first, second]
    assert results.read(VANILLA)["accepted"][1]["because"] == ["lr: was 0.1, is 0.3"]


def test_it_is_the_identity_that_the_stage_would_have_given(results, wsss) -> None:
    chain = results.configure(LR)
    wsss("accept", "--yes")
    accepted = results.read(VANILLA)
    results.job(chain, chain.at(f"results/scenes/{VANILLA}"))
    made = results.read(VANILLA)
    assert accepted["identity"] == made["identity"]
    for key in ("declared", "seed", "flags", "files", "inputs"):
        assert accepted[key] == made[key]


def test_only_what_is_named(results, wsss) -> None:
    config = changed("classifiers", "vanilla", "lr", value=0.2)
    results.configure({**config, "segmenters": {"p-noc": {"masks": "p-noc", "lr": 0.5}}})
    code, said, _ = wsss("accept", "--yes", results.run / "classifiers/vanilla/model.safetensors")
    assert code == 0 and "segmenters" not in said and "1 result accepted" in said
    assert "11 of 16 jobs done" in wsss("plan")[1]


def test_what_rests_on_something_stale_is_left(results, wsss) -> None:
    """Nobody knows yet what it would be made of."""
    results.configure({**LR, "masks": {"p-noc": {**CONFIG["masks"]["p-noc"], "crf": None}}})
    before = results.read("s0/masks/p-noc")
    code, said, _ = wsss("accept", "--yes", results.run / "masks/p-noc")
    assert code == 0 and "0 results accepted" in said
    assert "  not accepted: results/scenes/s0/masks/p-noc: an input is stale; name it, too\n" in said
    assert results.read("s0/masks/p-noc") == before
    assert "2 results accepted" in wsss("accept", "--yes", results.run / "masks/p-noc", results.run / VANILLA[3:])[1]
    assert nothing_to_do(wsss)


def test_what_was_made_of_another_input_can_be_accepted(results, wsss) -> None:
    results.edit("s0/masks/p-noc", content="0" * 16)
    reason = "input masks: results/scenes/s0/masks/p-noc was made again since"
    assert f"s0/segmenters/p-noc: {reason}" in wsss("accept", "--yes")[1]
    assert results.read("s0/segmenters/p-noc")["inputs"]["masks"]["content"] == "0" * 16
    assert set(listed(wsss("plan", "--jobs")[1])) <= {"results/scenes", "results/scenes/report"}


def test_a_version_that_was_raised_for_others(results, wsss) -> None:
    now = results.read(VANILLA)["declared"]
    results.edit(VANILLA, declared={**now, "training": 0}, identity="0" * 16)
    wsss("accept", "--yes")
    assert results.read(VANILLA)["declared"] == now and nothing_to_do(wsss)
    assert results.read(VANILLA)["accepted"] == [
        {"identity": "0" * 16, "because": ["version of training: was 0, is 1"]},
    ]


def test_what_is_missing_or_comes_back_is_not_accepted(results, wsss) -> None:
    set_aside(results.run / "masks/p-noc")
    results.make(results.configure(changed("masks", "p-noc", "crf", value=None)))
    results.configure(CONFIG)
    said = wsss("accept", "--yes", results.run / "masks/p-noc")[1]
    assert said.startswith("Nothing to accept")
    shutil.rmtree(results.run / "segmenters/p-noc")
    assert "segmenters/p-noc:" not in wsss("accept", "--yes")[1]


def test_paths_that_are_nothing_of_the_configuration(results, wsss, tmp_path) -> None:
    assert "does not exist; the nearest artefact is" in wsss("accept", "results/scenes/s0/cams/pnoc")[2]
    shutil.copytree("results", "theirs")
    assert "lies outside the results folder 'results'" in wsss("accept", "theirs/scenes/s0/cams/p-noc")[2]
    results.configure({**CONFIG, "segmenters": {}})
    code, _, said = wsss("accept", results.run / "segmenters/p-noc")
    assert code == 2 and "config.yaml has no recipe 'p-noc' in 'segmenters'" in said
    (tmp_path / "config.yaml").unlink()
    assert "no config.yaml in" in wsss("accept")[2]


class TestOlder:
    """Manifests as the project wrote them before results had an identity."""

    @pytest.fixture
    def older(self, results):
        results.age()
        return results

    def test_they_are_stale(self, older, wsss) -> None:
        assert "0 of 16 jobs done" in wsss("plan")[1]

    def test_they_are_taken_over_all_at_once(self, older, wsss) -> None:
        code, said, _ = wsss("accept", "--yes")
        assert code == 0 and "16 results accepted" in said and nothing_to_do(wsss)
        reason = "made before results had an identity: 'wsss accept' takes it over as it is"
        assert older.read(VANILLA)["accepted"] == [{"identity": None, "because": [reason]}]

    def test_they_become_what_a_stage_would_write(self, older, wsss) -> None:
        wsss("accept", "--yes")
        taken = {path: older.read(path) for path in (VANILLA, "index", "s0/masks/p-noc", "s0/scores/cams/p-noc")}
        chain = older.configure(CONFIG)
        older.make(chain)
        for path, one in taken.items():
            made = older.read(path)
            assert {key: one.get(key) for key in made} == made and set(one) == {*made, "accepted"}, path

    def test_what_was_true_of_the_run_is_told_apart(self, older, wsss) -> None:
        wsss("accept", "--yes")
        about = json_of(older.run / "classifiers/vanilla/run.json")
        assert about["device"] == "A GPU" and about["made"].startswith("2026-01-01") and about["code"] == "c0de" * 4
        assert "16 of 16 jobs done" in wsss("plan")[1] and "The code of" not in wsss("plan")[1]

    def test_one_alone_needs_those_before_it(self, older, wsss) -> None:
        said = wsss("accept", "--yes", older.run / "cams/vanilla")[1]
        assert "0 results accepted" in said and "not accepted: results/scenes/s0/cams/vanilla" in said

    def test_other_settings_are_told_and_accepted_with_them(self, older, wsss) -> None:
        older.configure(LR)
        said = wsss("accept", "--yes")[1]
        assert f"takes it over as it is; {REASON} " in " ".join(said.split()) and nothing_to_do(wsss)

    def test_files_of_ones_own_are_those_of_now(self, results, wsss, tmp_path) -> None:
        (tmp_path / "w.safetensors").write_bytes(b"weights")
        results.make(results.configure(changed("classifiers", "vanilla", "pretrained", value="w.safetensors")))
        files = results.read(VANILLA)["files"]
        results.age()
        wsss("accept", "--yes")
        assert results.read(VANILLA)["files"] == files and nothing_to_do(wsss)

    def test_as_inputs_they_count_by_their_own_bytes(self, results, tmp_path) -> None:
        (tmp_path / "w.safetensors").write_bytes(b"weights")
        results.make(results.configure(changed("classifiers", "vanilla", "pretrained", value="w.safetensors")))
        results.age()
        folder = results.run / "classifiers/vanilla"
        assert read_input(folder)["content"] == digest(folder / "manifest.json")


def test_snakemake_has_nothing_to_do_after_it(tmp_path: Path) -> None:
    checkout = Checkout.build(tmp_path / "checkout", CONFIG)
    checkout.finish()
    checkout.configure(LR)
    assert len(checkout.plan()) == 15
    with inside(checkout.folder):
        fresh()
        assert main(["accept", "--yes"]) == 0
    assert checkout.plan() == set()


def test_an_explanation_that_is_named(results, wsss) -> None:
    config = {**CONFIG, "explanations": {"minmax": {"classifier": "vanilla", "explainer": "minmax-cam"}}}
    chain = results.configure(config)
    results.make(chain, chain.wanted("explain"))
    config["explanations"]["minmax"]["images"] = 3
    results.configure(config)
    assert "1 result accepted" in wsss("accept", "--yes", results.run / "explanations/minmax")[1]


def test_other_code_where_code_counts(results, wsss) -> None:
    results.configure({**CONFIG, "code": "strict"})
    results.edit(VANILLA, code={"wsss/training/engine.py": "0" * 16})
    assert f"{VANILLA}: code: training/engine.py changed (code: strict)" in wsss("accept", "--yes")[1]
    assert nothing_to_do(wsss)


def test_tables_notice_that_their_scores_were_accepted(results, wsss) -> None:
    """They show settings and versions, which have become others: they are accepted too, or made again."""
    now = results.read("s0/scores/cams/p-noc")
    results.edit("s0/scores/cams/p-noc", declared={"scores": 0}, identity="0" * 16)
    for table in ("", "report"):
        inputs = results.read(table)["inputs"]
        inputs["scores s0/cams/p-noc"]["identity"] = "0" * 16
        results.edit(table, inputs=inputs, identity="1" * 16)
    wsss("accept", "--yes")
    assert results.read("s0/scores/cams/p-noc")["identity"] == now["identity"]
    left = listed(wsss("plan", "--jobs")[1])
    for table in ("", "report"):
        folder = str(Path("results/scenes", table))
        assert folder in left or results.read(table)["identity"] != "1" * 16
