"""The figures of tables, nested values and pages: numbers where they are told, digests of the rest."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

Number = int | float | None
Values = dict[str, Any]
"""Name -> text; list or mapping of numbers; or ``{"of": pixels, "images": {id: {label: [count, rows, columns]}}}``."""
IRRATIONAL = ((math.sqrt(5) - 1) / 2, math.sqrt(2) - 1)
MANY = 48
"""Numbers that are kept one by one."""
LONG = 160
"""Signs of a text that is kept as it is."""
OF_THE_RUN = re.compile(r"seconds|peak|hash")
TIMES = "Run times"
UNTOLD = ("training", "costs", "provenance")
"""Parts of the summary and of the report whose figures are not those of scores."""


def short(value: float) -> Number:
    """Whole numbers as they are, others with nine digits; None for what is no number."""
    if isinstance(value, int):
        return int(value)
    return float(f"{value:.9g}") if math.isfinite(value) else None


def weights(count: int) -> np.ndarray:
    """Fixed weights float64 (2, count) in [-0.5, 0.5), spread evenly."""
    return np.outer(IRRATIONAL, np.arange(1, count + 1)) % 1 - 0.5


def lean(array: Any) -> list[Number]:
    """Mean, standard deviation, and two weighted sums over the root of the size."""
    flat = np.asarray(array, np.float64).ravel()
    if not flat.size:
        return []
    sums = weights(flat.size) @ flat / math.sqrt(flat.size)
    return [short(float(value)) for value in (flat.mean(), flat.std(), *sums)]


def few(numbers: list[Number]) -> list[Number]:
    """Numbers as they are, or where they are many, what ``lean`` says of them and of where none is."""
    if len(numbers) <= MANY:
        return numbers
    return [*lean([0.0 if n is None else n for n in numbers]), *lean([n is None for n in numbers])]


def text(value: Any) -> str:
    """Plain values as a text: short ones readable, long ones as a digest."""
    plain = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return plain if len(plain) <= LONG else f"{hashlib.sha256(plain.encode()).hexdigest()[:16]} ({len(plain)} signs)"


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def columns(name: str, rows: Sequence[Mapping[str, Any]]) -> Values:
    """Columns of a table but those that tell of the run: numbers, or texts together."""
    found: Values = {}
    rows = [row for row in rows if not any(OF_THE_RUN.search(str(value)) for value in row.values())]
    for column in dict.fromkeys(key for row in rows for key in row if not OF_THE_RUN.search(key)):
        cells = [row.get(column) for row in rows]
        numbers = [number(cell) for cell in cells]
        known = [n is not None or cell in (None, "") for n, cell in zip(numbers, cells, strict=True)]
        found[f"{name} {column}"] = few(numbers) if all(known) else text(cells)
    return found


def number(cell: Any) -> Number:
    """The number in a cell; None where there is none."""
    for kind in (int, float):
        try:
            return short(kind(cell) if isinstance(cell, str) else cell + kind(0))
        except (TypeError, ValueError):
            continue
    return None


def leaves(name: str, content: Mapping[str, Any]) -> Values:
    """The numbers of nested values, those of one mapping, row or list together, and the rest as a text."""
    found: Values = {}
    rest: dict[str, Any] = {}

    def walk(place: str, values: Mapping[str, Any]) -> None:
        numbers: dict[str, Number] = {}
        for key, one in values.items():
            if OF_THE_RUN.search(key):
                continue
            if isinstance(one, list) and (flat := list(flattened(one))) and all(map(is_number, flat)):
                found[f"{place} {key}"] = few([None if each is None else short(each) for each in flat])
            elif isinstance(one, dict) and one:
                walk(f"{place} {key}", one)
            elif isinstance(one, list) and has_fractions(one) and all(isinstance(each, dict) for each in one):
                for row, each in enumerate(one):  # a digest would hang on the processor's last bits
                    walk(f"{place} {key} {row}", each)
            elif is_number(one):
                numbers[key] = None if one is None else short(one)
            else:
                rest[f"{place} {key}"] = one
        if numbers:
            found[place] = numbers

    walk(name, content)
    return found | ({f"{name} texts": text(rest)} if rest else {})


def flattened(values: list[Any]) -> Iterator[Any]:
    """What stands in nested lists."""
    for one in values:
        if isinstance(one, list):
            yield from flattened(one)
        else:
            yield one


def has_fractions(value: Any) -> bool:
    """Whether there is one anywhere in nested values."""
    if isinstance(value, dict | list):
        return any(map(has_fractions, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def is_number(value: Any) -> bool:
    """Whether it is a number, or stands for none."""
    return value is None or isinstance(value, int | float) and not isinstance(value, bool)


def sections(name: str, page: str) -> Values:
    """The numbers of each part of a Markdown page but those of run times. Words may change as they like."""
    found: Values = {}
    for place, part in enumerate(re.split(r"^## ", page, flags=re.MULTILINE)):
        if not part.startswith(TIMES):
            found[f"{name} {place}"] = figures(part)
    return found


def report_page(page: str) -> Values:
    """The numbers of the report's sections and how many pictures each has."""
    found: Values = {}
    for id, body in re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL):
        if id not in UNTOLD:
            found[f"page {id}"] = figures(unescape(re.sub(r"<[^>]*>", " ", body)))
            found[f"page {id} pictures"] = str(body.count("<img "))
    return found


def figures(words: str) -> list[Number]:
    """The numbers in a text, but those that tell how long something took, or how much room."""
    words = re.sub(r"\d+(\.\d+)? (ms|s|min|h|MiB|MB)\b", "", words)
    found = re.findall(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?!\w)", words)
    return few([number(one.replace("−", "-")) for one in found])
