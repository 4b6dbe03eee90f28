"""Any key of any settings class changes, and exactly what depends on it would run again.

The keys and their other values come from the settings classes: a new key is covered as it is. What should run is told
from the recipes by ``recipe_graph``; what would run, by ``Staleness``, which tells Snakemake, and for some keys by
Snakemake itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.checkout import ROOT, Checkout
from tests.workflow.every_recipe import DATASETS, RECIPES, TARGETS
from tests.workflow.other_values import Case, cases, keys_of, spelled_out
from tests.workflow.planned import folders
from tests.workflow.recipe_graph import changed_by, downstream, edges
from wsss.config.loader import Config, load
from wsss.store import artefact
from wsss.workflow.chain import Chain
from wsss.workflow.staleness import Staleness

KINDS = tuple(RECIPES)[2:]
BLOCKS = ("evaluation", "ablation", "workstation")
ENDS = ("classifiers: TiledSettings.tiles", "segmenters: SegmenterSettings.predict.flip")
"""Changes at both ends of the chain."""
ALSO_BY_SNAKEMAKE = (
    *(*ENDS, "classifiers: ErasingSettings.ordinary", "classifiers: TrainingSettings.log"),
    *("cams: EnsembleSettings.members", "cams: InferenceSettings.flip", "saliency: SaliencyNetSettings.objective"),
    *("saliency: SaliencyNetSettings.refine.crf.iterations", "affinity: AffinitySettings.labels.foreground"),
    *("masks: MasksSettings.threshold.policy", "masks: ScatteredSettings.shards"),
    "evaluation: EvaluationSettings.threshold",
)


@cache
def of_recipes() -> dict[str, Case]:
    return cases(RECIPES, (*KINDS, *BLOCKS))


@cache
def of_datasets() -> dict[str, Case]:
    return cases(DATASETS, ("datasets",))


@pytest.fixture(params=["recipes", "datasets"], scope="module")
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Any, Any]:
    """A finished run of one of the configurations, every key of it written down, and the cases that change it."""
    raw, found = {"recipes": (RECIPES, of_recipes()), "datasets": (DATASETS, of_datasets())}[request.param]
    run = Checkout(tmp_path_factory.mktemp("every"), ROOT)
    run.configure(spelled_out(raw))
    run.finish(*(TARGETS if raw is RECIPES else TARGETS[:1]))
    return run, raw, found


def planned(run: Checkout, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The artefact folders that Snakemake would make."""
    monkeypatch.chdir(run.folder)
    Path("other.json").write_text(json.dumps(raw))  # read many times faster than YAML
    return folders(ROOT / "Snakefile", run.folder, "other.json", frozenset(TARGETS))


def stale(config: Config) -> set[str]:
    """The artefact folders that are not what a configuration wants."""
    chain = Chain(config)
    wanted = [chain.folder(job) for target in TARGETS for job in chain.last(target)]
    return {folder.relative_to(Path.cwd() / "results").as_posix() for folder in Staleness(chain, ROOT).stale(wanted)}


def expected(case: Case) -> set[str]:
    if case.kind == "datasets":
        return {str(case.name), f"{case.name}/index", f"{case.name}/report"}
    return downstream(case.config, changed_by(case.kind, case.name, case.path, case.config))


def test_no_key_is_left_out() -> None:
    """Where a key is missing here, no value but its own was found to fit in any recipe of its class: add a recipe to
    ``every_recipe`` in which one does, or say what has to change with it in ``other_values.TOGETHER``."""
    assert sorted(keys_of((*KINDS, *BLOCKS)) - set(of_recipes())) == []
    assert sorted(keys_of(("datasets",)) - set(of_datasets())) == []


def test_a_key_runs_again_what_depends_on_it(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, found = either
    monkeypatch.chdir(run.folder)
    # Nothing is made meanwhile: manifests are read once, and not again for each of hundreds of keys.
    monkeypatch.setattr("wsss.workflow.staleness.load", cache(artefact.load))
    wrong = {key: stale(case.config) ^ expected(case) for key, case in found.items()}
    assert not any(wrong.values()), {key: difference for key, difference in wrong.items() if difference}


def test_nothing_to_do_and_everything_to_do(either: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of this test knows every job, and no other."""
    run, raw, _ = either
    assert planned(run, raw, monkeypatch) == set()
    if raw is RECIPES:
        known = {artefact for edge in edges(load(raw)) for artefact in edge}
        assert planned(Checkout(tmp_path, ROOT), raw, monkeypatch) == known


def test_snakemake_would_run_the_same(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, raw, found = either
    for key in ALSO_BY_SNAKEMAKE if raw is RECIPES else list(found)[::10]:
        assert planned(run, found[key].raw, monkeypatch) == expected(found[key]), key


@pytest.mark.parametrize("either", ["recipes"], indirect=True)
def test_true_dry_runs_agree(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this file asks in one process is what ``snakemake -n`` lists."""
    run, _, found = either
    for key in ENDS:
        asked = planned(run, found[key].raw, monkeypatch)
        command = f"{sys.executable} -m snakemake -s {ROOT}/Snakefile --cores 2 -n -p --configfile other.json".split()
        done = subprocess.run([*command, "--", *TARGETS], cwd=run.folder, capture_output=True, text=True)
        made = re.findall(r" --out results/(\S+) ", done.stdout)
        assert len(made) == len(set(made)) and set(made) == asked, key
