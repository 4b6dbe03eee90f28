"""Questions to the person at the terminal."""

from __future__ import annotations

import sys


def confirmed(question: str, yes: bool = False) -> bool:
    """Whether somebody says yes; ``yes`` says it beforehand. Without a terminal nobody does."""
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
