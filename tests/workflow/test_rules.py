"""What the rules are told: inputs, flags, settings, and hashes of the user's own files."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace as Wildcards
from typing import Any

import pytest
import yaml

from tests.workflow.every_recipe import RECIPES, TARGETS
from tests.workflow.finished import inside
from tests.workflow.planned import dag
from wsss.cli.run import RULES, SHARDED
from wsss.config.loader import load
from wsss.provenance.files import file_content, tree_content
from wsss.provenance.identity import files_of
from wsss.settings import KINDS, classes_of
from wsss.settings.fields import references
from wsss.steps import OF_RECIPES, SCORED, STEPS
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.resources import NEEDS
from wsss.workflow.rules import TITLES, Rules

ROOT = Path(__file__).resolve().parents[2]


def rules(text: str = "") -> Rules:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    for key, value in (yaml.safe_load(text) or {}).items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    return Rules(Chain(load(raw)), ROOT)


def at(folder: str, name: str = "p-noc", **more: str) -> Wildcards:
    return Wildcards(dataset="scenes", seed="0", folder=folder, name=name, **more)


def scored(kind: str, name: str = "p-noc") -> Wildcards:
    return Wildcards(dataset="scenes", seed="0", kind=kind, name=name)


class Given(dict[str, list[str]]):
    """Input files of a job, as Snakemake hands them to a function: by key and as attributes."""

    def __init__(self, **files: list[str]) -> None:
        super().__init__(files)
        self.index = ["results/scenes/index/manifest.json"]


def said(made: Rules, wildcards: Wildcards) -> str:
    return made.command(wildcards, Given(), ["out/manifest.json"], 1)


def test_references_become_inputs_and_flags() -> None:
    made, run = rules(), "results/scenes/s0"
    ordinary = made.reads("ordinary")
    assert ordinary(at("classifiers")) == [f"{run}/classifiers/vanilla/manifest.json"]
    assert ordinary(at("classifiers", "vanilla")) == []
    assert " --index results/scenes/index --settings " in said(made, at("classifiers", "vanilla"))
    flags = f" --index results/scenes/index --ordinary {run}/classifiers/vanilla --settings "
    assert flags in said(made, at("classifiers"))
    warm = rules("classifiers: {warm: {objective: vanilla, warm_start: vanilla}}")
    assert f"--warm-start {run}/classifiers/vanilla" in said(warm, at("classifiers", "warm"))


def test_a_chosen_threshold_needs_the_scores_of_the_maps() -> None:
    made = rules(
        "masks: {best: {cams: p-noc, threshold: {policy: oracle}}, plain: {cams: p-noc, threshold: {policy: fixed}}}"
    )
    scores, folder = made.reads("scores"), "results/scenes/s0/scores/cams/p-noc"
    assert scores(at("masks", "plain")) == [] and scores(at("masks", "best")) == [f"{folder}/manifest.json"]
    assert f"--scores {folder} " in said(made, at("masks", "best"))


def test_a_choice_by_masks_looks_at_as_many_as_thresholds() -> None:
    made = rules(
        "{evaluation: {calibration_images: 7}, masks: {a: {cams: p-noc}, "
        "best: {source: choice, members: [a, p-noc], by: masks}, "
        "own: {source: choice, members: [a, p-noc], by: masks, calibration_images: 3}, "
        "blind: {source: choice, members: [a, p-noc, best]}}}"
    )
    jobs = {name: Job("choice", "scenes", "0", name) for name in ("best", "own", "blind")}
    numbers = {name: made.chain.settings(job).calibration_images for name, job in jobs.items()}
    assert numbers == {"best": 7, "own": 3, "blind": None}
    run = "results/scenes/s0"
    assert f"--members {run}/masks/a {run}/masks/p-noc --settings " in said(made, at("masks", "best"))


def test_settings_are_one_string_without_what_does_not_matter() -> None:
    chain = rules().chain
    trained, applied, masks, maps = (
        json.loads(chain.settings_text(job))
        for job in (
            *(Job(rule, "scenes", "0", "p-noc") for rule in ("segmenter", "predictions")),
            *(Job("scores", "scenes", "0", "p-noc", kind) for kind in ("masks", "cams")),
        )
    )
    assert "predict" not in trained
    assert applied == json.loads(chain.recipe("segmenter", "p-noc").predict.canonical())
    assert masks == {} and "calibration_images" in maps


def test_commands_are_derived() -> None:
    """One function that takes ``output`` makes the whole command: it never re-runs a job."""
    made, wildcards = rules(), at("cams")
    words = shlex.split(made.command(wildcards, Given(), ["x/y z/manifest.json"], 3))
    assert words[:2] == [sys.executable, str(ROOT / "stages" / "cams.py")]
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    run = "results/scenes/s0"
    assert flags.pop("--settings") == made.chain.recipe("cams", "p-noc").canonical()
    assert flags == {
        **{"--index": "results/scenes/index", "--classifier": f"{run}/classifiers/p-noc", "--seed": "0"},
        **{"--threads": "3", "--out": "x/y z", "--state": "x/y z/state"},
    }
    shard = made.command(at("cams", part="1", parts="4"), Given(), ["x/y/parts/1-of-4.json"], 3)
    assert "--shard 1/4" in shard and shard.endswith("--out x/y --state x/y/state")
    assert "--gather 2" in made.command(wildcards, Given(parts=["a", "b"]), ["x/y/manifest.json"], 3)
    assert "--kind masks " in said(made, scored("masks")) and "stages/scores.py" in said(made, scored("masks"))

    several = rules("cams: {both: {source: ensemble, members: [p-noc, vanilla], rule: calibrated}}")
    members = (
        f"--members {run}/cams/p-noc {run}/cams/vanilla --scores {run}/scores/cams/p-noc {run}/scores/cams/vanilla"
    )
    assert f" {members} --settings " in said(several, at("cams", "both")), "a list of folders is one flag"


def test_patterns_take_the_names_and_nothing_else() -> None:
    made = rules("classifiers: {a.b: {objective: vanilla}}")
    pattern = made.pattern("classifiers")
    assert re.fullmatch(pattern, "a.b") and re.fullmatch(pattern, "p-noc")
    assert not re.fullmatch(pattern, "axb")
    assert not re.fullmatch(rules("segmenters: null").pattern("segmenters"), "")


def test_targets_over_datasets_and_seeds() -> None:
    made = rules("{seeds: [0, 1], dataset: [scenes, more], datasets: {more: {kind: scenes}}}")
    chain, datasets = made.chain, ("scenes", "more")
    assert made.pages() == [f"results/{d}/{page}" for page in ("summary.md", "report.html") for d in datasets]
    assert len(made.manifests("cams")) == 2 * 2 * len(chain.config.recipes["cams"])
    assert "results/more/s1/predictions/p-noc/manifest.json" in made.manifests("segmenters")
    summary = Wildcards(dataset="scenes")
    assert len(made.reads("scores")(summary)) == 2 * sum(
        len(chain.config.recipes[OF_RECIPES.get(kind, kind)]) for kind in SCORED
    )


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The parsed workflow and the jobs of every target, the ablation study's too, where every kind of recipe is."""
    folder = tmp_path_factory.mktemp("rules")
    shards = {"cams": {"shards": 2}, "masks": {"shards": 2}, "segmenters": {"predict": {"shards": 2}}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**RECIPES, "defaults": shards}))
    with inside(folder), dag(ROOT / "Snakefile", folder, targets=frozenset({*TARGETS, "ablation"})) as jobs:
        yield jobs.workflow, list(jobs.needrun_jobs()), Chain.read(None)


