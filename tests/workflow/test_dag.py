"""What the rules are told: inputs, flags, settings, and hashes of the user's own files."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace as Wildcards

import pytest
import yaml
from wsss.workflow.plan import Plan

from wsss.config.loader import load
from wsss.provenance.files import file_content, tree_content
from wsss.provenance.identity import files_of
from wsss.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]


def plan(text: str = "") -> Plan:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in (yaml.safe_load(text) or {}).items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    return Plan(load(raw), ROOT)


def at(name: str, **more: str) -> Wildcards:
    return Wildcards(dataset="scenes", seed="0", name=name, **more)


def test_references_become_inputs_and_flags() -> None:
    made = plan()
    run = "results/scenes/s0"
    assert made.inputs("classifier")(at("p-noc"))["ordinary"] == [f"{run}/classifiers/vanilla/manifest.json"]
    assert made.flags("classifier")(at("vanilla"), None) == "--index results/scenes/index"
    assert (
        made.flags("classifier")(at("p-noc"), None)
        == f"--index results/scenes/index --ordinary {run}/classifiers/vanilla"
    )
    warm = plan("classifiers: {warm: {objective: vanilla, warm_start: vanilla}}")
    assert f"--warm-start {run}/classifiers/vanilla" in warm.flags("classifier")(at("warm"), None)


def test_a_chosen_threshold_needs_the_scores_of_the_maps() -> None:
    made = plan(
        "masks: {best: {cams: p-noc, threshold: {policy: oracle}}, plain: {cams: p-noc, threshold: {policy: fixed}}}"
    )
    assert "scores" not in made.inputs("masks")(at("plain"))
    assert made.inputs("masks")(at("best"))["scores"] == ["results/scenes/s0/scores/cams/p-noc/manifest.json"]
    assert "--scores results/scenes/s0/scores/cams/p-noc" in made.flags("masks")(at("best"), None)


def test_settings_are_one_string_without_what_does_not_matter() -> None:
    made = plan()
    trained = json.loads(made.settings("segmenter")(at("p-noc")))
    assert "predict" not in trained
    applied = json.loads(made.settings("predictions")(at("p-noc")))
    assert applied == json.loads(made.recipe("segmenter", "p-noc").predict.canonical())
    assert made.settings("scores")(at("p-noc", kind="masks")) == "{}"
    assert "calibration_images" in made.settings("scores")(at("p-noc", kind="cams"))


class Given(dict[str, list[str]]):
    """Input files of a job, as Snakemake hands them to a function: by key and as attributes."""

    def __init__(self, **files: list[str]) -> None:
        super().__init__(files)
        self.index = ["results/scenes/index/manifest.json"]


def test_commands_are_derived() -> None:
    """One function that takes ``output`` makes the whole command: it never re-runs a job."""
    made, wildcards = plan(), at("p-noc")
    words = shlex.split(made.command("cams")(wildcards, Given(), ["x/y z/manifest.json"], 3))
    assert words[:2] == [sys.executable, str(ROOT / "stages" / "cams.py")]
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    run = "results/scenes/s0"
    assert flags.pop("--settings") == made.recipe("cams", "p-noc").canonical()
    assert flags == {
        **{"--index": "results/scenes/index", "--classifier": f"{run}/classifiers/p-noc", "--seed": "0"},
        **{"--threads": "3", "--out": "x/y z", "--state": "x/y z/state"},
    }
    share = at("p-noc", part="1", parts="4")
    said = made.command("cams")(share, Given(), ["x/y/parts/1-of-4.json"], 3)
    assert "--shard 1/4" in said and said.endswith("--out x/y --state x/y/state")
    assert "--gather 2" in made.command("cams")(wildcards, Given(parts=["a", "b"]), ["x/y/manifest.json"], 3)


def test_patterns_take_the_names_and_nothing_else() -> None:
    made = plan("classifiers: {a.b: {objective: vanilla}}")
    pattern = made.pattern("classifiers")
    assert re.fullmatch(pattern, "a.b") and re.fullmatch(pattern, "p-noc")
    assert not re.fullmatch(pattern, "axb")
    assert not re.fullmatch(plan("segmenters: null").pattern("segmenters"), "")


def test_targets_over_datasets_and_seeds() -> None:
    made = plan("{seeds: [0, 1], dataset: [scenes, more], datasets: {more: {kind: scenes}}}")
    assert made.summaries() == ["results/scenes/summary.md", "results/more/summary.md"]
    assert made.reports() == ["results/scenes/report.html", "results/more/report.html"]
    assert len(made.manifests("cams")) == 2 * 2 * len(made.names("cams"))
    assert "results/more/s1/predictions/p-noc/manifest.json" in made.manifests("segmenters")
    assert len(made.scores("scenes")) == 2 * sum(map(len, list(made.config.recipes.values())[1:]))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "a b.jpg").write_bytes(b"123")
    (tmp_path / "tags.csv").write_text("id,labels\nsub/a b,cat\n")
    return tmp_path


def content(made: Plan) -> str | None:
    file_content.cache_clear()
    tree_content.cache_clear()
    return files_of(made.config.recipes["datasets"]["mine"], 0)


def test_the_users_files_count_by_content(photos: Path) -> None:
    made = plan("datasets: {mine: {kind: folder, images: photos, labels: tags.csv, train: t.txt, val: v.txt}}")
    before = content(made)
    for file in photos.rglob("*"):
        os.utime(file, (1, 1))
    assert content(made) == before
    (photos / "tags.csv").write_text("id,labels\nsub/a b,dog\n")
    changed = content(made)
    assert changed != before
    (photos / "photos" / "c.jpg").write_bytes(b"")
    added = content(made)
    assert added != changed
    (photos / "t.txt").write_text("c\n")
    assert content(made) != added


def test_large_files_count_by_their_ends(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"a" + bytes(3 << 20))
    file_content.cache_clear()
    one = file_content(str(file), 1 << 20)
    file.write_bytes(b"b" + bytes(3 << 20))
    file_content.cache_clear()
    assert file_content(str(file), 1 << 20) != one
    assert file_content(str(tmp_path / "none")) == "absent"


def test_every_rule_says_what_it_is() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    blocks = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", rules, re.M | re.S))
    assert set(blocks) == {"index", "scores", "summary", "report", "study", "explanations", *STEPS}
    for name, block in blocks.items():
        for needed in (
            "log:",
            "benchmark:",
            f'runtime=NEEDS["{name}"]',
            "conda:",
            "message:",
        ):
            assert needed in block, (name, needed)
        asked = (f'NEEDS["{name}"].memory', f'plan.memory("{name}")', f'plan.shared_memory("{name}")')
        assert any(f"mem_mb={one}," in block for one in asked), name
