"""What all tests share: the checkout's own library, and few threads, because several programs run at once. And how
tests are shared out between two processes (``make test``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a container's habit that costs each of hundreds of processes seconds
sys.dont_write_bytecode = False

SLOW = (
    *("tests/slurm/", "tests/workflow/test_tiny.py", "tests/docs/test_tutorials.py", "tests/chaos/test_chaos.py"),
    *("tests/report/test_browser.py", "tests/report/test_screenshots.py"),
)
"""``make test-slow`` alone runs these (marker ``slow``), the longest first."""
TOGETHER = ("tests/slurm/",)
"""One process runs them all: a machine can hold one cluster at a time."""

SAID = "what ran on SLURM"
"""Name of what tests tell at the end of the output (the fixture ``tell``)."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Read no file for ``-m slow`` that has no slow test: that takes each process half a minute."""
    if config.option.markexpr != "slow" or collection_path.suffix != ".py":
        return None
    named = collection_path.relative_to(ROOT).as_posix().startswith(SLOW)
    return None if named or "mark.slow" in collection_path.read_text("utf-8") else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: next((n for n, start in enumerate(SLOW) if item.nodeid.startswith(start)), len(SLOW)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file stay together, since they share what is made for them."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((start for start in TOGETHER if nodeid.startswith(start)), super()._split_scope(nodeid))

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Here, because the process that prints it does not collect tests, and so knows no other file like this."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    properties = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    lines = [text for name, text in properties if name == SAID]
    if lines:
        terminalreporter.section(SAID)
        for line in lines:
            terminalreporter.line(line)
