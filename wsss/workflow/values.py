"""Settings as they stand in manifests: what differs from the defaults, what differs between two, how to write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import NoneType
from typing import Any

from wsss.settings import (
    CRF_PRESETS,
    KINDS,
    WITHOUT_EFFECT,
    CrfSettings,
    EvaluationSettings,
    Settings,
    classes_of,
    default_variant,
)
from wsss.settings.check import check
from wsss.settings.fields import block, hints, reference
from wsss.steps import STEPS


class _Absent:
    """Stands where one side has no such setting."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
Difference = tuple[str, Any, Any]
"""Dotted key, one value, other value; ``ABSENT`` where a side has none."""


def settings_class(stage: str, settings: dict[str, Any]) -> type[Settings] | None:
    """The class that reads a stage's settings; None for stages without any, and where the settings do not say."""
    if stage in ("scores", "summary"):
        return EvaluationSettings
    if stage == "index":
        return classes_of(KINDS["datasets"])[1].get(settings.get("kind", ""))
    if (step := STEPS.get(stage)) is None:
        return None
    key, classes = classes_of(KINDS[step.kind])
    if step.part is not None:
        return block(hints(next(iter(classes.values())))[step.part])
    usual = step.variants[0] if step.variants else default_variant(KINDS[step.kind])
    chosen = "" if key is None else settings.get(key, usual)
    return None if chosen is None else classes.get(chosen)


def with_variant(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the key that chose their class, also where they are older than the choice."""
    step = STEPS.get(stage)
    if step is None or step.part is not None or (usual := default_variant(KINDS[step.kind])) is None:
        return settings
    return {str(classes_of(KINDS[step.kind])[0]): step.variants[0] if step.variants else usual, **settings}


def counted(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that the stage does not read or that change no result."""
    without = WITHOUT_EFFECT | (STEPS[stage].without if stage in STEPS else frozenset())
    return {key: value for key, value in settings.items() if key not in without}


def defaults(cls: type[Settings] | None) -> dict[str, Any]:
    """Defaults as a manifest would have them; required settings are left out."""
    found: dict[str, Any] = {}
    for name, field in cls.model_fields.items() if cls else ():
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            found[name] = value.model_dump(mode="json") if isinstance(value, Settings) else plain(value)
    return found


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


def differences(one: dict[str, Any], other: dict[str, Any], above: str = "") -> Iterator[Difference]:
    """Where two blocks of settings differ, value by value; a block that the other side lacks is one difference."""
    for key in dict.fromkeys((*one, *other)):
        a, b = one.get(key, ABSENT), other.get(key, ABSENT)
        if isinstance(a, dict) and isinstance(b, dict) and (preset(a) is None or preset(b) is None):
            yield from differences(a, b, f"{above}{key}.")
        elif isinstance(a, bool) != isinstance(b, bool) or a != b:
            yield f"{above}{key}", a, b


def own(stage: str, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    """(dotted key, value) of what differs from the defaults, what has none, and what chose the settings' class."""
    settings = counted(stage, settings)
    cls = settings_class(stage, settings)
    chosen = _chosen_by(stage, settings)
    found = [(key, value) for key, _, value in differences(defaults(cls), settings) if key != chosen]
    found = [(key, value) for key, value in found if value is not ABSENT]
    return ([(chosen, settings[chosen])] if chosen else []) + found


def _chosen_by(stage: str, settings: dict[str, Any]) -> str | None:
    """The key that chose the class, where it is there and worth a word."""
    if stage == "index":
        annotation = KINDS["datasets"]
    elif (step := STEPS.get(stage)) is None or step.part is not None:
        return None
    else:
        annotation = KINDS[step.kind]
    key = classes_of(annotation)[0]
    return key if key in settings and settings[key] != default_variant(annotation) else None


def every(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of all settings."""
    for key, value in settings.items():
        if isinstance(value, dict) and preset(value) is None:
            yield from every(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def references(stage: str, settings: dict[str, Any]) -> set[str]:
    """Keys that hold names of other recipes."""
    cls = settings_class(stage, settings)
    return {key for key, annotation in hints(cls).items() if reference(annotation)} if cls else set()


def shortest(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The fewest settings that the stage reads as these."""
    cls = settings_class(stage, settings)
    usual, chosen = defaults(cls), _chosen_by(stage, settings)
    few = {key: value for key, value in settings.items() if key == chosen or usual.get(key, ABSENT) != value}
    read = check(cls, few)[0] if cls else None
    values = {} if read is None else read.model_dump(mode="json")  # keys that are newer than the manifest are no harm
    return few if all(values.get(key, ABSENT) == value for key, value in settings.items()) else settings


def preset(value: Any) -> str | None:
    """The name of the dense CRF's preset that a block is; None for any other."""
    if not isinstance(value, dict) or set(value) != set(CrfSettings.model_fields):
        return None
    known = {name: CrfSettings.read(numbers).model_dump(mode="json") for name, numbers in CRF_PRESETS.items()}
    return next((name for name, numbers in known.items() if numbers == value), None)


def literal(value: Any) -> str:
    """A value as one would write it in YAML, on one line; presets by their names."""
    if value is ABSENT:
        return "(absent)"
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, NoneType)):
        return {True: "true", False: "false", None: "null"}[value]
    if (name := preset(value)) is not None:
        return name
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
