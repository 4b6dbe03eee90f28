"""What a setting may hold, and what is wrong with it, in plain words.

``check`` reads values into a settings class and returns every problem as a sentence that names the key's path, what was
given, what is allowed and, for a mistyped name, the nearest valid one.
"""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from wsss.settings import CRF_PRESETS, CrfSettings, Ref, Settings

Path = tuple[str | int, ...]


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


def listed(names: Iterable[str]) -> str:
    """``a, b, c``, or ``none`` where there is none."""
    return ", ".join(map(str, names)) or "none"


@cache
def hints(cls: type[Settings]) -> dict[str, Any]:
    """Annotations of the fields of a settings class with all their marks."""
    every = get_type_hints(cls, include_extras=True)
    return {name: every[name] for name in cls.model_fields}


def marks(annotation: Any) -> tuple[Any, list[Any]]:
    """Take ``Annotated`` apart: the bare type and the marks, those inside pydantic's ``Field`` included."""
    found: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        for mark in extra:
            found += mark.metadata if isinstance(mark, FieldInfo) else [mark]
    return annotation, found


def options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    bare = marks(annotation)[0]
    return get_args(bare) if get_origin(bare) in (Union, types.UnionType) else (annotation,)


def reference(annotation: Any) -> str | None:
    """The kind of recipe that a field (or each entry of its list) names, or None for other fields."""
    for option in (annotation, *options(annotation)):
        bare, found = marks(option)
        if get_origin(bare) is tuple:
            found += marks(get_args(bare)[0])[1]
        for mark in found:
            if isinstance(mark, Ref):
                return mark.kind
    return None


@cache
def references(cls: type[Settings]) -> dict[str, str]:
    """Field -> kind of recipe, for the fields of a settings class that name recipes."""
    return {name: kind for name, annotation in hints(cls).items() if (kind := reference(annotation)) is not None}


def named(key: str, value: Any) -> list[tuple[str, str]]:
    """The names that a reference holds: one under ``key``, or those of a list under ``key.0``, ``key.1``, ..."""
    if isinstance(value, str):
        return [(key, value)]
    entries = value if isinstance(value, list | tuple) else ()
    return [(f"{key}.{n}", name) for n, name in enumerate(entries) if isinstance(name, str)]


def _bounds(found: list[Any]) -> str:
    low = next((f"at least {m.ge:g}" for m in found if hasattr(m, "ge")), "")
    low = next((f"above {m.gt:g}" for m in found if hasattr(m, "gt")), low)
    high = next((f"at most {m.le:g}" for m in found if hasattr(m, "le")), "")
    high = next((f"below {m.lt:g}" for m in found if hasattr(m, "lt")), high)
    return " and ".join(filter(None, (low, high)))


def words(annotation: Any) -> str:
    """What may stand there, in plain words."""
    bare, found = marks(annotation)
    kind = next((m.kind for m in found if isinstance(m, Ref)), None)
    if kind is not None:
        return f"the name of a recipe in '{kind}'"
    if bare is type(None):
        return "null"
    if bare is bool:
        return "true or false"
    if bare in (int, float):
        bounds = _bounds(found)
        return ("a whole number" if bare is int else "a number") + (f" of {bounds}" if bounds else "").replace(
            "of above", "above"
        )
    if bare is str:
        return "text"
    if get_origin(bare) is Literal:
        values = get_args(bare)
        return ("one of " if len(values) > 1 else "") + listed(values)
    if get_origin(bare) is tuple:
        inner = get_args(bare)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"a list, each entry {words(inner[0])}"
        same = len(set(map(words, inner))) == 1
        return f"a list of {len(inner)} values, " + (f"each {words(inner[0])}" if same else listed(map(words, inner)))
    if get_origin(bare) is dict:
        return "a block of keys and values"
    if isinstance(bare, type) and issubclass(bare, Settings):
        presets = f"a preset's name ({listed(CRF_PRESETS)}) or " if bare is CrfSettings else ""
        return f"{presets}a block with the keys {listed(bare.model_fields)}"
    return " or ".join(words(option) for option in options(annotation))


def block(annotation: Any) -> type[Settings] | None:
    """The settings class that a field holds, if it holds one."""
    for option in options(annotation):
        bare = marks(option)[0]
        if isinstance(bare, type) and issubclass(bare, Settings):
            return bare
    return None


def _inside(annotation: Any, part: str | int) -> Any:
    """The annotation of an entry of a list, or of a key of a block; None where there is none."""
    if isinstance(part, str):
        cls = block(annotation)
        return hints(cls).get(part) if cls else None
    for option in options(annotation):
        bare = marks(option)[0]
        if get_origin(bare) is tuple:
            inner = get_args(bare)
            return inner[0] if inner[-1] is Ellipsis else inner[min(part, len(inner) - 1)]
    return None


def _locate(cls: type[Settings], values: Any, loc: Path) -> tuple[Path, Any, Any]:
    """Turn pydantic's location into (path, annotation, value): what it adds for the members of a union is left out."""
    path: list[str | int] = []
    annotation: Any = cls
    for part in loc:
        inside = _inside(annotation, part)
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
            owner_type = _inside(owner_type, part)
        allowed = list((block(owner_type) or cls).model_fields)
        return path, f"unknown key{nearest(path[-1], allowed)} (allowed: {listed(allowed)})"
    if error["type"] == "value_error":
        return path, str(error["ctx"]["error"])
    if annotation is None:
        return path, f"{shown(given)} is not allowed here"
    choices = [str(v) for o in options(annotation) for v in get_args(marks(o)[0]) if get_origin(marks(o)[0]) is Literal]
    hint = nearest(given, choices) if isinstance(given, str) else ""
    if given is False and any(marks(o)[0] is type(None) for o in options(annotation)):
        hint = "; write null to switch it off"
    return path, f"expected {words(annotation)}, got {shown(given)}{hint}"


def oddities(values: Any, path: Path = ()) -> list[tuple[Path, str]]:
    """What YAML lets through and no setting wants: keys that are no text, infinite numbers, dates."""
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
