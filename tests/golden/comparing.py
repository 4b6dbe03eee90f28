"""Tolerances, differences, and what is to be done about them.

How far values go where nothing but the processor's instructions differs was measured by ``python -m tests.golden
--drift``: the values on record, made with SSE 4.1 alone, beside those with AVX2, with AVX-512, and with AVX-512 in the
libraries of linear algebra alone. Another processor with the same pins differs by less, if at all. The largest
differences that were found, and what is allowed, at least 20 times that:

- losses, probabilities, maps, metrics: 1.4e-5; ``NUMBERS`` 3e-4
- how far weights went in a training, where differences add up over its steps: 2.9e-5; ``CHANGES`` 1e-3
- pixels of masks: none; ``PIXELS`` 2e-4, and more for predictions, of which one in 13,824 is the least that can change
- ablation, which subtracts sums that are next to equal: 7.6e-5 and 1.1e-3; these cases say ``within``

``mutations`` shows that changes of a method go farther than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.golden.figures import Number, Values

NUMBERS = 3e-4
CHANGES = 1e-3
PIXELS = 2e-4
LEAST = 1e-2
"""Numbers that have names are no parts of one array: each is seen by its own size, down to this share of the largest.
Those of a list are seen by the size of the largest."""
FLOOR = 2e-6
"""Absolute difference that is always allowed: files have six digits after the point."""
SHOWN = 6
"""Values that a message names."""


def differences(was: Values, now: Values, within: float | None = None) -> list[str]:
    """How values differ, by more than is allowed: a sentence each."""
    found = [f"{name} is new" for name in now if name not in was]
    found += [f"{name} is gone" for name in was if name not in now]
    for name in was:
        if name in now and (said := difference(name, was[name], now[name], within)):
            found.append(f"{name}: {said}")
    return found


def difference(name: str, was: Any, now: Any, within: float | None = None) -> str | None:
    """How a value differs, by more than is allowed."""
    if all(isinstance(one, dict) and "of" in one for one in (was, now)):
        return _pixels(was, now, within or PIXELS)
    allowed = within or (CHANGES if name.startswith("change of ") else NUMBERS)
    if isinstance(was, list) and isinstance(now, list):
        return _numbers(dict(enumerate(was)), dict(enumerate(now)), allowed, 1.0)
    if isinstance(was, dict) and isinstance(now, dict):
        return _numbers(was, now, allowed, LEAST)
    return None if was == now else f"{was} on record, now {now}"


def drift(was: Mapping[Any, Number], now: Mapping[Any, Number], least: float) -> tuple[float, Any]:
    """The largest difference of numbers of the same names as a share of the number on record, or of ``least`` times the
    largest, and where it is. Differences up to the floor are none; whole numbers are equal or far apart."""
    fractions = [abs(value) for value in was.values() if isinstance(value, float)]
    scale = least * max(fractions, default=0.0)
    found: tuple[float, Any] = (0.0, None)
    for name, a in was.items():
        b = now[name]
        if a is None or b is None or abs(a - b) <= (0 if isinstance(a, int) and isinstance(b, int) else FLOOR):
            continue
        against = 0.0 if isinstance(a, int) else max(scale, abs(a))
        found = max(found, (abs(a - b) / against if against else float("inf"), name), key=lambda pair: pair[0])
    return found


def _numbers(was: Mapping[Any, Number], now: Mapping[Any, Number], allowed: float, least: float) -> str | None:
    if [(name, value is None) for name, value in was.items()] != [(name, value is None) for name, value in now.items()]:
        return f"{len(was)} numbers on record, now {len(now)}, or others of them are missing"
    most, name = drift(was, now, least)
    return None if most <= allowed else f"number {name} was {was[name]}, is {now[name]}: {most:.1e} ({allowed:.0e})"


def _pixels(was: Mapping[str, Any], now: Mapping[str, Any], allowed: float) -> str | None:
    if was["of"] != now["of"] or was["images"].keys() != now["images"].keys():
        return "other images, or of other sizes"
    moved, rows, columns, most = 0.0, 0, 0, ("", 0.0)
    for id in was["images"]:
        mine = 0.0
        for label in was["images"][id].keys() | now["images"][id].keys():
            before, after = (side["images"][id].get(label, (0, 0, 0)) for side in (was, now))
            mine += abs(before[0] - after[0]) / 2
            rows += abs(before[1] - after[1])
            columns += abs(before[2] - after[2])
        moved += mine
        most = max(most, (id, mine), key=lambda pair: pair[1])
    share = max(moved, rows, columns) / was["of"]
    if share <= allowed:
        return None
    return f"at least {share:.2%} of the pixels have other labels ({allowed:.2%}), most in {most[0]}"


class Judged:
    """Cases as they are beside the values on record.

    Args:
        recorded: Case -> ``versions`` and ``values`` on record.
        found: Case -> what came of it (``tests.golden.running``).
        reads: Case -> the cases that it is made from.
        within: Case -> tolerance of its own.
    """

    def __init__(
        self,
        recorded: Mapping[str, Mapping[str, Any]],
        found: Mapping[str, Mapping[str, Any]],
        reads: Mapping[str, list[str]],
        within: Mapping[str, float | None],
    ) -> None:
        self.recorded, self.found, self.reads = recorded, found, reads
        both = [key for key in found if key in recorded and "values" in found[key]]
        self.moved = {key: differences(recorded[key]["values"], found[key]["values"], within.get(key)) for key in both}
        self.raised = {key: sorted(_raised(recorded[key]["versions"], found[key]["versions"])) for key in both}

    def carried(self, key: str) -> list[str]:
        """Cases that it is made from, whose values moved for a reason that is known."""
        return [
            other
            for other in self.reads.get(key, ())
            if self.moved.get(other) and (self.raised.get(other) or self.carried(other))
        ]

    def movers(self, name: str) -> list[str]:
        """Cases whose values moved, and for which ``name`` was raised."""
        return [key for key, differing in self.moved.items() if differing and name in self.raised[key]]

    def idle(self, key: str) -> list[str]:
        """What of a case was raised although no values moved of any case that has it: not now, and not when another was
        recorded with that version."""
        versions = self.found[key]["versions"]
        return [
            name
            for name in self.raised.get(key, ())
            if not self.movers(name)
            and not any(
                name in one["versions"] and one["versions"][name] == versions.get(name) for one in self.others(key)
            )
        ]

    def others(self, key: str) -> list[Mapping[str, Any]]:
        """What is on record of other cases."""
        return [one for other, one in self.recorded.items() if other != key]

    def needs_words(self, key: str) -> bool:
        """Whether the record may change only with an explanation."""
        if self.moved.get(key):
            return not self.raised[key] and not self.carried(key)
        return bool(self.idle(key))

    def verdict(self, key: str) -> str | None:
        """What is wrong with a case and what to do; None where nothing is."""
        record = f"`python -m tests.golden --record {key}`"
        explain = f"`python -m tests.golden --record {key} --explain 'why'`"
        if "error" in self.found[key]:
            return f"{key} could not be run:\n{self.found[key]['error']}"
        if key not in self.recorded:
            return f"{key} has no values on record: {record}, and commit tests/golden/values/{key}.json"
        moved, raised = self.moved[key], self.raised[key]
        said = "\n".join(["", *(f"  {line}" for line in _few(moved))])
        stage, _, name = key.partition(".")
        files = self.found[key]["files"]
        if self.needs_words(key) and moved:
            return (
                f"results of {stage} ({name}) moved but VERSION in {', '.join(files.values())} did not:"
                f"{said}\nRaise VERSION in the file whose method changed and record ({record}), or, if they moved for "
                f"a reason outside the code (a library), record with {explain}"
            )
        if moved:
            why = f"VERSION of {', '.join(raised)} was raised" if raised else f"so did {', '.join(self.carried(key))}"
            return f"results of {stage} ({name}) moved, and {why}: record the new values ({record}):{said}"
        if self.needs_words(key):
            return (
                f"VERSION was raised ({', '.join(files.get(one, one) for one in self.idle(key))}), but nothing moved: "
                f"every user's results would be made anew for nothing. Lower it, or record with {explain}"
            )
        if raised:
            first = " ".join(dict.fromkeys([*(one for name in raised for one in self.movers(name)[:1]), key]))
            return f"VERSION of {', '.join(raised)} was raised: record it (`python -m tests.golden --record {first}`)"
        return None


def _raised(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is versioned otherwise now, new and gone included."""
    return (name for name in was.keys() | now.keys() if was.get(name) != now.get(name))


def _few(lines: list[str]) -> list[str]:
    more = [f"and {len(lines) - SHOWN} values more"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]