def test_every_rule_says_what_it_is(workflow: Any) -> None:
    parsed = {rule.name: rule for rule in workflow[0].rules if rule.output}
    assert set(parsed) == {*NEEDS, *(f"{rule}_shard" for rule in SHARDED)} and set(NEEDS) == set(RULES) > set(STEPS)
    jobs = {job.rule.name: job for job in workflow[1]}
    for name, rule in parsed.items():
        assert rule.log and rule.benchmark and rule.shellcmd and rule.message == "{params.title}", name
        assert (Path(rule.snakefile).parent / rule.conda_env).resolve() == ROOT / "envs" / "environment.yml", name
        assert {"gpu", "mem_mb", "runtime"} <= set(rule.resources), name
        if name in jobs:
            assert jobs[name].params.title.startswith(TITLES[name.removesuffix("_shard")]), name
    assert set(jobs) - {"all", "explain", "ablation"} >= set(NEEDS), "a rule of which there is no job"


def test_every_input_of_a_job_stands_in_its_rule_by_name(workflow: Any) -> None:
    """No file is read that Snakemake knows nothing of, and no rule names an input that no recipe has."""
    parsed, jobs, chain = workflow
    named = {rule.name: set(rule.input.keys()) for rule in parsed.rules if rule.output}
    used: dict[str, set[str]] = {}
    for job in (job for job in jobs if job.output):
        wanted: dict[str, list[str]] = {}
        made = job.output[0].partition("/parts/")[0].removesuffix("/manifest.json")
        for key, folder in chain.inputs(chain.at(made)).items():
            wanted.setdefault(key.partition(".")[0], []).append(f"{folder}/manifest.json")
        given = {key: list(paths) for key, paths in job.input.items() if paths and key != "parts"}
        used.setdefault(job.rule.name, set()).update(given)
        assert {key: paths for key, paths in given.items() if key not in ("after", "pictured")} == wanted, job
    assert {name: keys - {"after"} for name, keys in used.items() if name in NEEDS} == {n: named[n] for n in NEEDS}
    assert {name for name in used if name not in NEEDS} >= {"cams_shard", "walk_shard", "masks_shard", "vote_shard"}
    every = {(kind, key) for kind in KINDS for cls in classes_of(KINDS[kind])[1].values() for key in references(cls)}
    refs = {(kind, key) for kind in KINDS for name in RECIPES.get(kind, ()) for key in chain.config.refs(kind, name)}
    assert every == {(kind, key.partition(".")[0]) for kind, key in refs}, "a reference that no recipe above has"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "a b.jpg").write_bytes(b"123")
    (tmp_path / "tags.csv").write_text("id,labels\nsub/a b,cat\n")
    return tmp_path


def content(made: Rules) -> str | None:
    file_content.cache_clear()
    tree_content.cache_clear()
    return files_of(made.chain.config.recipes["datasets"]["mine"], 0)


def test_the_users_files_count_by_content(photos: Path) -> None:
    made = rules("datasets: {mine: {kind: folder, images: photos, labels: tags.csv, train: t.txt, val: v.txt}}")
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
