"""The console program ``wsss``: from a folder of photos to masks, and how they were made.

What it understands stands in ``wsss.cli.arguments``; each command is a module of its name. Only a command that needs
torch or Snakemake imports them.
"""

from __future__ import annotations

import importlib
import os
import sys

from wsss.cli.arguments import parser
from wsss.cli.colours import paint
from wsss.errors import WsssError

FAILED = 2
STOPPED = 130
"""After Ctrl-C."""


def main(argv: list[str] | None = None) -> int:
    """Run ``wsss``; returns the exit code (2 after a ``WsssError``, which is printed)."""
    known = parser()
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
