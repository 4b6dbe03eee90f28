"""What a setting may hold, and what is wrong with it, in plain words.

``check`` reads values into a settings class and returns every problem as a sentence that names the key's path, what was
given, what is allowed and, for a mistyped name, the nearest valid one.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from wsss.settings.base import Settings
from wsss.settings.fields import block, entry_of, marks, options, words
from wsss.settings.renamed import RENAMED
from wsss.text import listed, nearest, shown

Path = tuple[str | int, ...]


def _locate(cls: type[Settings], values: Any, loc: Path) -> tuple[Path, Any, Any]:
    """Turn pydantic's location into (path, annotation, value): what it adds for the members of a union is left out."""
    path: list[str | int] = []
    annotation: Any = cls
    for part in loc:
        inside = entry_of(annotation, part)
        known = (
            isinstance(values, dict) and part in values or isinstance(values, (list, tuple)) and isinstance(part, int)
        )
        if inside is None and not (known and part == loc[-1]):
            continue
        path.append(part)
        annotation = inside
        beyond = known and isinstance(values, (list, tuple)) and isinstance(part, int) and part >= len(values)
        values = values[part] if known and not beyond else None
    return tuple(path), annotation, values


def _sentence(error: Any, cls: type[Settings], values: dict[str, Any]) -> tuple[Path, str]:
    path, annotation, given = _locate(cls, values, error["loc"])
    if error["type"] == "missing":
        text = f"missing; give {words(annotation)}"
        owner = cls if len(path) == 1 else None
        if owner and (meaning := owner.model_fields[str(path[0])].description):
            text += f" ({' '.join(meaning.split()).rstrip('.')})"
        return path, text
    if error["type"] == "extra_forbidden":
        owner_type: Any = cls
        for part in path[:-1]:
            owner_type = entry_of(owner_type, part)
        allowed = list((block(owner_type) or cls).model_fields)
        if (now := RENAMED.get(str(path[-1]))) in allowed:
            return path, f"this key is called {now!r} now"
        return path, f"unknown key{nearest(path[-1], allowed)} (allowed: {listed(allowed)})"
    kinds = [] if annotation is None else [marks(option)[0] for option in options(annotation)]
    choices = [str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    word = float in kinds and isinstance(given, str) and choices  # a number or one of these, and it is no number
    if error["type"] == "value_error" and not word:
        return path, str(error["ctx"]["error"])
    if annotation is None:
        return path, f"{shown(given)} is not allowed here"
    hint = nearest(given, choices) if isinstance(given, str) else ""
    if given is False and any(marks(o)[0] is type(None) for o in options(annotation)):
        hint = "; write null to switch it off"
    return path, f"expected {words(annotation)}, got {shown(given)}{hint}"


HUGE = 10**12
"""No setting wants a whole number as large: not even bytes of a budget."""


def oddities(values: Any, path: Path = ()) -> list[tuple[Path, str]]:
    """What YAML lets through and no setting wants: keys that are no text, infinite and enormous numbers, dates."""
    found: list[tuple[Path, str]] = []
    if isinstance(values, dict):
        for key, value in values.items():
            if not isinstance(key, str):
                found.append((path, f"the key {shown(key)} is not text; put it in quotes"))
            else:
                found += oddities(value, (*path, key))
    elif isinstance(values, (list, tuple)):
        for i, value in enumerate(values):
            found += oddities(value, (*path, i))
    elif isinstance(values, float) and not math.isfinite(values):
        found.append((path, f"{values} is not a finite number"))
    elif isinstance(values, int) and abs(values) >= HUGE:
        found.append((path, f"{shown(values)} is too large a number"))
    elif not isinstance(values, (str, int, float, bool, type(None))):
        found.append((path, f"{values} was read as a {type(values).__name__}; put it in quotes"))
    return found


def check(cls: type[Settings], values: dict[str, Any]) -> tuple[Any, list[tuple[Path, str]]]:
    """Read ``values`` as ``cls``. Returns (settings or None, problems as (path, sentence)); one of the two is empty."""
    problems = oddities(values)
    if problems:
        return None, problems
    try:
        return cls.read(values), []
    except ValidationError as error:
        found: dict[Path, str] = {}
        for one in error.errors(include_url=False):
            path, text = _sentence(one, cls, values)
            found.setdefault(path, text)
        # A union reports the block and what is wrong inside it; the inner sentence says more.
        inner = [p for p in found if not any(q != p and q[: len(p)] == p for q in found if p)]
        return None, [(path, found[path]) for path in inner]
