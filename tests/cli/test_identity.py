"""What a manifest says of code and of the user's files is what the workflow watches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from wsss.config import load
from wsss.provenance.files import file_content, tree_content
from wsss.dag import Plan
from wsss.identity import code_of, content_of, identity
from wsss.stage import Stage
from wsss.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Every rule, with files of the user's own, in a working folder that holds them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"123")
    (tmp_path / "tags.csv").write_text("id,labels\na,cat\n")
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    (tmp_path / "masks0").mkdir()
    file_content.cache_clear()
    tree_content.cache_clear()
    raw = yaml.safe_load((ROOT / "tests" / "tiny.yaml").read_text())
    raw["datasets"]["photos"] = {"kind": "folder", "images": "photos", "labels": "tags.csv"}
    raw["classifiers"]["vanilla"]["pretrained"] = "w.safetensors"
    raw["cams"]["theirs"] = {"source": "external", "path": "maps.h5"}
    raw["masks"]["theirs"] = {"source": "external", "path": "masks{seed}"}
    return Plan(load(raw), ROOT)


def test_code_is_the_hash_that_the_workflow_hands_out(plan: Plan) -> None:
    for rule in STEPS:
        for name in plan.served(rule):
            at = SimpleNamespace(dataset="scenes", seed="0", name=name)
            assert plan.code(rule)(at) == f"code {code_of(rule, plan.recipe(rule, name))}", (rule, name)
    for dataset, settings in plan.config.recipes["datasets"].items():
        assert plan.code("index")(SimpleNamespace(dataset=dataset)) == f"code {code_of('index', settings)}"
    for rule in ("scores", "summary", "report", "study"):
        assert plan.code(rule)(None) == f"code {code_of(rule, None)}"
    assert code_of("no such stage", None) is None


def test_content_is_what_the_workflow_watches(plan: Plan) -> None:
    recipes = plan.config.recipes
    at = SimpleNamespace(dataset="photos", seed="0", name="vanilla")
    assert plan.index_content(at) == content_of(recipes["datasets"]["photos"], 0)
    assert plan.weights_content("classifier")(at) == content_of(recipes["classifiers"]["vanilla"], 0)
    at.name = "theirs"
    for rule in ("external_cams", "external_masks"):
        assert plan.elsewhere_content(rule)(at) == content_of(plan.recipe(rule, "theirs"), 0)
    assert "absent" not in content_of(recipes["masks"]["theirs"], 0)
    assert "absent" in content_of(recipes["masks"]["theirs"], 1)
    assert content_of(recipes["datasets"]["scenes"], 0) is None
    assert content_of(recipes["classifiers"]["p-noc"], 0) is None
    assert content_of(None, 0) is None


def test_manifests_hold_both(plan: Plan, tmp_path: Path) -> None:
    recipe = plan.config.recipes["classifiers"]["vanilla"]
    stage = Stage("Nothing.", settings=type(recipe))
    stage.parser.prog = "classifier.py"
    with stage.run(["--out", str(tmp_path / "out"), "--settings", recipe.canonical()]):
        pass
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {key: manifest[key] for key in ("code", "content")} == identity("classifier", recipe, 0)
    assert identity("unknown", None, 0) == {}
