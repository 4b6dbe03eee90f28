"""What the pages say is true of this code, as far as it can be read off: commands, presets, columns, methods, sizes."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest

from wsss.settings import CRF_PRESETS

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.relative_to(ROOT / "docs").as_posix(): path.read_text("utf-8") for path in ROOT.glob("docs/**/*.md")}
FENCE = re.compile(r"^```bash\n(.*?)^```", re.M | re.S)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every stage that a page runs."""
    found = []
    for page, text in PAGES.items():
        for block in FENCE.findall(text):
            several = re.split(r"(?m)^(?=python )", block.replace("\\\n", " "))
            found += [(page, one.strip()) for one in several if one.startswith("python stages/")]
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_is_one_that_its_stage_takes(page: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, program, *argv = shlex.split(command)
    monkeypatch.syspath_prepend(str(ROOT / "stages"))
    spec = importlib.util.spec_from_file_location(f"told_{Path(program).stem}", ROOT / program)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    stage = getattr(module, "stage", None) or module.STAGE
    args = stage.parser.parse_args(argv)
    settings = stage._read_settings(args)
    assert (settings is None) == (stage.settings is None)


def test_every_stage_has_its_command() -> None:
    told = {shlex.split(command)[1] for _, command in commands()}
    programs = {f"stages/{path.name}" for path in ROOT.glob("stages/[a-z]*.py")}
    # what is made elsewhere is told by its help, the ablation table is a target, and the report ends every run
    alone = {"stages/external_cams.py", "stages/external_masks.py", "stages/ablation_table.py", "stages/report.py"}
    assert programs - told == alone


def test_presets_of_the_dense_crf() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGES["how/crf.md"].splitlines()]
    table = {row[0].strip("`"): row for row in rows if row and row[0].strip("`") in CRF_PRESETS}
    assert table.keys() == CRF_PRESETS.keys()
    for name, preset in CRF_PRESETS.items():
        trust = f", {preset['confidence']:g}" if "confidence" in preset else ""
        kernels = [", ".join(f"{v:g}" for v in preset[key]) for key in ("gaussian", "bilateral")]
        assert table[name][1:5] == [f"{preset['unary']}{trust}", str(preset["iterations"]), *kernels]


def test_every_explainer_is_described() -> None:
    from wsss.explain import names

    assert not [name for name in names() if f"`{name}`" not in PAGES["how/explain.md"]]


def test_every_rule_of_ensembles_is_described() -> None:
    from wsss.settings import EnsembleSettings

    rules = get_args(EnsembleSettings.model_fields["rule"].annotation)
    assert rules and not [rule for rule in rules if f"| `{rule}` |" not in PAGES["how/masks.md"]]


def test_columns_and_tables_of_files() -> None:
    from wsss.data.index import COLUMNS
    from wsss.evaluate.agreement import COLUMNS as AGREEMENT
    from wsss.stages.summary import COLUMNS as SUMMARY
    from wsss.steps import STEPS

    text = PAGES["formats.md"]
    assert not [name for name in (*COLUMNS, *SUMMARY, *AGREEMENT) if f"`{name}`" not in text]
    assert not [step.folder for step in STEPS.values() if f"── {step.folder}/NAME/" not in text]


def test_the_layout_of_a_shard(tmp_path: Path) -> None:
    import h5py
    import numpy as np

    from wsss.parts.maps import IMAGES_A_FILE
    from wsss.store.map_writer import MapWriter

    path = tmp_path / "shard-00000-of-00001.h5"
    with MapWriter(path, scales=(1.0,), flip=True, stride=16, attributes={"relative": 1, "key": "0"}) as writer:
        writer.add("a", [0], (32, 32), [np.ones((1, 2, 2), np.float32)])
    text = PAGES["formats.md"].split("## Maps")[1].split("## Masks")[0]
    with h5py.File(path) as file:
        for name, table in file.items():
            kind = "UTF-8" if table.dtype.kind == "O" else str(table.dtype)
            assert f"| `{name}` | {kind}" in text
        assert not [name for name in file.attrs if f"`{name}`" not in text]
    assert f"{IMAGES_A_FILE:,} images" in text


def test_the_manifest_of_a_run(tmp_path: Path) -> None:
    import json
    import subprocess

    command = [sys.executable, str(ROOT / "stages/index.py"), "--dataset", "tiny", "--out", str(tmp_path)]
    settings = '{"kind": "scenes", "train": 2, "val": 2, "classes": 2, "size": 48}'
    subprocess.run([*command, "--settings", settings, "--threads", "1"], check=True, capture_output=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    told = json.loads((tmp_path / "run.json").read_text("utf-8"))
    noted = {"dataset", "classes", "dropped"}  # what this stage found on the way
    text = PAGES["formats.md"].split("## Manifests")[1].split("## Index")[0]
    of_manifest, of_run = text.split("`run.json` tells")
    assert not [key for key in manifest.keys() - noted if f"`{key}`" not in of_manifest]
    assert not [key for key in told if f"`{key}`" not in of_run]
    assert (tmp_path / ".manifest.json").read_bytes() == (tmp_path / "manifest.json").read_bytes()


def test_pictures_are_small_shown_and_made_by_the_code() -> None:
    pictures = {path.name: path.stat().st_size for path in ROOT.glob("docs/images/*")}
    shown = {name for text in PAGES.values() for name in re.findall(r"\]\((?:\.\./)?images/([\w.-]+)\)", text)}
    made = set(re.findall(r'out / "([\w.-]+)"', (ROOT / "docs/pictures.py").read_text("utf-8")))
    assert made == shown == pictures.keys(), "run docs/pictures.py, and show what it makes"
    assert max(pictures.values()) < 150_000 and sum(pictures.values()) < 1_500_000


def test_tests_that_are_named_exist() -> None:
    """The table of what a reading of the GPU paths found: 22 rows, each with a test or the word open."""
    rows = [line for line in PAGES["gpu.md"].splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 23))
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named or "open" in row, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / "tests" / path).read_text("utf-8"), row
