"""Colours for people: on a terminal only, and never where ``NO_COLOR`` is set (no-color.org)."""

from __future__ import annotations

import os
import sys
from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


def coloured(stream: TextIO) -> bool:
    """Whether what is written to ``stream`` may hold colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, *styles: str, stream: TextIO | None = None) -> str:
    """``text`` in some of the ``STYLES`` where ``stream`` (default: standard output) takes colours, else unchanged."""
    if not text or not coloured(sys.stdout if stream is None else stream):
        return text
    return f"\033[{';'.join(STYLES[style] for style in styles)}m{text}\033[0m"
