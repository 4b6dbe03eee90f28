"""What the fields of a settings class may hold, read from their annotations and said in plain words."""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from wsss.settings.base import Ref, Settings
from wsss.settings.masks import CRF_PRESETS, CrfSettings
from wsss.text import listed


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


def entry_of(annotation: Any, part: str | int) -> Any:
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
