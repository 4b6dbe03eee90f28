"""A folder of finished results, and the program to look at them with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.finished_run import CONFIG, Results, fresh  # noqa: E402
from tests.cli.photo_folder import CPU, NONE, PhotoFolder  # noqa: E402
from wsss.cli import main

Wsss = Callable[..., tuple[int, str, str]]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Everything is made and up to date."""
    monkeypatch.chdir(tmp_path)
    fresh()
    made = Results(tmp_path)
    made.make(made.configure(CONFIG))
    return made


@pytest.fixture
def wsss(capsys: pytest.CaptureFixture[str]) -> Wsss:
    """Run the program: exit code, what it printed, what it said on stderr."""

    def call(*args: str | Path) -> tuple[int, str, str]:
        fresh()
        code = main([str(one) for one in args])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody sits at a terminal and types this."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(f"{text}\n"))


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotoFolder:
    """Photos and tags in the working directory."""
    monkeypatch.chdir(tmp_path)
    return PhotoFolder(tmp_path)


@pytest.fixture
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without weights, whatever the tests run on."""
    monkeypatch.setattr("wsss.cli.init.this_machine", lambda: CPU)
    monkeypatch.setattr("wsss.cli.init.choose_weights", lambda *given: NONE)
