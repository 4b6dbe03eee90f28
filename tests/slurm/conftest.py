"""What the tests on SLURM saw, in a few lines at the end of pytest's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SAID = "what ran on SLURM"


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the end of the session's output. It goes there with the test's report, perhaps from another
    process."""
    return lambda line: request.node.user_properties.append((SAID, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [
        text for report in reports if report.when == "call" for name, text in report.user_properties if name == SAID
    ]
    if lines:
        terminalreporter.section(SAID)
        for line in lines:
            terminalreporter.line(line)
