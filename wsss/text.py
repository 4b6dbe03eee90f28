"""Numbers and tables for people."""

from __future__ import annotations

import difflib
import json
import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WIDTH = 110


def duration(seconds: float | None) -> str:
    """``3.2 s``, ``45 s``, ``12 min``, ``7.5 h``, ``3.1 days``."""
    if seconds is None:
        return "unknown"
    for limit, unit, name in ((99.5, 1, "s"), (99.5 * 60, 60, "min"), (72 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return (f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}") + f" {name}"
    return f"{seconds / 86400:.1f} days"


def memory(mib: float | None) -> str:
    """``561 MiB``, ``1.2 GiB``."""
    if mib is None:
        return "unknown"
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines of a table in columns; ``right``: the columns that are flush right."""
    rows, right = [list(head), *map(list, rows)], set(right)
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    return [
        "  ".join(cell.rjust(w) if k in right else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        .rstrip()
        for row in rows
    ]  # fmt: skip


def pairs(facts: dict[str, str], indent: str = "  ") -> list[str]:
    """``name   text`` lines in two columns, long texts wrapped."""
    width = max(map(len, facts), default=0) + 2
    lines: list[str] = []
    for name, text in facts.items():
        lines += wrapped(text, indent + name.ljust(width), indent + " " * width)
    return lines


def wrapped(text: str, first: str, later: str | None = None) -> list[str]:
    """A text in lines of at most ``WIDTH`` characters; words are never cut."""
    later = " " * len(first) if later is None else later
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return lines or [first.rstrip()]


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 job``, ``1,234 jobs``; ``plural`` where an ``s`` does not make it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def dotted(path: Iterable[str | int]) -> str:
    """``("classifiers", "a", "long_side", 0)`` -> ``classifiers.a.long_side[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: Any) -> str:
    """A value as the user would have typed it in YAML, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: Any, allowed: Iterable[str]) -> str:
    """``; did you mean 'epochs'?`` or nothing."""
    allowed = list(allowed)
    lower = {a.lower().replace("_", "-"): a for a in allowed}
    found = difflib.get_close_matches(str(name).lower().replace("_", "-"), lower, n=1, cutoff=0.6)
    return f"; did you mean {lower[found[0]]!r}?" if found else ""


def listed(names: Iterable[str], last: str = ", ") -> str:
    """``a, b, c``, or ``none`` where there is none; with ``last=" and "`` a phrase: ``a, b and c``."""
    *first, final = [*map(str, names)] or ["none"]
    return last.join([", ".join(first), final] if first else [final])


def nice(path: Path | str) -> str:
    """A path as one would type it here: relative if it lies below the working directory or one folder above it."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("../..") else relative
