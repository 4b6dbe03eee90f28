"""The ablation study: what it builds on a configuration, what it shares, and its tables."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.workflow.checkout import Checkout
from wsss.config.ablation import study_of, with_study
from wsss.data.index import write_index
from wsss.errors import WsssError
from wsss.report.ablation import cell, long_form, page, values_of
from wsss.runtime.run import Run
from wsss.stages.ablation_table import make as write_ablation_table
from wsss.store.manifest import write_manifest
from wsss.system.files import write_json

CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {
        "mine": {"objective": "vanilla", "augment": [], "label_smoothing": 0.0},
        "other": {"objective": "vanilla"},
    },
    "cams": {"of-mine": {"classifier": "mine"}, "of-other": {"classifier": "other"}},
    "segmenters": {"bound": {"supervision": "masks"}},
    "defaults": {
        "classifiers": {"epochs": 3, "crop": 96, "long_side": [96, 96]},
        "masks": {"threshold": {"policy": "calibrated"}},
    },
}


def shown(study: Any) -> dict[str, dict[str, tuple[str, str]]]:
    return {row.title: row.shown for row in study.rows}


def test_what_the_configuration_has_is_shared() -> None:
    study = with_study(CONFIG)
    rows = shown(study)
    assert rows["vanilla"] == {
        "tags": ("classifiers", "mine"),
        "CAM": ("cams", "of-mine"),
        "CAM + dCRF": ("masks", "ablation-vanilla"),
    }
    assert rows["vanilla + RandAugment"]["CAM"] == ("cams", "ablation-vanilla-ra")  # label smoothing sets 'other' apart
    assert rows["segmentation network on ground-truth masks"]["masks"] == ("segmenters", "bound")
    assert study.config.recipes["classifiers"]["ablation-p-noc"].epochs == 3
    assert study.config.recipes["classifiers"]["ablation-oc-cse"].ordinary == "ablation-vanilla-ra"
    assert study.config.recipes["masks"]["ablation-vanilla"].cams == "of-mine"
    assert not any(
        name.startswith("ablation-") for block in CONFIG.values() if isinstance(block, dict) for name in block
    )


def test_only_what_the_rows_say_differs() -> None:
    recipes = with_study(CONFIG).config.recipes["classifiers"]
    plain, augmented = (recipes[n].model_dump() for n in ("mine", "ablation-vanilla-ra"))
    assert {k for k in plain if plain[k] != augmented[k]} == {"augment"}
    without, smooth = (recipes[n].model_dump() for n in ("ablation-p-noc", "ablation-p-noc-ls"))
    assert {k for k in smooth if without[k] != smooth[k]} == {"label_smoothing"}


def test_choices_of_the_study() -> None:
    raw = {**CONFIG, "ablation": {"ordinary": "vanilla", "best": "p-oc", "augment": []}}
    study = with_study(raw)
    recipes = study.config.recipes
    assert recipes["classifiers"]["ablation-p-oc"].ordinary == "mine"
    assert recipes["classifiers"]["ablation-p-oc"].augment == ()
    assert recipes["saliency"]["ablation-c2am-h"].hints == "ablation-p-oc"
    assert shown(study)["random walk"]["masks"] == ("cams", "ablation-walk")


def test_a_recipe_of_the_users_under_the_studys_name_stands_for_it() -> None:
    raw = copy.deepcopy(CONFIG)
    raw["classifiers"]["ablation-puzzle"] = {"objective": "puzzle", "epochs": 1, "warm_start": "mine"}
    raw["cams"]["ablation-puzzle"] = {"classifier": "ablation-puzzle", "scales": [1.0]}
    study = with_study(raw)
    recipes = study.config.recipes
    assert recipes["classifiers"]["ablation-puzzle"].warm_start == "mine"
    assert recipes["classifiers"]["ablation-p-oc"].epochs == 3
    assert recipes["cams"]["ablation-puzzle"].scales == (1.0,) != recipes["cams"]["ablation-p-oc"].scales
    assert recipes["masks"]["ablation-puzzle"].cams == "ablation-puzzle"
    assert shown(study)["Puzzle"]["tags"] == ("classifiers", "ablation-puzzle")


def test_without_true_masks_thresholds_are_fixed() -> None:
    raw = copy.deepcopy(CONFIG)
    raw["datasets"]["scenes"] = {"kind": "folder", "images": "i", "labels": "l.csv"}
    del raw["segmenters"], raw["defaults"]["masks"]
    study = with_study(raw)
    assert study.config.recipes["masks"]["ablation-vanilla"].threshold.policy == "fixed"
    assert "segmentation network on ground-truth masks" not in shown(study)


def test_defaults_that_do_not_go_with_the_study_stop_only_the_study() -> None:
    raw = copy.deepcopy(CONFIG)
    raw["defaults"]["classifiers"]["crop"] = 112  # no multiple of 2 tiles x stride 16
    said = study_of(raw)
    assert isinstance(said, str) and "does not go with" in said and "classifiers.ablation-puzzle" in said
    with pytest.raises(WsssError, match="does not go with"):
        with_study(raw)


def test_target_builds_the_study_and_nothing_of_the_rest(tmp_path: Path) -> None:
    checkout = Checkout.build(tmp_path / "checkout", CONFIG)
    plan = checkout.plan("ablation")
    assert "classifier mine" in plan and "classifier ablation-p-noc-ls" in plan and "walk ablation-walk" in plan
    assert "ablation_table scenes" in plan
    assert not {job for job in plan if "other" in job.split()}, (
        "recipes of the configuration that the study does not need"
    )
    assert not {job for job in checkout.plan() if "ablation-" in job}, "the default target does not build the study"
    checkout.finish("ablation")
    assert checkout.plan("ablation") == set()


def scores(folder: Path, kind: str, recipe: str, seed: int, splits: dict[str, Any]) -> Path:
    made = folder / f"s{seed}" / "scores" / kind / recipe
    made.mkdir(parents=True)
    content = {"kind": kind, "recipe": recipe, "dataset": "d", "classes": ["a"], "splits": splits}
    write_json(made / "scores.json", content)
    artefact = folder / f"s{seed}" / kind / recipe
    artefact.mkdir(parents=True, exist_ok=True)
    write_manifest(artefact, {"stage": "cams", "settings": {}, "inputs": {}})
    inputs = {"artefact": {"path": f"../../../{kind}/{recipe}", "digest": ""}}
    write_manifest(made, {"stage": "scores", "seed": seed, "inputs": inputs})
    return made


def policies(value: float, metric: str = "miou", policy: str = "calibrated") -> dict[str, Any]:
    return {"images": 2, "policies": {policy: {metric: value, "images": 2}, "oracle": {metric: 1.0, "images": 2}}}


def test_table_of_two_seeds(tmp_path: Path) -> None:
    folders = [
        scores(tmp_path, "cams", "low", 0, {"train": policies(0.40), "val": policies(0.50)}),
        scores(tmp_path, "cams", "low", 1, {"train": policies(0.42), "val": policies(0.54)}),
        scores(tmp_path, "cams", "high", 0, {"train": policies(0.50), "val": policies(0.60)}),
        scores(tmp_path, "cams", "high", 1, {"train": policies(0.50), "val": policies(0.60)}),
    ]
    layout = [["priors", "vanilla", {"CAM": ["cams", "low"]}], ["priors", "P-NOC", {"CAM": ["cams", "high"]}]]
    out, index = tmp_path / "out", tmp_path / "index"
    for folder in (out, index):
        folder.mkdir()
    args = SimpleNamespace(out=out, state=None, seed=0, layout=json.dumps(layout), dataset="d")
    write_index(index, ["a"], [])
    given = {"index": index, **{f"scores.{n}": folder for n, folder in enumerate(folders)}}
    write_ablation_table(Run(args, None, given, "ablation_table"))
    said = (out / "ablation.md").read_text()
    assert "| vanilla | 41.0 ± 1.4 | 52.0 ± 2.8 |" in said
    assert "| P-NOC | 50.0 ± 0.0 (+9.0 ± 1.4) | 60.0 ± 0.0 (+8.0 ± 2.8) |" in said
    assert "2 seeds" in said
    rows = (out / "ablation.csv").read_text().splitlines()
    assert rows[-1] == "d,priors,P-NOC,CAM,val,miou,0.600000,0.000000,0.080000,2"
    args.layout = json.dumps([["priors", "x", {"CAM": ["cams", "absent"]}]])
    with pytest.raises(WsssError, match="scores of cams absent were not given"):
        write_ablation_table(Run(args, None, given, "ablation_table"))


def test_each_objective_says_its_augmentation(tmp_path: Path) -> None:
    out, index, layout, given = tmp_path / "out", tmp_path / "index", [], []
    for name, augment in (("vanilla", []), ("vanilla-ra", ["randaugment"]), ("p-oc", ["colour-jitter", "randaugment"])):
        given.append(scores(tmp_path, "classifiers", name, 0, {"val": policies(0.5, "map", "")}))
        write_manifest(tmp_path / "s0/classifiers" / name, {"settings": {"augment": augment}, "inputs": {}})
        layout.append(["priors", name.upper(), {"tags": ["classifiers", name]}])
    given.append(scores(tmp_path, "cams", "p-oc", 0, {"val": policies(0.4)}))
    layout.append(["chain", "maps", {"masks": ["cams", "p-oc"]}])
    for folder in (out, index):
        folder.mkdir()
    write_index(index, ["a"], [])
    args = SimpleNamespace(out=out, state=None, seed=0, layout=json.dumps(layout), dataset="d")
    inputs = {"index": index, **{f"scores.{n}": folder for n, folder in enumerate(given)}}
    write_ablation_table(Run(args, None, inputs, "ablation_table"))
    said = (out / "ablation.md").read_text()
    assert "|  | augmentation | tags, val |" in said
    assert "| VANILLA | none | 50.0 |" in said and "| VANILLA-RA | randaugment | 50.0 (+0.0) |" in said
    assert "| P-OC | colour-jitter, randaugment | 50.0 (+0.0) |" in said
    assert "|  | masks, val |" in said and "| maps | 40.0 |" in said


def test_values_prefer_the_calibrated_threshold(tmp_path: Path) -> None:
    from wsss.report.provenance import read_scored

    maps = read_scored(scores(tmp_path, "cams", "m", 0, {"val": policies(0.3)}))
    tags = read_scored(scores(tmp_path, "classifiers", "c", 0, {"val": policies(0.9, "map", "")}))
    assert values_of({0: maps}) == {"val": {0: 0.3}}
    assert values_of({0: tags}) == {"val": {0: 0.9}}


def test_cells_pair_seeds() -> None:
    first = {0: 0.5, 1: 0.6}
    assert cell(first, first) == "55.0 ± 7.1"
    assert cell({0: 0.6, 1: 0.7}, first) == "65.0 ± 7.1 (+10.0 ± 0.0)"
    assert cell({1: 0.7}, first) == "70.0 (+10.0)"
    assert cell({}, first) == "–"
    assert long_form("d", [("priors", "a", {"CAM": {"val": {0: None}}})]) == []
    assert "| a | – |" in page("d", [("priors", "a", {"CAM": {"val": {0: None}}})])
