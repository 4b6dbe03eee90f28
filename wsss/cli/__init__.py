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

ABOUT = """\
Segmentation masks from image tags: from a folder of photos and a table of tags to a trained network.

    wsss init photos                     look at a folder of photos, write config.yaml for it
    wsss check                           everything that is wrong with photos and tags
    wsss fetch                           weights that the configuration names (CLIP), for stages without a network
    wsss run                             train, make masks, score: whatever is missing or out of date
    wsss predict results/photos/s0/segmenters/salient other-photos --out masks
                                         masks of photos that have no tags
    wsss explain results/photos/s0/classifiers/p-noc photo.jpg
                                         where in a photo a trained network sees a class
    wsss export results/photos/s0/segmenters/salient --to onnx --out salient.onnx
                                         a trained network for other software
    wsss review results/photos           look at the pseudo-labels, correct the worst by hand
    wsss accept | adopt | clean          keep results as they are, take some in, tidy up
    wsss show results/photos/s0/masks/walk
                                         how it was made, whether it is stale, how to make it again
    wsss diff A B                        what differs between two artefacts, all the way up
    wsss report results/photos --against results-before/photos
                                         two runs side by side: what changed, mIoU before and now
    wsss plan                            jobs, images, time and memory before a run
    wsss completion bash                 completion of commands and flags in bash, zsh or fish

wsss COMMAND --help says more, with examples."""
CODES = """\
exit codes: 0 done; 1 a difference (diff), or the run failed (run: as Snakemake); 2 an error that you can fix, told
in a sentence; 75 stopped by a signal, the same command resumes; 130 stopped by Ctrl-C.
Colours and progress bars show on a terminal only; NO_COLOR=1 turns colours off. Bars and complaints go to stderr."""
COMMANDS = {
    "init": "look at a folder of photos, write a configuration for it",
    "check": "everything that is wrong with photos and tags",
    "fetch": "weights that a configuration names, for stages without a network",
    "run": "make what is missing or out of date",
    "accept": "take finished results as they are",
    "adopt": "take in an artefact made elsewhere",
    "clean": "delete what is of no use any more",
    "review": "look at pseudo-labels in a browser, correct them by hand",
    "predict": "masks of other photos by a trained network",
    "explain": "where in a photo a trained network sees a class",
    "export": "a trained network as a file for other software",
    "show": "how an artefact was made, whether it is stale, how to make it again",
    "diff": "what differs between two artefacts",
    "report": "two runs side by side: what changed, and the scores",
    "plan": "jobs, images, expected time and memory of a configuration",
    "completion": "a script that completes all this in bash, zsh or fish",
}
"""Name of a command -> what it does, in a line."""
FAILED = 2
STOPPED = 130
"""After Ctrl-C."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """argparse forgets the indent of commands when it looks for the longest name, and breaks the line after that."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)


def parser(commands: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of the program, with the flags of these commands; of others it knows the names."""
    top = argparse.ArgumentParser(
        prog="wsss", description=ABOUT, epilog=CODES, formatter_class=_Help, usage="wsss COMMAND ..."
    )
    top.add_argument("--version", action="version", version=f"wsss {__version__}")
    group = top.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands", prog="wsss")
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
