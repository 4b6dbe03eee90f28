"""Tests marked ``gpu_sim``: on a GPU where there is one, else on simulated ones (``tests.gpu.simulated``), in a process
of their own for each file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import tiny_index  # noqa: F401  # a fixture
from tests.gpu.simulated.build import ON, ROOT, environment, why_not
from wsss.models.classifier import Classifier
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights

REPORTS = "WSSS_GPU_REPORTS"
"""In that process: the file that takes the reports of its tests."""

SIMULATED = ON in os.environ
REAL = not SIMULATED and torch.cuda.is_available()
_reports: dict[Path, tuple[dict[str, list[pytest.TestReport]], str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = None if SIMULATED or REAL else why_not()
    if reason is not None:
        for item in items:
            if item.get_closest_marker("gpu_sim"):
                item.add_marker(pytest.mark.skip(reason=f"no GPU here, and none can be simulated: {reason}"))


def _there(item: pytest.Item) -> bool:
    """Whether a test is one for the process with simulated GPUs."""
    return item.get_closest_marker("gpu_sim") is not None and item.get_closest_marker("skip") is None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let the process with simulated GPUs run a test, and pass on what it reports."""
    if SIMULATED or REAL or not _there(item):
        return None
    if item.path not in _reports:
        nodes = [one.nodeid for one in item.session.items if one.path == item.path and _there(one)]
        _reports[item.path] = _run(item.config, nodes)
    reports, said = _reports[item.path]
    lost = pytest.TestReport(item.nodeid, item.location, {}, "failed", f"its process ended early:\n{said}", "call")
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports.get(item.nodeid) or [lost]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # of the folders that the next test is not in
    return True


def _run(config: pytest.Config, nodes: list[str]) -> tuple[dict[str, list[pytest.TestReport]], str]:
    """What tests report that run on simulated GPUs, by test, and what their process says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reports.jsonl"
        variables = environment(**{REPORTS: str(path)})
        for name in [name for name in variables if name.startswith("PYTEST_")]:  # of the process above
            del variables[name]
        plain = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", str(ROOT / "pyproject.toml")]
        command = [sys.executable, "-m", "pytest", *plain, "--rootdir", str(ROOT), *nodes]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
        lines = path.read_text().splitlines() if path.exists() else []
    found: dict[str, list[pytest.TestReport]] = {}
    for line in lines:
        report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
        found.setdefault(report.nodeid, []).append(report)
    return found, f"{done.stdout}\n{done.stderr}"[-4000:]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if REPORTS in os.environ and hasattr(report, "when"):
        data: dict[str, Any] = report._to_json()
        with Path(os.environ[REPORTS]).open("a") as file:
            file.write(json.dumps({**data, "$report_type": "TestReport"}, default=str) + "\n")


@pytest.fixture(scope="session")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact of a small classifier of random weights, that of P-NOC and the like."""
    folder = tmp_path_factory.mktemp("ordinary")
    torch.manual_seed(0)
    about = {"backbone": "test_resnet", "output_stride": 16, "classes": ["red", "green"]}
    save_weights(folder / "model.safetensors", Classifier("test_resnet", 2, 16).state_dict(), about)
    write_manifest(folder, {})
    return folder
