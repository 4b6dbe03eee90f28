"""Training objectives, one a file; ``find`` fetches one by its name in the settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from wsss.objectives.base import Objective


def find(name: str) -> Callable[..., Objective]:
    """The class ``Goal`` of ``wsss.objectives.<name>`` (a dash stands for an underscore)."""
    goal: Callable[..., Objective] = import_module(f"wsss.objectives.{name.replace('-', '_')}").Goal
    return goal
