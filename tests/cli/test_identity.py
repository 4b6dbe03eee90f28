"""The plan and the programs agree on identities; what counts for one, and what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import yaml

from tests.cli.finished_run import ROOT, fresh
from tests.workflow.finished import finish, inside
from wsss.config.loader import load
from wsss.provenance.identity import facts, identity
from wsss.runtime.program import Stage
from wsss.runtime.run import Run
from wsss.settings import ScenesSettings, Settings, VanillaSettings, VoteSettings
from wsss.settings.base import Neutral
from wsss.steps import STEPS, TABLES
from wsss.store.artefact import Artefact
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.rules import Rules
from wsss.workflow.staleness import Staleness, changed_settings

TARGETS = ("all", "explain", "beyond", "ablation")
TRUE = {"images": "photos", "labels": "tags.csv", "masks": "truth"}


def write_files(folder: Path) -> None:
    """What the configuration names, and is no result."""
    for name in ("photos", "truth", "masks0", "masks3"):
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(name.encode())
    (folder / "tags.csv").write_text("id,labels\na,cat\n")
    for name in ("w.safetensors", "maps.h5"):
        (folder / name).write_text(name)


def everything() -> dict[str, Any]:
    """A configuration in which every stage has something to do, and every kind of file is named."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    raw |= {"dataset": ["scenes", "photos"], "seeds": [3], "evaluation": {"threshold": 0.25}}
    raw["defaults"]["affinity"]["radius"] = 4  # for the study
    raw["datasets"]["photos"] = {"kind": "folder", **TRUE}
    raw["classifiers"]["theirs"] = {"objective": "vanilla", "pretrained": "w.safetensors", "processes": 2}
    raw["classifiers"]["guided"] = {"objective": "guided", "gt_masks": 3}
    raw["cams"]["theirs"] = {"source": "external", "path": "maps.h5"}
    raw["cams"]["grad-cam"] = {"classifier": "vanilla", "explainer": "grad-cam", "shards": 3}
    raw["cams"]["weighted"] = {"source": "ensemble", "members": ["p-noc", "theirs"], "rule": "calibrated"}
    raw["cams"]["words"] = {"source": "text", "method": "maskclip"}
    raw["masks"]["snapped"] = {"source": "regions", "masks": "p-noc", "regions": "masks3"}
    raw["masks"]["theirs"] = {"source": "external", "path": "masks{seed}", "keep": False}
    raw["segmenters"]["supervised"] = {"supervision": "masks", "log": "tensorboard"}
    return raw


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Everything is made."""
    folder = tmp_path_factory.mktemp("identity")
    write_files(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(everything()))
    fresh()
    finish(folder, targets=TARGETS)
    with inside(folder):
        yield Chain.read(None)


@cache
def program(rule: str) -> Stage:
    """The stage of a program."""
    spec = importlib.util.spec_from_file_location(f"stage_of_{rule}", ROOT / "stages" / f"{rule}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Stage = getattr(module, "stage", None) or module.STAGE
    found.parser.prog = f"{rule}.py"
    return found


class Files(dict[str, list[str]]):
    """A job's input files as Snakemake hands them out."""

    @property
    def index(self) -> list[str]:
        return self["index"]


def command(chain: Chain, job: Job, shard: tuple[int, int] | None = None) -> str:
    """The shell line of a job, or of a shard of it."""
    wildcards = {key: value for key, value in vars(job).items() if value is not None and key != "rule"}
    input, folder = Files(index=[f"{chain.base(job.dataset)}/index/manifest.json"]), chain.folder(job)
    out = f"{folder}/manifest.json"
    if job.rule not in ("scores", "summary"):
        wildcards["folder"] = Path(folder).relative_to(chain.base(job.dataset, job.seed)).parts[0]
    if shard is not None:
        wildcards |= {"part": str(shard[0]), "parts": str(shard[1])}
        out = f"{folder}/parts/{shard[0]}-of-{shard[1]}.json"
    elif chain.shards(job) > 1:
        input["parts"] = ["..."] * chain.shards(job)
    return Rules(chain, ROOT).command(SimpleNamespace(**wildcards), input, [out], 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """Start the program of a command, up to where it would look whether there is anything to do."""
    monkeypatch.syspath_prepend(str(ROOT / "stages"))
    runs: list[Run] = []
    monkeypatch.setattr(Stage, "_is_needed", lambda self, run: runs.append(run))
    monkeypatch.setenv("OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY", "passive"))

    def call(line: str) -> Run:
        words = shlex.split(line)
        (at,) = (n for n, word in enumerate(words) if Path(word).parent == ROOT / "stages")
        program(Path(words[at]).stem).main(words[at + 1 :], lambda run: None)
        return runs.pop()

    return call


