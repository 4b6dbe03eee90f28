"""Classes that are found by the name of their module: one file, one class."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TypeVar

from wsss.errors import WsssError

Base = TypeVar("Base")


def class_of(module: str, base: type[Base]) -> type[Base]:
    """The one public class that a module defines from ``base``. Raises ``WsssError`` if it defines none, or several."""
    loaded = import_module(module)
    found = [
        member
        for name, member in inspect.getmembers(loaded, inspect.isclass)
        if issubclass(member, base) and member.__module__ == module and not name.startswith("_")
    ]
    if len(found) != 1:
        names = ", ".join(member.__name__ for member in found) or "none"
        raise WsssError(f"{loaded.__file__}: one class made from {base.__name__} is needed here, found: {names}")
    return found[0]
