"""The settings of a stage program: from ``--settings`` and ``--set`` to typed settings, and their part of
``--help``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from wsss.config.yaml import refuse_bomb
from wsss.errors import WsssError
from wsss.settings import Settings, classes_of, default_variant
from wsss.settings.check import check
from wsss.text import dotted, listed, nearest


def read_settings(kind: Any, given: str, changes: Sequence[str] = ()) -> Any:
    """Typed settings.

    Args:
        kind: Settings class, or the union of several that one key chooses from.
        given: A JSON or YAML object, or a file that holds one.
        changes: ``KEY=VALUE`` each, as in ``lr=0.1`` or ``crf.iterations=5``; values are YAML.

    Raises:
        WsssError: What is given is no object, or holds what the class does not allow; every problem is listed.
    """
    values = _mapping(given)
    for change in changes:
        _apply(values, change)
    key, classes = classes_of(kind)
    if key is not None and (usual := default_variant(kind)) is not None:
        values = {key: usual, **values}
    chosen = "" if key is None else values.get(key)
    if not isinstance(chosen, str) or chosen not in classes:
        wrong = "missing" if chosen is None else f"unknown {key} {chosen!r}{nearest(chosen, classes)}"
        raise WsssError(f"--settings: {key}: {wrong} (allowed: {listed(classes)})")
    settings, problems = check(classes[chosen], values)
    if problems:
        raise WsssError("\n  ".join(f"--settings: {dotted(path)}: {sentence}" for path, sentence in problems))
    return settings


def _mapping(given: str) -> dict[str, Any]:
    text = given.strip()
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise WsssError(f"--settings {given}: neither a JSON object nor a readable file") from error
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WsssError(f"--settings: neither JSON nor YAML: {error}") from error
    if not isinstance(values, dict):
        raise WsssError(f"--settings must be a mapping, not {type(values).__name__}")
    refuse_bomb(values)
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    """Put one ``KEY=VALUE`` into a mapping."""
    key, equals, text = change.partition("=")
    *above, last = key.strip().split(".")
    if not equals or not last:
        raise WsssError(f"--set {change}: write KEY=VALUE, as in --set lr=0.1 or --set crf.iterations=5")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WsssError(f"--set {change}: the value is not YAML: {error}") from error
    for name in above:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise WsssError(f"--set {change}: {name!r} is {inner!r} here and no block of keys")
        values = inner
    values[last] = value


def settings_help(kind: Any) -> str | None:
    """The settings, which close ``--help``: those that most variants share once, then what each adds or lacks."""
    if kind is None:
        return None
    key, classes = classes_of(kind)
    fields = {name: {field: _field(cls, field) for field in cls.model_fields} for name, cls in classes.items()}
    if key is None:
        (only,) = fields.values()
        return "\n".join(["settings:", *only.values()])
    shared: dict[str, str] = {}
    for name in dict.fromkeys(name for every in fields.values() for name in every if name != key):
        texts = [every[name] for every in fields.values() if name in every]
        if len(set(texts)) == 1 and 2 * len(texts) > len(fields):
            shared[name] = texts[0]
    parts = [f"settings whatever '{key}' is:", *shared.values()] if shared else []
    for variant, every in fields.items():
        own = [text for name, text in every.items() if name != key and name not in shared]
        parts += [f"\nsettings with {key}: {variant}" + ("" if own else " (no further ones)"), *own]
        if lacking := [name for name in shared if name not in every]:
            parts += wrap(f"without {', '.join(lacking)}", 116, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(parts)


def _field(cls: type[Settings], name: str) -> str:
    """A setting with its default and meaning."""
    field = cls.model_fields[name]
    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True)
        default = json.dumps(value.model_dump(mode="json") if isinstance(value, Settings) else value)
    bases = [base for base in cls.__mro__[1:] if issubclass(base, Settings) and name in base.model_fields]
    text = field.description or next((base.model_fields[name].description for base in bases), None) or ""
    return "\n".join([f"  {name} = {default}", *(f"      {line}" for line in text.splitlines())])
