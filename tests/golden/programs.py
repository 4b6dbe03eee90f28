"""The stage programs as they are: what they read, and the versions that count in a case."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from tests.golden.cases import DIRECT, ROOT, Case
from wsss.provenance.versions import declared, declaring, versions
from wsss.runtime.program import Stage
from wsss.settings import Settings, classes_of


def stages() -> list[str]:
    """Names of the stage programs."""
    return sorted(path.stem for path in (ROOT / "stages").glob("*.py") if not path.name.startswith("_"))


@cache
def program(stage: str) -> tuple[Stage, Any]:
    """A stage's command line, and the function that does its work."""
    if str(ROOT / "stages") not in sys.path:  # programs import their neighbour
        sys.path.insert(0, str(ROOT / "stages"))
    names = runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="golden")
    (line,) = {id(value): value for value in names.values() if isinstance(value, Stage)}.values()
    line.parser.prog = f"{stage}.py"
    return line, import_module(f"wsss.stages.{stage}").make


def typed(stage: str, values: Mapping[str, Any] | None) -> Settings | None:
    """Settings as a stage reads them."""
    line, _ = program(stage)
    if line.settings is None or values is None:
        return None
    key, classes = classes_of(line.settings)
    return classes["" if key is None else values.get(key, next(iter(classes)))].read(dict(values))


def about(case: Case) -> tuple[dict[str, int | str], dict[str, str]]:
    """The versions that count in a case, and the file that declares each."""
    if case.stage == DIRECT:
        file = f"wsss/explain/methods/{case.name.replace('-', '_')}.py"
        version = declared(ROOT / file)
        name = f"explainer {case.name}"
        return ({} if version is None else {name: version}), {name: file}
    settings = typed(case.stage, case.settings)
    return versions(case.stage, settings), declaring(case.stage, settings)
