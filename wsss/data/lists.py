"""Text files that describe a dataset: lists of ids, class names, tables of tags."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

from wsss.data.validate import Problem
from wsss.errors import WsssError


def normal(text: str) -> str:
    """One spelling of an id: without outer blanks, accents composed (file systems and tables differ in that)."""
    return unicodedata.normalize("NFC", text.strip())


def read_text(path: Path, what: str) -> str:
    """A text file in UTF-8, with or without byte-order mark. Raises ``WsssError`` naming the file and the cure."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise WsssError(f"{path}: {what} is not there; fix the path in the settings") from None
    except UnicodeDecodeError as error:
        raise WsssError(f"{path}: {what} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise WsssError(f"{path}: {what} cannot be read ({error.strerror})") from None


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file that are not blank, in order."""
    return [normal(line) for line in read_text(path, what).splitlines() if line.strip()]


def read_tags(path: Path, separator: str) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """Read a table with the columns ``id`` and ``labels``; other columns are passed over.

    Args:
        path: comma-separated values, UTF-8.
        separator: what stands between class names in ``labels``.

    Returns:
        Class names of each id (none: an empty tuple), and problems: an id that has several rows.

    Raises:
        WsssError: no such file, not UTF-8, or the columns are not there.
    """
    lines = read_text(path, "the table of tags (labels)").splitlines()
    rows = csv.reader(lines, strict=True)
    tags: dict[str, tuple[str, ...]] = {}
    problems = []
    try:
        header = [name.strip() for name in next(rows, [])]
        if not {"id", "labels"} <= set(header):
            raise WsssError(f"{path}: {_wrong_header(lines[0] if lines else '', header)}")
        at, tagged = header.index("id"), header.index("labels")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                text = f"line {rows.line_num} has {len(row)} cells, the header {len(header)}"
                many = len(row) > len(header)
                cure = f"join class names by {separator!r}, or quote the cell" if many else "give every row all columns"
                row += [""] * (len(header) - len(row))
                problems.append(Problem("table", str(path), normal(row[at]), text, cure))
            id = normal(row[at])
            if id in tags:
                text = f"has another row of tags in line {rows.line_num}"
                problems.append(Problem("duplicate id", str(path), id, text, "keep one row an id"))
                continue
            names = (normal(name) for name in row[tagged].split(separator))
            tags[id] = tuple(dict.fromkeys(name for name in names if name))
    except csv.Error as error:
        line = rows.line_num
        raise WsssError(f"{path}: line {line} is not comma-separated values ({error}); fix the quotes") from None
    return tags, problems


def _wrong_header(line: str, found: list[str]) -> str:
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if {"id", "labels"} <= {cell.strip().strip('"') for cell in line.split(sign)}:
            return f"columns are separated by {name}; separate them by commas (class names in a cell by the separator)"
    shown = ", ".join(repr(name) for name in found) or "nothing"
    return f"the first line must name the columns 'id' and 'labels' but holds {shown}; write 'id,labels' there"
