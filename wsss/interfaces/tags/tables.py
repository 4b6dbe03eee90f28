"""Tables of tags as people have them: any separator, encoding, header and column names, one row per photo or several,
a column of class names or one column per class, as text or as an Excel workbook.

Which column holds the photos is found by content: the one whose cells name the most photos.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.images import SUFFIXES
from wsss.data.lists import normal, read_tags
from wsss.errors import WsssError
from wsss.interfaces.tags.base import Annotations, PhotoIds, gathered
from wsss.interfaces.tags.spreadsheet import read_workbook
from wsss.text import count, listed, nearest, nice

SUFFIXES_OF_TEXT = (".csv", ".tsv", ".tab", ".txt")
WORKBOOK = ".xlsx"
COLUMNS = {"id", "labels"}
"""Of a table that a configuration can name as it is."""
SEPARATORS = (";", "|", ",", "/")
"""What may stand between class names, the usual one first."""
DELIMITERS = (",", ";", "\t", "|")
"""What may stand between cells."""
PHOTOS = ("id", "imageid", "image", "img", "file", "filename", "imagename", "filepath", "path", "photo", "picture")
"""Names of columns of photos, without signs and in small letters: they decide between columns that fit equally."""
LABELS = ("labels", "label", "tags", "tag", "classes", "class", "classname", "category", "categories", "species",
          "keywords", "keyword", "choice", "objects", "object", "names")  # fmt: skip
"""Names of columns of class names."""
YES, NO = ("1", "1.0", "x", "yes", "true", "y"), ("0", "0.0", "", "no", "false", "n", "-1", "-")
"""Cells of a column of one class."""


def is_clean(path: Path) -> bool:
    """Whether the head of a text file has the columns that a configuration asks for."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return {cell.strip() for cell in next(csv.reader(file), [])} >= COLUMNS
    except (OSError, csv.Error):
        return False


def read_table(path: Path, ids: PhotoIds, columns: Sequence[str] | None = None) -> Annotations:
    """What a table says of some photos.

    Args:
        path: A text file or a workbook.
        ids: Of the photos.
        columns: Names of the column of photos, and of that of classes or of those of one class each; None: they are
            found.

    Raises:
        WsssError: It cannot be read, or its columns cannot be told.
    """
    if columns is None and path.suffix.lower() != WORKBOOK and is_clean(path):
        separator = separator_of(path)
        tags, problems = read_tags(path, separator)
        if not any(PurePosixPath(id).suffix.lower() in SUFFIXES and ids.find(id) for id in tags if id not in ids.ids):
            return Annotations(path, "table", tags, separator=separator, as_is=True, problems=tuple(problems))
    head, rows, kind = _rows(path, ids, columns)
    photo, classes, single = _columns(path, head, rows, ids, columns)
    order: tuple[str, ...] = ()
    if single:
        found = [(row[photo], [head[k] for k in classes if row[k].strip().lower() in YES]) for row in rows]
        said, order = f"{count(len(classes), 'column')} of one class each", tuple(normal(head[k]) for k in classes)
    else:
        sign = joining(row[classes[0]] for row in rows)
        found = [(row[photo], names_in(row[classes[0]], sign)) for row in rows]
        said = f"column {head[classes[0]]!r}" if head[classes[0]] else "second column"
    tags, again = gathered(path, found, ids)
    notes = [f"{nice(path)} has {count(again, 'row')} more than photos: the labels of a photo's rows are put together"]
    return Annotations(path, f"{kind}, {said}", tags, order, notes=tuple(notes if again else ()))


def separator_of(table: Path) -> str:
    """The sign that joins class names in the column ``labels`` of a clean table."""
    return joining({name for names in read_tags(table, "\n")[0].values() for name in names})


def joining(cells: Iterable[str]) -> str:
    """The sign that joins class names: the usual one, unless no cell has it and another one splits cells into words
    that stand alone in others, or beside other words.

    Examples:
        >>> joining(["cat", "dog", "cat, person", "dog, person"])  # nobody is alone, but in two companies
        ','
        >>> joining(["cat", "tabby, tabby cat"])  # the name of one class
        ';'
    """
    cells = {cell.strip() for cell in cells}
    if not any(SEPARATORS[0] in cell for cell in cells):
        for sign in SEPARATORS[1:]:
            joined = [{part.strip() for part in cell.split(sign)} for cell in cells if sign in cell]
            often = Counter(part for parts in joined for part in parts)
            if joined and all(part in cells or number > 1 for part, number in often.items()):
                return sign
    return SEPARATORS[0]


