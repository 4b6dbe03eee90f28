"""Class names that differ in case, blanks or hyphens alone (``Horse``, ``horse``): often one class."""

from __future__ import annotations

from collections.abc import Iterable


def similar(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of at least two different names that are one without blanks, hyphens, underscores and case; sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault("".join(name.casefold().replace("_", " ").replace("-", " ").split()), set()).add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)
