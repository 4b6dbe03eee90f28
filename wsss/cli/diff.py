"""``wsss diff``: what differs between two artefacts what they were made from, and their scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.cli.show import TOLD, images, shards
from wsss.errors import WsssError
from wsss.provenance.code import short
from wsss.store.artefact import Artefact, find, load
from wsss.text import duration, memory, nice, wrapped
from wsss.workflow.values import ABSENT, counted, differences, literal, own

ABOUT = """\
Compare two artefacts and all that they were made from, and say which of their scores moved. Exit code 0: no difference
in what they were made from and with, 1: some."""
EXAMPLES = """\
examples:
  wsss diff results/photos/s0/masks/plain results/photos/s0/masks/walk
  wsss diff results-before/photos results/photos           the scores of all results of two runs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss diff``."""
    parser.add_argument("a", type=Path, metavar="A", help="an artefact's folder, or anything inside it")
    parser.add_argument("b", type=Path, metavar="B", help="the other, in the same way")
    parser.add_argument("--all", action="store_true", help="also what was found on the way, and time and memory")


DIFFERENT = 1


def diff(args: argparse.Namespace) -> int:
    """Print what differs between ``args.a`` and ``args.b``; returns 1 if anything does. Raises ``WsssError``."""
    from wsss.report.moves import moved

    a, b = find(args.a), find(args.b)
    if a.folder == b.folder:
        print(f"A and B are the same artefact: {a.title}")
        return 0
    found = _Comparison(args.all)
    found.pair(a, b)
    print(f"A  {a.title}\nB  {b.title}")
    if not found.different:
        print("No difference: settings, seeds, inputs, versions, devices, code and your files are the same.")
    for line in (*found.lines, *found.notes, *moved(a, b)):
        print(line)
    return DIFFERENT if found.different else 0


class _Comparison:
    """Walks up two chains side by side; what arises upstream is said first, and only there."""

    def __init__(self, everything: bool) -> None:
        self.everything = everything
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.different = False
        self.seen: set[tuple[Path, Path]] = set()
        self.said: set[tuple[str, str, str]] = set()

    def pair(self, a: Artefact, b: Artefact) -> None:
        """Two artefacts that stand in the same place of their chains."""
        if a.folder == b.folder or (a.folder, b.folder) in self.seen:
            return
        self.seen.add((a.folder, b.folder))
        inputs_a, inputs_b = a.inputs, b.inputs
        for name in inputs_a:
            if name in inputs_b:
                self._inputs(a, b, name)
        lines = list(self._here(a, b))
        self.different |= bool(lines)
        if self.everything:
            lines += self._results(a, b)
        if lines:
            where = a.stage if a.stage == b.stage else f"{a.stage} | {b.stage}"
            self.lines += ["", f"{where}: {a.title} | {b.title}"]
            for line in lines:
                self.lines += wrapped(line, "  ", "      ")

    def _inputs(self, a: Artefact, b: Artefact, name: str) -> None:
        there = []
        for one in (a, b):
            try:
                there.append(load(one.inputs[name]))
            except WsssError as error:
                self.notes.append(f"not compared: input {name} of {one.title}: {error}")
                continue
            if not one.unchanged(name):
                self.notes.append(
                    f"mind: {nice(one.inputs[name])} was made again since {one.title} read it; what it was then is lost"
                )
        if len(there) == 2:
            self.pair(*there)

    def _here(self, a: Artefact, b: Artefact) -> Iterator[str]:
        """What differs between the two themselves."""
        yield from self._line("stage", a.stage, b.stage)
        for key, one, other in differences(_labelled(a, b), _labelled(b, a)):
            yield from self._line(key, one, other)
        for name in dict.fromkeys((*a.inputs, *b.inputs)):
            if (name in a.inputs) != (name in b.inputs):
                given = [nice(one.inputs[name]) if name in one.inputs else ABSENT for one in (a, b)]
                yield from self._line(f"input {name}", *given)
        for key in ("seed", "dataset", "device"):
            yield from self._once(key, a.manifest.get(key, ABSENT), b.manifest.get(key, ABSENT))
        of_a, of_b = (one.manifest.get("versions", {}) for one in (a, b))
        for name in dict.fromkeys((*of_a, *of_b)):
            yield from self._once(f"version of {name}", of_a.get(name, ABSENT), of_b.get(name, ABSENT))
        if a.stage == b.stage:
            for key, one, other in differences(a.manifest.get("declared", {}), b.manifest.get("declared", {})):
                yield from self._once(f"declared version of {key}", one, other)
            if other := [name for name, was in code_of(a).items() if code_of(b).get(name, was) != was]:
                yield from self._once(f"code: {short(other)}", "one text", "another")
        yield from self._line("your files", a.manifest.get("files") or ABSENT, b.manifest.get("files") or ABSENT)

    @staticmethod
    def _line(label: str, one: Any, other: Any) -> Iterator[str]:
        if one != other:
            yield f"{label}: {literal(one)} | {literal(other)}"

    def _once(self, label: str, one: Any, other: Any) -> Iterator[str]:
        """The same pair of versions or seeds runs through a whole chain; it is said where it first stands."""
        if (label, str(one), str(other)) not in self.said:
            self.said.add((label, str(one), str(other)))
            yield from self._line(label, one, other)

    @staticmethod
    def _results(a: Artefact, b: Artefact) -> list[str]:
        """What came out: consequences, not causes."""
        facts: list[dict[str, str]] = []
        for one in (a, b):
            about = one.manifest
            noted = {key: literal(value) for key, value in about.items() if key not in TOLD}
            took = {"wall time": duration(about.get("wall_seconds")), "memory": memory(about.get("peak_memory_mib"))}
            took |= {"shards": shards(about)} if "shards" in about else {}
            facts.append({"images": images(about), **noted, **took, "made": str(about.get("made", ""))})
        names = dict.fromkeys((*facts[0], *facts[1]))
        lines = [(name, facts[0].get(name, "(absent)"), facts[1].get(name, "(absent)")) for name in names]
        return [f"({name}: {one} | {other})" for name, one, other in lines if one != other]


def code_of(made: Artefact) -> dict[str, str]:
    """The files of code that made an artefact, as far as it is recorded."""
    code = made.manifest.get("code", {})
    return code if isinstance(code, dict) else {}


def _labelled(one: Artefact, other: Artefact) -> dict[str, Any]:
    """Settings of ``one`` that ``other`` has too, and those that differ from the defaults: a setting that another
    objective, or an older version, does not have says nothing as long as it has its default."""
    chosen = {key.partition(".")[0] for key, _ in own(one.stage, one.settings)}
    settings = counted(one.stage, one.settings)
    return {key: value for key, value in settings.items() if key in chosen or key in other.settings}