def names_in(cell: str, sign: str = SEPARATORS[0]) -> list[str]:
    """Class names of a cell: joined by a sign, or written as a list of Python or JSON, or as Label Studio's JSON."""
    cell = cell.strip()
    if cell[:1] + cell[-1:] in ("[]", "{}", "()"):
        for read in (json.loads, ast.literal_eval):
            try:
                return [normal(one) for one in _texts(read(cell)) if one.strip()]
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # the last: nested too deep
                continue
    return [normal(one) for one in cell.split(sign) if one.strip()]


def _texts(value: Any) -> list[str]:
    """The class names in what a cell of JSON says."""
    if isinstance(value, dict):
        kinds = [value[key] for key in value if str(key) == "choices" or str(key).endswith("labels")]
        return [text for kind in kinds for text in _texts(kind)]
    if isinstance(value, (list, tuple, set)):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def _decoded(path: Path) -> str:
    """A text file in UTF-8 or UTF-16, or as Excel writes it in western Europe."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WsssError(f"{nice(path)}: cannot be read ({error.strerror})") from None
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise WsssError(f"{nice(path)}: is no text in UTF-8; save it as CSV in UTF-8")


def _rows(path: Path, ids: PhotoIds, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]], str]:
    """Head, rows of the same length, and the format in words. A table whose first row names a photo has no head."""
    if path.suffix.lower() == WORKBOOK:
        rows, kind = _filled(read_workbook(path)), "Excel workbook"
    else:
        text = _decoded(path)
        announced = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
        text = text[announced.end() :] if announced else text
        parses = {sign: _parsed(text, sign) for sign in ((announced[1],) if announced else DELIMITERS)}
        # the sign that splits: most rows as long as the head, then the most cells
        sign = max(parses, key=lambda one: _regular(parses[one]))
        rows, kind = parses[sign], {",": "CSV", "\t": "table separated by tabs"}.get(sign, f"CSV separated by {sign!r}")
    if not rows:
        raise WsssError(f"{nice(path)}: holds no row; write a first line 'id,labels' and then a line per photo")
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    if columns is None and any(ids.find(cell) for cell in rows[0] if cell.strip()):
        return [""] * width, rows, f"{kind} without a head"
    return [cell.strip() for cell in rows[0]], rows[1:], kind


def _parsed(text: str, sign: str) -> list[list[str]]:
    try:
        return _filled(list(csv.reader(text.splitlines(), delimiter=sign, skipinitialspace=True)))
    except csv.Error:
        return []


def _filled(rows: Iterable[list[str]]) -> list[list[str]]:
    return [row for row in rows if any(cell.strip() for cell in row)]


def _regular(rows: list[list[str]]) -> tuple[bool, int, int]:
    width = len(rows[0]) if rows else 0
    return width > 1, sum(len(row) == width for row in rows), width


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _columns(
    path: Path, head: list[str], rows: list[list[str]], ids: PhotoIds, given: Sequence[str] | None
) -> tuple[int, list[int], bool]:
    """The column of photos, those of classes, and whether each of these says of one class which photos show it."""
    if given:
        for name in given:
            if name not in head:
                near = nearest(name, head)
                raise WsssError(f"{nice(path)}: has no column {name!r}{near} (there: {listed(head)})")
        photo, *classes = (head.index(name) for name in given)
        return photo, classes, len(classes) > 1 or _is_single(head[classes[0]], rows, classes[0])
    named = [sum(bool(ids.find(row[k])) for row in rows if row[k].strip()) for k in range(len(head))]
    ranks = [PHOTOS.index(_plain(name)) if _plain(name) in PHOTOS else len(PHOTOS) for name in head]
    photo = max(range(len(head)), key=lambda k: (named[k], -ranks[k]))
    cure = "name the columns, as in --columns filename,species"
    if not named[photo]:
        example = ids.ids[0] if ids.ids else "photo"
        raise WsssError(
            f"{nice(path)}: no column names these photos, such as {example!r} (columns: {listed(map(repr, head))}); "
            f"write 'id,labels' in its first line and a photo's path below the folder in the column 'id', or {cure}"
        )
    others = [k for k in range(len(head)) if k != photo]
    by_name = sorted((LABELS.index(_plain(head[k])), k) for k in others if _plain(head[k]) in LABELS)
    if by_name:
        return photo, [by_name[0][1]], False
    single = [k for k in others if _is_single(head[k], rows, k)]
    if single and len(others) > 1:
        return photo, single, True
    if others and (len(others) == 1 or not any(head)):
        return photo, others[:1], False
    raise WsssError(
        f"{nice(path)}: which of its columns holds the classes? There are {listed(map(repr, head))}; call it 'labels', "
        f"or {cure}"
    )


def _is_single(name: str, rows: list[list[str]], column: int) -> bool:
    """Whether a column says of one class, its head, which photos show it."""
    cells = {row[column].strip().lower() for row in rows}
    return bool(name) and _plain(name) not in LABELS and cells <= {*YES, *NO} and any(cell in YES for cell in cells)
