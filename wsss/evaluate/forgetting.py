"""What a network that learns class after class keeps of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean


def mean_over(values: Mapping[str, float | None], classes: Sequence[str]) -> float | None:
    """Mean over the classes that have a value; None where none has.

    Examples:
        >>> mean_over({"cat": 0.5, "dog": 0.7, "cow": None}, ["cat", "dog", "cow"])
        0.6
    """
    known = [value for name in classes if (value := values.get(name)) is not None]
    return fmean(known) if known else None


def forgetting(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> float | None:
    """Mean over the classes of ``before`` of the IoU when they had just been learnt minus that of now; None where none
    has both. Below 0: they got better.

    Examples:
        >>> round(forgetting({"cat": 0.8, "dog": 0.6}, {"cat": 0.5, "dog": 0.6, "cow": 0.4}), 6)
        0.15
    """
    lost = [was - now for name, was in before.items() if was is not None and (now := after.get(name)) is not None]
    return fmean(lost) if lost else None
