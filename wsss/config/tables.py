"""Tables of every setting, made from the typed settings, for ``config/README.md``.

python -m wsss.config.tables            print the tables
python -m wsss.config.tables FILE       put them into FILE, in place of those that stand there below the mark
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wsss.config.loader import BLOCKS
from wsss.settings import KINDS, Settings, classes_of
from wsss.settings.fields import block, hints, options, words

MARK = "<!-- Made from the settings classes: python -m wsss.config.tables config/README.md -->"
"""Stands above the tables in a file."""


def tables() -> str:
    """A section for each block of ``config.yaml``, and in it a table for each class of settings, with the keys that
    this class adds or gives another default."""
    parts, done = [], {Settings}
    for kind in (*KINDS, *BLOCKS):
        classes = classes_of(KINDS[kind])[1].values() if kind in KINDS else [BLOCKS[kind]]
        parts.append(f"### `{kind}`")
        for cls in families(classes):
            if cls not in done:
                done.add(cls)
                parts += [f"#### {title(cls)}", about(cls), *table(cls)]
    return "\n\n".join(parts) + "\n"


def families(classes: Iterable[type[Settings]]) -> Iterator[type[Settings]]:
    """The classes, after each's bases and followed by the blocks that they hold."""
    for cls in classes:
        for one in reversed(cls.__mro__):
            if isinstance(one, type) and issubclass(one, Settings):
                yield one
                for annotation in hints(one).values():
                    if inner := block(annotation):
                        yield from families([inner])


def chosen_by(cls: type[Settings]) -> tuple[str, str] | None:
    """The key that chooses a class in a recipe, and its value there."""
    for kind in KINDS.values():
        key, classes = classes_of(kind)
        for value, chosen in classes.items():
            if key and chosen is cls:
                return key, value
    return None


def title(cls: type[Settings]) -> str:
    """How a class is headed: by the key and value that choose it, or by its name."""
    chosen = chosen_by(cls)
    return f"`{chosen[0]}: {chosen[1]}`" if chosen else cls.__name__


def about(cls: type[Settings]) -> str:
    """What a class is for, and where the rest of its keys stand."""
    bases = [title(base) for base in cls.__mro__[1:] if issubclass(base, Settings) and base is not Settings]
    return cell(cls.__doc__ or "") + (f" Further keys: {', '.join(bases)}." if bases else "")


def table(cls: type[Settings]) -> list[str]:
    """Key, default, what may stand there, meaning; only of the keys that the class itself names. Nothing where it
    names none."""
    rows = []
    for name in cls.__annotations__:
        if name in cls.model_fields and name != (chosen_by(cls) or ("",))[0]:
            allowed = held(hints(cls)[name]) or words(hints(cls)[name])
            rows.append(f"| `{name}` | {default(cls, name)} | {cell(allowed)} | {cell(meaning(cls, name))} |")
    return ["\n".join(["| key | default | may be | |", "|---|---|---|---|", *rows])] if rows else []


def held(annotation: Any) -> str:
    """What is said of a block that has a table of its own."""
    inner = block(annotation)
    if inner is None:
        return ""
    preset = "a preset's name or " if "preset" in words(annotation) else ""
    return f"{preset}a block {inner.__name__}" + (" or null" if type(None) in options(annotation) else "")


def default(cls: type[Settings], name: str) -> str:
    """What a key is where it is left out, as Markdown."""
    field = cls.model_fields[name]
    if field.is_required():
        return "*needed*"
    value = field.get_default(call_default_factory=True)
    if not isinstance(value, Settings):
        return f"`{json.dumps(value)}`"
    usual = not any(inner.is_required() for inner in type(value).model_fields.values()) and value == type(value)()
    return "as there" if usual else f"`{value.canonical()}`"


def meaning(cls: type[Settings], name: str) -> str:
    """What a key means, told by the class or by one that it comes from."""
    bases = (base for base in cls.__mro__ if issubclass(base, Settings))
    texts = (base.model_fields[name].description for base in bases if name in base.model_fields)
    return next(filter(None, texts), "")


def cell(text: str) -> str:
    """Text that can stand in one cell of a Markdown table."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def main(argv: list[str]) -> None:
    """Print the tables, or put them into the file that is named."""
    if not argv:
        print(tables(), end="")
        return
    path = Path(argv[0])
    above = path.read_text(encoding="utf-8").split(MARK)[0]
    path.write_text(f"{above}{MARK}\n\n{tables()}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
