"""A folder of finished results, and the program to look at them with."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.finished_run import CONFIG, Results, fresh
from tests.cli.photo_folder import CPU, NONE, PhotoFolder
from tests.workflow.finished import inside
from wsss.cli import main

Wsss = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Everything is made and up to date."""
    made = Results(tmp_path_factory.mktemp("finished"))
    with inside(made.folder):
        made.make(made.configure(CONFIG))
    return made


@pytest.fixture
def results(finished: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A copy of it, to work in."""
    monkeypatch.chdir(shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True))
    fresh()
    return Results(tmp_path, finished.clock)


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
