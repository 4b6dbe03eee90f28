"""Images of one size together, so that a network can see several at once."""

from __future__ import annotations

from collections.abc import Iterable

from wsss.data.index import Item

Buckets = list[list[Item]]
TOGETHER = 8
"""Images of a bucket. Fixed: with another number, a network's results would differ in their last bits."""


def buckets(items: Iterable[Item], most: int = TOGETHER) -> Buckets:
    """Images of the same height and width, up to ``most`` together, in the order of their first one.

    What stands beside an image follows from the list alone. Where jobs share a list, each gets whole buckets.
    """
    found: Buckets = []
    last: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        size = (item.height, item.width)
        if size not in last or len(last[size]) == most:
            last[size] = []
            found.append(last[size])
        last[size].append(item)
    return found
