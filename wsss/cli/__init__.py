"""The console program ``wsss``: from a folder of photos to masks, and how they were made.

Each command is a module of its name: ``ABOUT``, ``EXAMPLES``, ``add_arguments`` and a function of that name. Only the
module of the command that was given is imported, so that ``--help`` is there at once, and only one that needs torch or
Snakemake imports them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from wsss import __version__
from wsss.cli.colours import paint
from wsss.errors import WsssError

ABOUT = "Segmentation masks from image tags: from a folder of photos and a table of tags to a trained network."
CODES = """\
exit codes: 0 done; 1 a difference (diff), or the run failed (run: as Snakemake); 2 an error that you can fix, told
in a sentence; 75 stopped by a signal, the same command resumes; 130 stopped by Ctrl-C.
Colours and progress bars show on a terminal only; NO_COLOR=1 turns colours off. Bars and complaints go to stderr."""
GROUPS = {
    "From photos to masks, in this order:": {
        "init": "look at a folder of photos, write config.yaml for it (init photos --quick: a first try)",
        "check": "everything that is wrong with photos and tags",
        "plan": "jobs, images, expected time and memory",
        "run": "train, make masks, score: whatever is missing or out of date",
        "predict": "masks of other photos, which need no tags, by a trained network",
    },
    "Look at results, correct them:": {
        "review": "look at pseudo-labels in a browser, the most doubtful first, and correct them by hand",
        "explain": "where in a photo a trained network sees a class",
        "show": "how a result was made, whether it is stale, how to make it again",
        "diff": "what differs between two results, all the way up",
        "report": "two runs side by side: what changed, mIoU before and now",
    },
    "Keep results, tidy up:": {
        "accept": "take finished results as they are",
        "adopt": "take in a result made elsewhere",
        "clean": "delete what is of no use any more",
    },
    "Besides:": {
        "fetch": "weights that a configuration names, for stages without a network",
        "export": "a trained network, or masks, as files for other software",
        "completion": "a script that completes all this in bash, zsh or fish",
    },
}
"""Heading -> commands, and what each does, in a line; those that a newcomer needs come first."""
COMMANDS = {name: help for commands in GROUPS.values() for name, help in commands.items()}
"""Name of a command -> what it does, in a line."""
FAILED = 2
STOPPED = 130
"""After Ctrl-C."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """A line for a flag and what it does, where argparse would take two."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def overview() -> str:
    """What the program does, and its commands by groups."""
    lines = [ABOUT]
    for heading, commands in GROUPS.items():
        lines += ["", heading, *(f"    {name:<12}{help}" for name, help in commands.items())]
    return "\n".join([*lines, "", "wsss COMMAND --help says more, with examples."])


def parser(commands: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of the program, with the flags of these commands; of others it knows the names."""
    top = argparse.ArgumentParser(
        prog="wsss", description=overview(), epilog=CODES, formatter_class=_Help, usage="wsss COMMAND ..."
    )
    top.add_argument("--version", action="version", version=f"wsss {__version__}")
    group = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="wsss", help=argparse.SUPPRESS
    )  # overview() lists them
    for name, help in COMMANDS.items():
        more: dict[str, Any] = {}
        if name == "run":  # no abbreviations: --config is a flag of Snakemake
            more = {"allow_abbrev": False, "usage": "wsss run [--configfile FILE] [TARGET] [flags of Snakemake]"}
        command = group.add_parser(name, help=help, formatter_class=_Help, **more)
        if name in commands:
            module = importlib.import_module(f"wsss.cli.{name}")
            command.description = getattr(module, "ABOUT", f"{help[0].upper()}{help[1:]}.")
            command.epilog = getattr(module, "EXAMPLES", None)
            module.add_arguments(command)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run ``wsss``; returns the exit code (2 after a ``WsssError``, which is printed)."""
    words = sys.argv[1:] if argv is None else argv
    known = parser([word for word in words if word in COMMANDS][:1])
    args, rest = known.parse_known_args(argv)
    args.rest = rest
    if rest and args.command != "run":
        known.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code: int = getattr(importlib.import_module(f"wsss.cli.{args.command}"), args.command)(args)
        sys.stdout.flush()
        return code
    except WsssError as error:
        print(f"{paint('wsss: error:', 'red', stream=sys.stderr)} {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("wsss: stopped by Ctrl-C", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # ``| head``: what is left unsaid was not wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
