"""``wsss diff``: each difference once, where it arises."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.cli.finished_run import CONFIG


def merged(base: dict[str, Any], **blocks: Any) -> dict[str, Any]:
    return {**base, **{key: {**base.get(key, {}), **value} for key, value in blocks.items()}}


def test_nothing(results, wsss) -> None:
    code, said, _ = wsss("diff", "results/scenes/s0/cams/p-noc", "results/scenes/s0/cams/p-noc/manifest.json")
    assert code == 0 and "A and B are the same artefact: results/scenes/s0/cams/p-noc" in said
    shutil.copytree("results", "copy")
    code, said, _ = wsss("diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc")
    assert code == 0 and "No difference: settings, seeds, inputs, versions" in said


def test_settings_upstream_are_said_once(results, wsss) -> None:
    other = merged(CONFIG, classifiers={"vanilla": {"objective": "vanilla", "lr": 0.2}})
    results.make(results.configure({**other, "results": "other"}))
    code, said, _ = wsss("diff", "results/scenes/s0/masks/p-noc", "other/scenes/s0/masks/p-noc")
    assert code == 1
    assert said.splitlines()[3:] == [
        "classifier: results/scenes/s0/classifiers/vanilla | other/scenes/s0/classifiers/vanilla",
        "  lr: 0.1 | 0.2",
    ]


def test_recipes_side_by_side(results, wsss) -> None:
    code, said, _ = wsss("diff", "results/scenes/s0/cams/vanilla", "results/scenes/s0/cams/p-noc")
    assert code == 1
    first, second = said.split("\ncams: ")
    assert "  objective: vanilla | p-noc\n" in first
    assert "  ordinary: (absent) | vanilla\n" in first
    assert "  augment: [randaugment] | [colour-jitter]\n" in first
    assert "  input ordinary: (absent) | results/scenes/s0/classifiers/vanilla\n" in first
    assert "tiles" not in said  # a default of the one, and no key of the other
    assert "  classifier: vanilla | p-noc\n" in second and "  scales: [0.5, 1, 1.5, 2] | [1]\n" in second
    assert "code" not in second


def test_seeds_and_versions_where_they_arise(results, wsss) -> None:
    results.make(results.configure({**CONFIG, "seeds": [0, 1]}), versions={"torch": "2.11.0"})
    for path in ("classifiers/vanilla", "classifiers/p-noc", "cams/p-noc", "masks/p-noc"):
        results.edit(f"s1/{path}", versions={"torch": "2.12.0"}, device="Another GPU")
    code, said, _ = wsss("diff", "results/scenes/s0/masks/p-noc", "results/scenes/s1/masks/p-noc")
    assert code == 1
    assert said.count("seed: 0 | 1") == said.count("torch: 2.11.0 | 2.12.0") == said.count("device: A GPU | Ano") == 1
    assert "\nclassifier: results/scenes/s0/classifiers/vanilla | " in said
    assert "cams: " not in said and "masks: " not in said


def test_code_and_files(results, wsss) -> None:
    results.edit("s0/cams/p-noc", code={"wsss/inference/cams.py": "0", "wsss/stages/cams.py": "0"})
    shutil.copytree("results", "copy")
    results.edit("s0/cams/p-noc", code={"wsss/inference/cams.py": "1", "wsss/stages/cams.py": "0"})
    results.edit("index", files="1 2")
    said = wsss("diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc")[1]
    assert "  code: inference/cams.py: one text | another\n" in said and "  your files: 1 2 | " in said


def test_declared_versions(results, wsss) -> None:
    shutil.copytree("results", "copy")
    results.edit("s0/cams/p-noc", declared={"cams": 2, "inference": 1})
    said = wsss("diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc")[1]
    assert "  declared version of cams: 2 | 1\n" in said and "inference" not in said


def test_manifests_of_before_name_no_files_of_code(results, wsss) -> None:
    shutil.copytree("results", "copy")
    results.age()
    code, said, _ = wsss("diff", "results/scenes/s0/cams/p-noc", "copy/scenes/s0/cams/p-noc")
    assert code == 1 and "declared version of cams: (absent) | 1\n" in said and "code" not in said


def test_unlike_stages(results, wsss) -> None:
    code, said, _ = wsss("diff", "results/scenes/s0/cams/p-noc", "results/scenes/s0/masks/p-noc")
    assert code == 1
    assert "\ncams | masks: " in said
    assert "  input cams: (absent) | results/scenes/s0/cams/p-noc" in said and "max_side" not in said


def test_what_is_lost_is_said(results, wsss) -> None:
    shutil.copytree("results", "copy")
    results.edit("s0/cams/p-noc", content="0" * 16)
    said = " ".join(wsss("diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc")[1].split())
    assert "mind: results/scenes/s0/cams/p-noc was made again since results/scenes/s0/masks/p-noc read it" in said
    shutil.rmtree("copy/scenes/s0/cams/p-noc")
    said = " ".join(wsss("diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc")[1].split())
    assert "not compared: input cams of copy/scenes/s0/masks/p-noc: copy/scenes/s0/cams/p-noc: not made yet" in said


@pytest.mark.parametrize("everything", [False, True])
def test_consequences_on_demand(results, wsss, everything: bool) -> None:
    shutil.copytree("results", "copy")
    results.edit("s0/masks/p-noc", threshold={"value": 0.4}, wall_seconds=7)
    args = ["diff", "results/scenes/s0/masks/p-noc", "copy/scenes/s0/masks/p-noc"]
    code, said, _ = wsss(*args, *(["--all"] if everything else []))
    assert code == 0 and "No difference" in said
    assert ("  (threshold: {value: 0.4} | (absent))" in said) == everything
    assert ("  (wall time: 7 s | 1.7 min)" in said) == everything


def test_errors_end_with_two(results, wsss) -> None:
    code, _, error = wsss("diff", "results/scenes/s0/cams/p-noc", "results/scenes/s0/cams/pnoc")
    assert code == 2 and error.startswith("wsss: error: results/scenes/s0/cams/pnoc: does not exist; the nearest")
