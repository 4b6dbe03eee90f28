"""``wsss completion``: a script by which a shell completes commands, flags and their values.

It is written from the argument parser, so it knows what the commands know; what it does not know (a recipe's name, a
number) is left to the shell, which offers names of files.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ABOUT = """\
Print a script that completes the commands, flags and values of wsss in a shell. Put it where the shell looks for such
scripts, or try it with 'source <(wsss completion bash)'."""
EXAMPLES = """\
examples:
  wsss completion bash > ~/.local/share/bash-completion/completions/wsss
  wsss completion zsh > ~/.zfunc/_wsss                   any folder of $fpath
  wsss completion fish > ~/.config/fish/completions/wsss.fish"""
FILES = ("FILE", "DIR", "PNG")
"""Metavariables of flags that take a file."""
LONGEST = 70
"""Letters of a description."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss completion``."""
    parser.add_argument("shell", choices=tuple(WRITERS), help="the shell")


def completion(args: argparse.Namespace) -> int:
    """Print the script; 0."""
    print(WRITERS[args.shell](described()), end="")
    return 0


@dataclass(frozen=True)
class Flag:
    """A flag of a command.

    Attributes:
        names: ``--threads``, or ``-q`` and ``--quiet``.
        help: What it does, in a line.
        takes: Whether a value follows; ``files``: whether that is a file; ``several``: whether more may follow.
        choices: The values that are allowed; empty where any is.
    """

    names: tuple[str, ...]
    help: str
    takes: bool = False
    files: bool = False
    several: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described:
    """A command: what it does, its flags, and the ``values`` of its first argument where only some are allowed."""

    help: str
    flags: list[Flag] = field(default_factory=list)
    values: tuple[str, ...] = ()


def described() -> dict[str, Described]:
    """Name to description of every command of the program."""
    from wsss.cli import COMMANDS, parser

    known = parser()
    commands = next(one.choices for one in known._actions if isinstance(one, argparse._SubParsersAction))
    return {name: _described(help, commands[name]) for name, help in COMMANDS.items()}


def _described(help: str, command: argparse.ArgumentParser) -> Described:
    shown = [one for one in command._actions if one.help is not argparse.SUPPRESS]
    values = next((tuple(one.choices) for one in shown if not one.option_strings and one.choices), ())
    return Described(help, [_flag(one) for one in shown if one.option_strings], values)


def _flag(action: argparse.Action) -> Flag:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return Flag(
        tuple(action.option_strings),
        textwrap.shorten((action.help or "").replace("%%", "%"), LONGEST, placeholder=" ..."),
        takes=action.nargs != 0,
        files=action.type is Path or metavar.partition("|")[0] in FILES,
        several=action.nargs in ("+", "*") or isinstance(action.nargs, int) and action.nargs > 1,
        choices=tuple(map(str, action.choices or ())),
    )


def bash(commands: Mapping[str, Described]) -> str:
    """For bash from 3.2 on, which macOS has. Where it offers nothing, bash offers files."""
    about, values = [], []
    for name, one in commands.items():
        several = [flag for each in one.flags if each.several for flag in each.names]
        about.append(
            f"    {name}) flags='{_words(flag for each in one.flags for flag in each.names)}' "
            f"several='{_words(several)}' ;;"
        )
        values += [
            f"    {'|'.join(repr(f'{name} {flag}') for flag in each.names)}) values='{_words(each.choices)}' ;;"
            for each in one.flags
            if each.choices
        ]
        values += [f"    '{name} ') values='{_words(one.values)}' ;;"] if one.values else []
    return "\n".join(
        [
            "# Completion of wsss in bash; made by 'wsss completion bash'.",
            "_wsss() {",
            "    local word=${COMP_WORDS[COMP_CWORD]} command= option= flags='--help --version' several= values= k",
            "    for ((k = 1; k < COMP_CWORD; k++)); do",
            "        if [[ ${COMP_WORDS[k]} != -* ]]; then command=${COMP_WORDS[k]}; break; fi",
            "    done",
            "    case $command in",
            *about,
            "    esac",
            "    # the flag that the word may be a value of: the one before it, or an earlier one that takes several",
            "    for ((k = COMP_CWORD - 1; k > 0; k--)); do",
            "        if [[ ${COMP_WORDS[k]} == -* ]]; then option=${COMP_WORDS[k]}; break; fi",
            "    done",
            '    if ((k < COMP_CWORD - 1)) && [[ " $several " != *" $option "* ]]; then option=; fi',
            '    case "$command $option" in',
            f"    ' ') values='{_words(commands)}' ;;",
            *values,
            "    esac",
            "    if [[ $word == -* ]]; then values=$flags; fi",
            "    COMPREPLY=()",
            '    if [[ -n $values ]]; then COMPREPLY=($(compgen -W "$values" -- "$word")); fi',
            "}",
            "complete -o default -F _wsss wsss",
            "",
        ]
    )


def zsh(commands: Mapping[str, Described]) -> str:
    """For zsh, to be sourced, or to lie as ``_wsss`` in a folder of ``$fpath``."""
    cases = []
    for name, one in commands.items():
        first = f"1:value:({_words(one.values)})" if one.values else "*:file:_files"
        cases += [f"  {name})", "    _arguments \\"]
        cases += [f"      {_quoted(text)} \\" for each in one.flags for text in _of_zsh(each)]
        cases += [f"      {_quoted(first)} ;;"]
    return "\n".join(
        [
            "#compdef wsss",
            "# Completion of wsss in zsh; made by 'wsss completion zsh'.",
            "_wsss() {",
            "  local -a commands",
            "  commands=(",
            *(f"    {_quoted(f'{name}:{one.help}')}" for name, one in commands.items()),
            "  )",
            "  if (( CURRENT == 2 )); then",
            "    _describe command commands",
            "    return",
            "  fi",
            "  local command=$words[2]",
            "  shift words",
            "  (( CURRENT-- ))",
            "  case $command in",
            *cases,
            "  esac",
            "}",
            'if [[ $funcstack[1] == _wsss ]]; then _wsss "$@"; else compdef _wsss wsss; fi',
            "",
        ]
    )


def _of_zsh(flag: Flag) -> Iterator[str]:
    help = "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in flag.help)
    after = f":value:({_words(flag.choices)})" if flag.choices else ":file:_files" if flag.files else ":value: "
    for name in flag.names:
        yield f"*{name}[{help}]{after if flag.takes else ''}"


def fish(commands: Mapping[str, Described]) -> str:
    """For fish."""
    lines = ["# Completion of wsss in fish; made by 'wsss completion fish'."]
    for name, one in commands.items():
        lines.append(f"complete -c wsss -n __fish_use_subcommand -f -a {name} -d {_quoted(one.help, True)}")
        within = f"complete -c wsss -n '__fish_seen_subcommand_from {name}'"
        for flag in one.flags:
            names = " ".join(f"-l {part[2:]}" if part.startswith("--") else f"-s {part[1:]}" for part in flag.names)
            values = f" -x -a '{_words(flag.choices)}'" if flag.choices else " -r -F" if flag.files else " -x"
            lines.append(f"{within} {names}{values if flag.takes else ''} -d {_quoted(flag.help, True)}")
        lines += [f"{within} -f -a '{_words(one.values)}'"] if one.values else []
    return "\n".join([*lines, ""])


def _words(names: Iterable[str]) -> str:
    return " ".join(names)


def _quoted(text: str, fish: bool = False) -> str:
    """A text in single quotes, as bash and zsh, or fish, read them."""
    if fish:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"


WRITERS = {"bash": bash, "zsh": zsh, "fish": fish}
