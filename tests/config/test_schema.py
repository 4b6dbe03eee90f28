"""The JSON schema follows the types, and the files that ship follow both."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from wsss.config.loader import load
from wsss.config.schema import schema
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "workflow" / "schemas" / "config.schema.json"
CONFIGS = [ROOT / "config.yaml", ROOT / "tests" / "tiny.yaml", *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))]


def test_file_and_types_agree() -> None:
    cure = "python -m wsss.config --schema > workflow/schemas/config.schema.json"
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(schema())), f"run: {cure}"


def test_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    raw = read_yaml(path)
    load(raw)
    jsonschema.validate(raw, schema(), cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "raw",
    [
        {"clasifiers": {}},
        {"classifiers": {"a": {"objective": "vanilla", "epocs": 3}}},
        {"cams": {"a": {"classifier": "b", "scales": "all"}}},
        {"masks": {"a": {"cams": "b", "crf": "deeplabb"}}},
        {"datasets": {"a b": {"kind": "scenes"}}},
        {"defaults": {"classifiers": {"epocs": 3}}},
        {"workstation": {"gpus": -1}},
        {"cams": {"a": {"classifier": "b", "splits": []}}},
        {"masks": {"a": {"source": "vote", "members": ["b"]}}},
        {"memories": {"a": {"classes": [1]}}},
    ],
)
def test_editors_see_mistakes(raw: dict) -> None:
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(raw))


@pytest.mark.parametrize(
    "raw",
    [
        {"classifiers": {"a": {"objective": "vanilla", "lr": "1e-4", "augment": "randaugment"}}},
        {"masks": {"a": {"cams": "b", "crf": "deeplab", "splits": "train"}, "b": {"crf": {"preset": "psa"}}}},
        {"segmenters": {"a": None}, "seeds": [0, 1], "dataset": ["a", "b"]},
        {"explanations": {"a": {"segmenter": "b", "classes": "cat"}, "b": {"segmenter": "b", "classes": ["cat"]}}},
        {"memories": {"a": {"classes": "cat"}}, "audits": {"a": {"layers": "backbone.layer4"}}},
        {"segmenters": {"a": {"objective": "continual", "classes": "cat"}}},
    ],
)
def test_editors_take_what_the_loader_takes(raw: dict) -> None:
    assert not list(jsonschema.Draft202012Validator(schema()).iter_errors(raw))


def test_every_setting_is_described() -> None:
    definitions = schema()["$defs"]
    for name, definition in definitions.items():
        properties = definition.get("properties") or definition["anyOf"][1]["properties"]
        for key, value in properties.items():
            choice = {"kind", "objective"} & {key}
            inherited = any(key in d.get("properties", {}) for n, d in definitions.items() if n != name)
            assert value.get("description") or choice or inherited, f"{name}.{key} has no docstring"


def test_yaml_with_a_key_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    with pytest.raises(WsssError, match="'c' stands twice in one block, in lines 3 and 5"):
        read_yaml(file)


def test_yaml_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: [1\n")
    with pytest.raises(WsssError, match="not valid YAML"):
        read_yaml(file)
    with pytest.raises(WsssError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")


def test_anchors_and_merges_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &x {c: 1, d: 2}\nb: {<<: *x, c: 3}\n")
    assert read_yaml(file)["b"] == {"c": 3, "d": 2}
