"""Training objectives, one per file; ``find`` fetches one by its name in the settings."""

from __future__ import annotations

from collections.abc import Callable

from wsss.objectives.base import Objective
from wsss.system.plugins import class_of


def find(name: str) -> Callable[..., Objective]:
    """The class of ``wsss.objectives.<name>`` (a dash stands for an underscore)."""
    return class_of(f"wsss.objectives.{name.replace('-', '_')}", Objective)  # type: ignore[type-abstract]
