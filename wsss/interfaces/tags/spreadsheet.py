"""The first sheet of an Excel workbook (Office Open XML), as rows of text."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from wsss.errors import WsssError
from wsss.text import nice

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
MOST = 1 << 28
"""Bytes of a part of a workbook that are unpacked at most."""
COLUMNS, CELLS = 16384, 20_000_000
"""Columns that a sheet of Excel has; cells that are read at most, empty ones before the last of a row among them."""
BROKEN = (OSError, LookupError, ValueError, ArithmeticError, EOFError, RuntimeError)
"""What comes of archives that are damaged, encrypted, or packed in ways that this Python does not know."""


def read_workbook(path: Path) -> list[list[str]]:
    """Rows of the first sheet; each as long as its last cell, empty cells as ``""``, whole numbers without a point,
    truth values as ``1`` and ``0``.

    Raises:
        WsssError: The file is no workbook, or a part of it is not there.
    """
    left = CELLS
    try:
        with zipfile.ZipFile(path) as archive:
            sheet = _part(archive, _first(archive))
            shared = [_text(one) for one in _part(archive, "xl/sharedStrings.xml")] if _has_strings(archive) else []
            rows = []
            for row in sheet.iter(f"{MAIN}row"):
                rows.append(list(_cells(row, shared)))
                left -= len(rows[-1])
                if left < 0:
                    raise ValueError(f"its first sheet has more than {CELLS:,} cells")
            return rows
    except (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, *BROKEN) as error:
        raise WsssError(f"{nice(path)}: cannot be read as an Excel workbook ({error}); save it as CSV") from None


def _has_strings(archive: zipfile.ZipFile) -> bool:
    return "xl/sharedStrings.xml" in archive.namelist()


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > MOST:
        raise ValueError(f"{name} is larger than {MOST >> 20} MiB")
    return ElementTree.fromstring(archive.read(name))


def _first(archive: zipfile.ZipFile) -> str:
    """The part that holds the sheet that stands first in the workbook."""
    first = next(_part(archive, "xl/workbook.xml").iter(f"{MAIN}sheet"), None)
    if first is None:
        raise ValueError("it has no sheet")
    for one in _part(archive, "xl/_rels/workbook.xml.rels"):
        if one.get("Id") == first.get(RELATION):
            target = one.get("Target", "")
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise ValueError("its first sheet is not in it")


def _text(element: ElementTree.Element) -> str:
    """The text of a cell or a shared string, whatever its formats; what is read aloud in other scripts is left out."""
    parts = [one.findtext(f"{MAIN}t", "") for one in (element, *element.findall(f"{MAIN}r"))]
    return "".join(parts)


def _cells(row: ElementTree.Element, shared: list[str]) -> Iterator[str]:
    written = 0
    for cell in row.iter(f"{MAIN}c"):
        column = _column(cell.get("r", ""), written)
        yield from [""] * (column - written)
        yield _value(cell, shared)
        written = column + 1


def _column(reference: str, usual: int) -> int:
    """Number of the column, from 0, of a reference such as ``AB12``."""
    letters = re.match(r"[A-Z]+", reference)
    if letters is None:
        return usual
    number = 0
    for letter in letters[0]:
        number = 26 * number + ord(letter) - ord("A") + 1
        if number > COLUMNS:
            raise ValueError(f"the cell {reference[:20]} lies beyond the last column")
    return number - 1


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    kind, value = cell.get("t", "n"), cell.findtext(f"{MAIN}v", "")
    if kind == "s":
        if not value.isascii() or not value.isdigit():
            raise ValueError(f"a cell names the text {value[:20]!r}")
        return shared[int(value)]
    if kind == "inlineStr":
        inside = cell.find(f"{MAIN}is")
        return "" if inside is None else _text(inside)
    if kind == "n" and re.fullmatch(r"-?\d+\.0+|-?[\d.]+E\+?\d+", value) and float(value).is_integer():
        return str(int(float(value)))
    return value
