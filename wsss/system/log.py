"""What programs say on stderr."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """One line of progress on stderr."""
    print(message, file=sys.stderr, flush=True)
