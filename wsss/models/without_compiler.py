"""timm and torchvision without torch's compiler, which no network here uses and whose import takes as long as torch's.

Both import ``torch._dynamo`` (and with it sympy, inductor and triton) for what matters to compiled programs alone: timm
excepts a function of ``timm/models/naflexvit.py`` from compilation, and ``torchvision/ops/roi_align.py`` asks whether a
device could compile. A program of inference lives for seconds, and a run has dozens of them. (torch's optimisers import
the compiler themselves: trainings gain nothing.)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

try:
    from torch._compile import _disable_dynamo
except ImportError:  # a torch that has no such function: the compiler comes with every import, as ever
    _disable_dynamo = None  # type: ignore[assignment]

COMPILER = "torch._dynamo"
UTILS = f"{COMPILER}.utils"


class StandIn(ModuleType):
    """In the place of a module of the compiler while others are imported. It leaves it, and the compiler comes, where
    they want more of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and (self.__name__, name) != (COMPILER, "__path__"):  # the import system asks much
            raise AttributeError(name)
        leave()
        return getattr(importlib.import_module(self.__name__), name)


def leave() -> None:
    """Take all stand-ins away."""
    for name in (COMPILER, UTILS):
        if isinstance(sys.modules.get(name), StandIn):
            del sys.modules[name]


def disable(function: Any = None, recursive: bool = True, **options: Any) -> Any:
    """torch's own way to except a function from compilation without the compiler: it is imported at the first call.
    That call asks here once more, with other options, and is given the compiler's answer."""
    if set(options) <= {"reason"}:
        return _disable_dynamo(function, recursive)
    leave()
    return importlib.import_module(COMPILER).disable(function, recursive, **options)


def is_compile_supported(device_type: str) -> bool:
    """What the compiler says of a device; it is imported for that."""
    return bool(importlib.import_module(UTILS).is_compile_supported(device_type))


def import_packages(*names: str) -> None:
    """Import packages as ever, but the compiler only where they want more of it than these two functions."""
    if COMPILER in sys.modules or _disable_dynamo is None:
        return
    offered: dict[str, Callable[..., Any]] = {COMPILER: disable, UTILS: is_compile_supported}
    for name, function in offered.items():
        sys.modules[name] = StandIn(name)
        setattr(sys.modules[name], function.__name__, function)
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        leave()
