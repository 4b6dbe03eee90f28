"""``wsss completion``: what the shells offer is what the parser takes."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from wsss.cli import COMMANDS, main, parser
from wsss.cli.completion import WRITERS, described


@pytest.fixture
def script(tmp_path: Path, capsys):
    """The file of a shell's script."""

    def write(shell: str) -> Path:
        assert main(["completion", shell]) == 0
        path = tmp_path / f"completion.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return write


def in_bash(script: Path, *lines: str) -> list[set[str]]:
    """What bash offers for the last word of each line."""
    asked = []
    for line in lines:
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        asked.append(f'COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _wsss; echo "${{COMPREPLY[*]}}"')
    text = "\n".join([f"source {shlex.quote(str(script))}", *asked])
    done = subprocess.run(["bash", "--norc", "-euc", text], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_bash_offers_commands_flags_and_values(script) -> None:
    path = script("bash")
    flags = {"--configfile", "--again", "--only", "--yes", "--short", "--plain", "--most", "-h", "--help"}
    for line, offered in zip(
        (cases := {
            "wsss ": set(COMMANDS),
            "wsss ex": {"explain", "export"},
            "wsss --v": {"--version"},
            "wsss run -": flags,
            "wsss run --configfile my.yaml --o": {"--only"},
            "wsss init photos --similar-names ": {"ask", "merge", "keep"},
            "wsss init photos --similar-names m": {"merge"},
            "wsss init photos --similar-names ask --br": {"--broken"},
            "wsss init photos --force ": set(),  # bash offers files
            "wsss init --labels ": set(),
            "wsss export net --to ": {"onnx", "torch.export", "coco", "cvat", "labelstudio", "png", "packed"},
            "wsss export --to onnx ": set(),
            "wsss review results/photos --splits train ": {"train", "val"},  # it takes several
            "wsss plan --on ": {"h100", "a100", "v100", "rtx4090", "cpu"},
            "wsss completion ": {"bash", "zsh", "fish"},
            "wsss unknown --": {"--help", "--version"},
        }),
        in_bash(path, *cases), strict=True,
    ):  # fmt: skip
        assert offered == cases[line], line


def test_every_flag_of_every_command_is_offered(script) -> None:
    known = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)).choices
    offered = in_bash(script("bash"), *(f"wsss {name} -" for name in COMMANDS))
    for name, found in zip(COMMANDS, offered, strict=True):
        flags = {flag for one in known[name]._actions for flag in one.option_strings}
        assert found == flags, name
    texts = {shell: WRITERS[shell](described()) for shell in ("zsh", "fish")}
    for name, command in described().items():
        for flag in command.flags:
            for one in flag.names:
                assert f"*{one}[" in texts["zsh"], (name, one)
                letter = f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}"
                assert f"__fish_seen_subcommand_from {name}' " in texts["fish"] and letter in texts["fish"], (name, one)


@pytest.mark.parametrize("shell", WRITERS)
def test_the_shell_reads_its_script(shell: str, script) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", script(shell)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_offers_the_same(script) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    for line, expected in (
        ("wsss ex", {"explain", "export"}),
        ("wsss init photos --similar-names ", {"ask", "merge", "keep"}),
        ("wsss run --o", {"--only"}),
        ("wsss completion ", {"bash", "zsh", "fish"}),
    ):
        text = f"source {shlex.quote(str(script('fish')))}; complete -C {shlex.quote(line)}"
        done = subprocess.run(["fish", "--no-config", "-c", text], capture_output=True, text=True, check=True)
        assert {one.split("\t")[0] for one in done.stdout.splitlines()} == expected, line


def test_an_unknown_shell_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2 and "choose from" in capsys.readouterr().err