def test_plan_and_programs_want_the_same(chain: Chain, asked) -> None:
    staleness, seen = Staleness(chain, ROOT), set()
    jobs = dict.fromkeys(job for target in TARGETS for job in chain.wanted(target))
    for job in jobs:
        run = asked(command(chain, job))
        state = staleness.state(Path(os.path.abspath(chain.folder(job))))
        assert run.about == state.about, job
        assert run.identity == state.identity == state.made.identity, job
        seen.add(job.rule)
    assert seen == {"index", "scores", *STEPS, *TABLES}


def test_jobs_that_share_the_images_make_the_same(chain: Chain, asked) -> None:
    staleness, seen = Staleness(chain, ROOT), set()
    for job in chain.wanted():
        if (total := chain.shards(job)) > 1:
            state = staleness.state(Path(os.path.abspath(chain.folder(job))))
            assert asked(command(chain, job, (total - 1, total))).identity == state.identity
            seen.add(job.rule)
    assert seen == {"vote", "cams"}


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_datasets_that_are_not_there_too(tmp_path: Path, monkeypatch, asked, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    raw = {"dataset": kind, "datasets": {kind: {"kind": kind, "root": "nowhere"}}}
    Path("config.yaml").write_text(yaml.safe_dump(raw))
    chain = Chain.read(None)
    job = Job("index", kind)
    run = asked(command(chain, job))
    assert run.identity == Staleness(chain, ROOT).state(tmp_path / chain.folder(job)).identity
    assert "absent" in run.about["files"]


FILES = {
    "tags.csv": ("index", "photos", None, None),
    "truth/b.png": ("index", "photos", None, None),
    "photos/a.png": ("index", "photos", None, None),
    "w.safetensors": ("classifier", "scenes", "0", "theirs"),
    "maps.h5": ("external_cams", "scenes", "0", "theirs"),
    "masks3/a.png": ("external_masks", "photos", "3", "theirs"),
}


class TestFilesOfOnesOwn:
    """They count by content: tables and weights by their bytes, folders of images by names and sizes."""

    @pytest.fixture
    def wanted(self, tmp_path: Path, monkeypatch):
        """The identity that is wanted of a job, asked anew."""
        monkeypatch.chdir(tmp_path)
        write_files(tmp_path)
        Path("config.yaml").write_text(yaml.safe_dump(everything()))
        chain = Chain.read(None)

        def ask(job: Job) -> str:
            fresh()
            inputs = {name: "content" for name in chain.inputs(job)}
            return identity(facts(job.rule, chain.settings(job), int(job.seed or 0), inputs))

        return ask

    @pytest.mark.parametrize("path", FILES)
    def test_a_change_counts(self, wanted, path: str) -> None:
        job, before = Job(*FILES[path]), wanted(Job(*FILES[path]))
        with Path(path).open("a") as file:
            file.write("more")
        assert wanted(job) != before

    @pytest.mark.parametrize("path", FILES)
    def test_times_do_not(self, wanted, path: str) -> None:
        job, before = Job(*FILES[path]), wanted(Job(*FILES[path]))
        for one in Path().rglob("*"):
            os.utime(one, (1, 1))
        assert wanted(job) == before

    def test_those_of_another_seed_do_not(self, wanted) -> None:
        job = Job("external_masks", "photos", "0", "theirs")
        before = wanted(job)
        Path("masks3/a.png").write_text("other")
        assert wanted(job) == before

    def test_what_names_no_file_does_not_look_at_any(self, wanted) -> None:
        jobs = [
            Job("index", "scenes"),
            Job("classifier", "photos", "0", "vanilla"),
            Job("cams", "photos", "0", "p-noc"),
        ]
        before = [wanted(job) for job in jobs]
        for name in FILES:
            Path(name).write_text("other")
        assert [wanted(job) for job in jobs] == before

    def test_one_that_is_not_there_is_no_error(self, wanted) -> None:
        job = Job("classifier", "scenes", "0", "theirs")
        before = wanted(job)
        Path("w.safetensors").unlink()
        assert wanted(job) != before


class Plain(Settings):
    """A block within settings."""

    number: int = 1


class Grown(Plain):
    """The same with a field that came later."""

    later: Annotated[int, Neutral(0)] = 0


class Short(VoteSettings):
    """Settings of a stage."""

    inner: Plain = Plain()
    perhaps: Plain | None = Plain()


class Long(VoteSettings):
    """The same, later."""

    inner: Grown = Grown()
    perhaps: Grown | None = Grown()
    switch: Annotated[bool, Neutral(False)] = False
    number: Annotated[float, Neutral(1.0)] = 1.0


def of(settings: Settings) -> str:
    return identity(facts("vote", settings, 0, {}))


class TestNeutral:
    """A field that came later does not count while a stage does what it did before."""

    members = {"members": ["a", "b"]}
    before = of(Short.read(members))

    def test_its_coming_changes_nothing(self) -> None:
        assert of(Long.read(self.members)) == self.before

    @pytest.mark.parametrize(
        "values",
        [{"switch": True}, {"number": 2}, {"inner": {"later": 1}}, {"perhaps": {"later": 1}}, {"rule": "mean"}],
    )
    def test_any_other_value_counts(self, values: dict[str, Any]) -> None:
        values = {"rule": "agreement"} if "rule" in values else values
        assert of(Long.read(self.members | values)) != self.before

    def test_the_block_that_holds_it_counts_as_before(self) -> None:
        values = self.members | {"inner": {"number": 2}, "perhaps": None}
        assert of(Long.read(values)) == of(Short.read(values)) != self.before

    def test_zero_is_not_false(self) -> None:
        class Other(Plain):
            later: Annotated[int | bool, Neutral(False)] = False

        assert Other().counted() == Plain().counted() and Other(later=0).counted() != Plain().counted()

    def test_its_coming_is_no_difference_to_what_was_made_before(self) -> None:
        """For other reasons too an artefact may be stale, or is looked at by ``wsss adopt``."""
        made = Artefact(Path("made"), {"stage": "vote", "settings": Short.read(self.members).model_dump(mode="json")})
        assert list(changed_settings(made, Job("vote", "scenes", "0", "a"), Long.read(self.members))) == []

    def test_it_stands_in_what_a_stage_is_started_with(self) -> None:
        assert json.loads(Long.read(self.members).canonical())["switch"] is False


def test_how_work_is_spread_does_not_count() -> None:
    assert of(VoteSettings.read({"members": ["a", "b"], "shards": 4, "keep": False, "storage": "packed"})) == of(
        VoteSettings.read({"members": ["a", "b"]})
    )


def test_what_another_stage_of_the_recipe_reads_does_not_count() -> None:
    raw = everything()
    for rule, kind, block in (("segmenter", "segmenters", "predict"), ("saliency", "saliency", "maps")):
        name, before = next(iter(raw[kind])), {}
        for scales in ([1.0], [0.5]):
            raw[kind][name][block] = {**raw[kind][name].get(block, {}), "scales": scales}
            settings = load(raw).recipes[kind][name]
            before[str(scales)] = identity(facts(rule, settings, 0, {}))
        assert len(set(before.values())) == 1, rule


class TestFilesOfCode:
    """A file with a version counts by that, one without by its content."""

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        for name in ("stages/classifier.py", "stages/index.py", "wsss/training/engine.py", "wsss/data/kinds/scenes.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("VERSION = 1\n")
        (tmp_path / "wsss/objectives").mkdir()
        (tmp_path / "wsss/objectives/vanilla.py").write_text("loss = 1\n")
        return tmp_path

    def trained(self, checkout: Path) -> str:
        fresh()
        return identity(facts("classifier", VanillaSettings(), 0, {}, root=checkout))

    def test_with_a_version(self, checkout: Path) -> None:
        before = self.trained(checkout)
        (checkout / "wsss/training/engine.py").write_text('"""Other."""\nVERSION = 1\n')
        assert self.trained(checkout) == before
        (checkout / "wsss/training/engine.py").write_text("VERSION = 2\n")
        assert self.trained(checkout) != before

    def test_without_one(self, checkout: Path) -> None:
        before = self.trained(checkout)
        (checkout / "wsss/objectives/vanilla.py").write_text("loss = 2\n")
        assert self.trained(checkout) != before
        (checkout / "wsss/objectives/vanilla.py").write_text("loss = 1\n")
        assert self.trained(checkout) == before

    def test_of_what_is_not_used(self, checkout: Path) -> None:
        fresh()
        before = identity(facts("index", ScenesSettings(), 0, {}, root=checkout))
        (checkout / "wsss/training/engine.py").write_text("VERSION = 2\n")
        (checkout / "wsss/objectives/vanilla.py").write_text("loss = 2\n")
        fresh()
        assert identity(facts("index", ScenesSettings(), 0, {}, root=checkout)) == before
