"""Help, colours, exit codes of the program as a whole."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from tests.cli.finished_run import ROOT
from wsss.cli import COMMANDS as EVERY
from wsss.cli import main, parser
from wsss.cli.colours import coloured, paint

COMMANDS = (
    *("init", "check", "fetch", "run", "predict", "explain", "export", "review", "show", "diff", "plan"),
    "completion",
)
SLOW = ("torch", "numpy", "pydantic", "yaml", "snakemake", "PIL", "tqdm", "h5py")


def test_help_names_every_command(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "exit codes" in said and "NO_COLOR" in said
    for name in COMMANDS:
        assert said.count(f"\n    {name} ") == 1, name
    listed = [line.split()[0] for line in said.splitlines() if line.startswith("    ")]
    assert listed == list(EVERY) and listed[:5] == ["init", "check", "plan", "run", "predict"]


def test_help_fits_on_a_screen(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The overview and the help of the first command that a newcomer gives; no line is broken at 120 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    for words in (["--help"], ["init", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 44 and max(map(len, lines)) <= 120, words


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each(name: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and said.startswith(f"usage: wsss {name}")
    if name in ("init", "check", "run", "predict"):
        assert f"examples:\n  wsss {name}" in said


@pytest.mark.parametrize("name", ("init", "check", "run", "predict"))
def test_examples_are_understood(name: str) -> None:
    import shlex

    known = parser()
    sub = next(one for one in known._actions if one.choices and name in one.choices).choices[name]
    examples = [line.strip() for line in sub.epilog.splitlines() if line.startswith(f"  wsss {name}")]
    assert examples
    for example in examples:
        words = shlex.split(example.split("   ")[0])[1:]
        args, rest = known.parse_known_args(words)
        assert args.command == name and (not rest or name == "run")


def test_help_is_there_at_once() -> None:
    """Under 0.3 s of a processor, and none of the libraries that take long to import."""
    code = (
        "import sys\nfrom wsss.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip() == "[]"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_mistakes_on_the_command_line(capsys) -> None:
    for words in (["--frob"], ["frob"], [], ["check", "--frob"], ["predict", "a"], ["check", "--threads", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import wsss.cli.check

    def stop(args) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(wsss.cli.check, "check", stop)
    assert main(["check"]) == 130
    assert "stopped by Ctrl-C" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "red", stream=Terminal()) == "\033[31mx\033[0m"
    assert paint("x", "red", "bold", stream=io.StringIO()) == "x"
    assert paint("", "red", stream=Terminal()) == ""
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as here:
            here.setenv(name, value)
            assert not coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # the standard: empty is as if it were not there
    assert coloured(Terminal())


def test_installed_as_a_program() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["wsss"].partition(":")
    assert callable(getattr(import_module(module), name))
