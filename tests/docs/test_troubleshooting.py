"""What ``docs/troubleshooting.md`` quotes is in the code: messages as the programs word them, commands with flags."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
MESSAGES = [line for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
COMMANDS = re.findall(r"`(wsss [a-z][^`]*)`|^(wsss .*)$", PAGE, re.M)
GAP = "…"


@cache
def texts() -> list[str]:
    """Every text of the programs, with … for each value in it."""
    found = []
    for path in (*ROOT.glob("wsss/**/*.py"), *ROOT.glob("stages/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else GAP for v in node.values))
    return found


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_one_of_the_programs(message: str) -> None:
    pieces = [piece.strip() for piece in message.split(GAP) if piece.strip(" :;,")]
    pattern = re.compile(".*".join(map(re.escape, pieces)), re.S)
    assert pieces and any(pattern.search(text) for text in texts())


@pytest.mark.parametrize("command", sorted({one or other for one, other in COMMANDS}))
def test_a_quoted_command_exists(command: str) -> None:
    from snakemake.cli import get_argument_parser

    from wsss.cli import parser

    _, name, *words = shlex.split(command)
    known = parser()._subparsers._group_actions[0].choices[name]._option_string_actions
    if name == "run":
        known |= get_argument_parser()._option_string_actions
    assert not [word for word in words if word.startswith("-") and word.split("=")[0] not in known]


def test_every_question_has_a_fix_or_a_command() -> None:
    questions = re.split(r"^### ", PAGE, flags=re.M)[1:]
    assert len(questions) >= 25
    assert not [one.splitlines()[0] for one in questions if "*Fix.*" not in one and "```bash" not in one]
