"""Read YAML files strictly."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from wsss.errors import WsssError

LARGEST = 1_000_000
"""Values of a configuration with everything written out that anchors (``&a``, ``*a``) repeat."""
DEEPEST = 100
"""Blocks within blocks."""
TOO_DEEP = f"blocks lie in each other more than {DEEPEST} deep; that is no configuration."


def refuse_bomb(values: Any) -> None:
    """Refuse what a few lines of YAML can blow up: anchors that repeat each other over and over, or hold themselves,
    and blocks without end. Takes time by what is written, not by what it stands for.

    Raises:
        WsssError: More than ``LARGEST`` values, or blocks deeper than ``DEEPEST``.
    """
    sizes: dict[int, int] = {}

    def size(value: Any, depth: int) -> int:
        if not isinstance(value, dict | list | tuple):
            return 1
        if depth > DEEPEST:  # also of what holds itself
            raise WsssError(f"The configuration: {TOO_DEEP}")
        if id(value) not in sizes:
            inside = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(one, depth + 1) for one in inside)
        return sizes[id(value)]

    if (total := size(values, 0)) > LARGEST:
        raise WsssError(
            f"The configuration stands for {total:,} values, since anchors (&) repeat each other; write it out."
        )


class _OnceLoader(yaml.SafeLoader):
    """A YAML reader that refuses a key that stands twice in a block; plain YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise WsssError(f"{node.start_mark.name}: line {line} has a list or a block as a key; write text.")
            if key in seen:
                lines = f"in lines {seen[key]} and {line}"
                raise WsssError(
                    f"{node.start_mark.name}: the key {key!r} stands twice in one block, {lines}; keep one."
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file. Raises ``WsssError`` where it is missing, is no YAML, or a key stands twice in a block."""
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.load(file, _OnceLoader)  # noqa: S506 (a safe loader's subclass)
    except OSError as error:
        raise WsssError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter: not UTF-8, or a date such as 2001-99-99
        raise WsssError(f"{path}: not valid YAML. {error}") from None
    except RecursionError:
        raise WsssError(f"{path}: {TOO_DEEP}") from None


def check_files(paths: Iterable[str | Path]) -> None:
    """Refuse configuration files in which a key stands twice (YAML itself takes the last without a word)."""
    for path in paths:
        if str(path).endswith((".yaml", ".yml")) and os.path.isfile(path):
            read_yaml(path)
