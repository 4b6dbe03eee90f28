"""What programs say on stderr: the logger ``wsss``.

Its lines are bare text. Programs have ``-q`` (warnings and errors only) and ``-v`` (details, too); in a program of
one's own, ``logging.getLogger("wsss").setLevel`` does the same.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any, TextIO

log = logging.getLogger("wsss")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the moment of writing, which progress bars and tests replace."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None:
        pass


log.addHandler(_Stderr())
log.setLevel(logging.INFO)
log.propagate = False


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Give a program the flags ``-q`` and ``-v``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="say more: identity, inputs, what is resumed")


def set_verbosity(args: argparse.Namespace) -> None:
    """Do what the flags say."""
    log.setLevel(logging.WARNING if args.quiet else logging.DEBUG if args.verbose else logging.INFO)
