"""Every case computes what is on record, or a version says that it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.golden.cases import DIRECT, ROOT, all_cases
from tests.golden.comparing import Judged
from tests.golden.pins import environment
from tests.golden.programs import about, stages
from tests.golden.records import VALUES, judged, read_records
from wsss.provenance.versions import KERNELS, declared
from wsss.settings import explainers, variants
from wsss.settings.explaining import METHODS

OBJECTIVES = ROOT / "wsss" / "objectives"
NO_STAGE = {f"explainer {path.stem.replace('_', '-')}" for path in METHODS.glob("seg_*.py")}
"""Explainers that no stage offers: their cases call them themselves."""


def methods() -> dict[str, Path]:
    """All that has to have a case, as ``versions`` calls it -> the file that declares its version."""
    found = {stage: ROOT / "stages" / f"{stage}.py" for stage in stages()}
    names = {path.stem.replace("_", "-") for path in OBJECTIVES.glob("*.py") if isinstance(declared(path), int)}
    for kind in ("classifiers", "saliency", "segmenters"):
        names |= {name for name, cls in variants(kind).items() if not cls.__module__.startswith("wsss.settings.own.")}
    found |= {f"objective {name}": OBJECTIVES / f"{name.replace('-', '_')}.py" for name in sorted(names)}
    files = [path for path in sorted(METHODS.glob("*.py")) if path.stem != "__init__"]
    files += [METHODS.parent / "seeds.py", METHODS.parent / "external.py"]
    found |= {f"explainer {path.stem.replace('_', '-')}": path for path in files}
    found |= {f"dataset {kind}": ROOT / "wsss" / "data" / "kinds" / f"{kind}.py" for kind in variants("datasets")}
    return found | {name: ROOT / f"{module.replace('.', '/')}.py" for name, module in KERNELS.items()}


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of all cases, run once in a process of its own with few instructions of the processor."""
    out = tmp_path_factory.mktemp("golden") / "found.json"
    command = [sys.executable, "-m", "tests.golden", "--run", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return content


@pytest.fixture(scope="session")
def verdicts(found: dict[str, Any]) -> Judged:
    return judged(found)


@pytest.mark.parametrize("key", all_cases())
def test_values_move_with_their_versions_only(key: str, found: dict[str, Any], verdicts: Judged) -> None:
    if "skipped" in found[key]:
        pytest.skip(found[key]["skipped"])
    said = verdicts.verdict(key)
    if said is not None:
        pytest.fail(said, pytrace=False)


@pytest.mark.parametrize("name", methods())
def test_everything_that_has_a_version_has_a_case(name: str) -> None:
    having = [key for key, case in all_cases().items() if name in about(case)[0]]
    said = (
        f"nothing watches the VERSION of {methods()[name].relative_to(ROOT)}: add a case to tests/golden/of_*.py whose "
        f"versions have {name!r}, and record its values (`python -m tests.golden --record STAGE.CASE`)"
    )
    assert having, said


def test_every_file_has_a_version() -> None:
    lacking = [str(path.relative_to(ROOT)) for path in methods().values() if not isinstance(declared(path), int)]
    assert not lacking, f"without a line VERSION = 1 they count by their text, at every edit: {', '.join(lacking)}"


def test_cases_without_a_stage_are_those_that_no_stage_can_have() -> None:
    direct = {name for case in all_cases().values() if case.stage == DIRECT for name in about(case)[0]}
    assert direct == NO_STAGE
    assert not {name.removeprefix("explainer ") for name in NO_STAGE} & set(explainers())


def test_nothing_is_on_record_that_has_no_case() -> None:
    left = sorted(read_records().keys() - all_cases().keys())
    assert not left, f"delete {', '.join(f'{VALUES.relative_to(ROOT)}/{name}.json' for name in left)}: no such case"


def test_no_two_cases_write_to_one_folder() -> None:
    folders = [case.out for case in all_cases().values()]
    assert len(set(folders)) == len(folders)
