"""Training objectives, one per file; ``find`` fetches one by its name in the settings."""

from __future__ import annotations

from collections.abc import Callable

from wsss.objectives.base import Learner, Objective
from wsss.system.plugins import class_of


def find(name: str) -> Callable[..., Objective]:
    """The class of ``wsss.objectives.<name>`` (a dash stands for an underscore), which the engine trains."""
    return class_of(f"wsss.objectives.{name.replace('-', '_')}", Objective)  # type: ignore[type-abstract]


def find_learner(name: str) -> Callable[..., Learner]:
    """The same, for stages that also take what is fitted at once."""
    return class_of(f"wsss.objectives.{name.replace('-', '_')}", Learner)
