"""Any key of any settings class changes, and exactly what depends on it would run again.

The keys and their other values come from the settings classes: a new key is covered as it is. What should run is told
from the recipes by ``recipe_graph``; what would run, by Snakemake.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.checkout import Checkout
from tests.workflow.other_values import Case, cases, keys_of, spelled_out
from tests.workflow.planned import folders
from tests.workflow.recipe_graph import changed_by, downstream, edges
from wsss.config.loader import load

RECIPES: dict[str, Any] = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes}}
classifiers:
  vanilla: {objective: vanilla}
  puzzle: {objective: puzzle}
  oc-cse: {objective: oc-cse, ordinary: vanilla}
  p-oc: {objective: p-oc, ordinary: vanilla}
  p-noc: {objective: p-noc, ordinary: vanilla}
  guided: {objective: guided}
cams:
  plain: {classifier: vanilla}
  p-noc: {classifier: p-noc}
  heat: {classifier: guided}
  walk: {source: walk, cams: p-noc, affinity: edges}
  longer: {source: walk, cams: plain, affinity: other}
  both: {source: ensemble, members: [plain, walk], rule: calibrated}
  theirs: {source: external, path: maps.h5}
saliency:
  c2am: {objective: c2am}
  c2am-h: {objective: c2am-h, hints: plain}
  net: {objective: saliency, saliency: c2am-h, refine: {crf: labels}}
affinity:
  edges: {cams: plain, saliency: net}
  other: {cams: plain}
masks:
  plain: {cams: both, threshold: {policy: calibrated}}
  salient: {cams: walk, saliency: net}
  band: {cams: plain, ignore: {foreground: 0.5, background: 0.2}}
  voted: {source: vote, members: [plain, salient]}
  theirs: {source: external, path: masks}
segmenters:
  pseudo: {masks: voted, predict: {crf: deeplab}}
explanations:
  minmax: {classifier: vanilla, explainer: minmax-cam}
""")
"""A recipe of every settings class, and of every block that may be left out."""
TARGETS = ("all", "explain")
"""What makes everything."""
DATASETS: dict[str, Any] = yaml.safe_load("""
dataset: [scenes, photos, voc, coco]
datasets:
  scenes: {kind: scenes}
  photos: {kind: folder, images: photos, labels: tags.csv, train: train.txt, val: val.txt, classes: [cat, dog]}
  voc: {kind: voc, root: VOC2012}
  coco: {kind: coco, root: coco}
""")
KINDS = tuple(load(RECIPES).recipes)[1:]
BLOCKS = ("evaluation", "ablation", "workstation")


def one_each(raw: dict[str, Any], kinds: tuple[str, ...]) -> dict[str, Case]:
    """A case for each key of each class, by the key."""
    found: dict[str, Case] = {}
    for case in cases(raw, kinds):
        found.setdefault(case.key, case)
    return found


OF_RECIPES = one_each(RECIPES, (*KINDS, *BLOCKS))
OF_DATASETS = one_each(DATASETS, ("datasets",))


def done(folder: Path, config: dict[str, Any]) -> Checkout:
    """A run of the recipes that is finished, every key of them written down."""
    checkout = Checkout.build(folder, spelled_out(config))
    checkout.finish(*(TARGETS if "explanations" in config else TARGETS[:1]))
    return checkout


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return done(tmp_path_factory.mktemp("every") / "recipes", RECIPES)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return done(tmp_path_factory.mktemp("every") / "datasets", DATASETS)


def planned(checkout: Checkout, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(checkout.folder)
    (checkout.folder / "other.json").write_text(json.dumps(config))  # read many times faster than YAML
    return folders(checkout.folder / "Snakefile", checkout.folder, "other.json", frozenset(TARGETS))


def test_no_key_is_left_out() -> None:
    """Where a key is missing here, no value but its own was found to fit in any recipe of its class: add a recipe above
    in which one does, or say what has to change with it in ``other_values.TOGETHER``."""
    assert sorted(keys_of((*KINDS, *BLOCKS)) - set(OF_RECIPES)) == []
    assert sorted(keys_of(("datasets",)) - set(OF_DATASETS)) == []


def test_nothing_to_do_and_everything_to_do(
    recipes: Checkout, datasets: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of this test knows every job, and no other."""
    assert planned(recipes, RECIPES, monkeypatch) == set()
    assert planned(datasets, DATASETS, monkeypatch) == set()
    new = Checkout(tmp_path, recipes.checkout)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(RECIPES))
    known = {artefact for edge in edges(load(RECIPES)) for artefact in edge}
    assert folders(new.checkout / "Snakefile", tmp_path, targets=frozenset(TARGETS)) == known


@pytest.mark.parametrize("key", OF_RECIPES)
def test_a_key_runs_again_what_depends_on_it(key: str, recipes: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    case = OF_RECIPES[key]
    config = load(case.raw)
    expected = downstream(config, changed_by(case.kind, case.name, case.path, config))
    assert planned(recipes, case.raw, monkeypatch) == expected, case


@pytest.mark.parametrize("key", OF_DATASETS)
def test_a_key_of_a_dataset_runs_again_that_dataset(
    key: str, datasets: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = OF_DATASETS[key]
    assert planned(datasets, case.raw, monkeypatch) == {case.name, f"{case.name}/index", f"{case.name}/report"}, case


def test_true_dry_runs_agree(recipes: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this file asks in one process is what ``snakemake -n`` lists, for changes at both ends of the chain."""
    for key in ("PuzzleSettings.tiles", "SaliencyNetSettings.refine.crf.iterations", "SegmenterSettings.predict.flip"):
        asked = planned(recipes, OF_RECIPES[key].raw, monkeypatch)
        listed = recipes.snakemake("-n", *TARGETS, "--configfile", "other.json", "--printshellcmds").stdout
        made = re.findall(r" --out results/(\S+) ", listed)
        assert len(made) == len(set(made)) and set(made) == asked, key
