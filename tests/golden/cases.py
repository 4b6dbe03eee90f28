"""What a case is, and the table of all cases in an order in which they can be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from wsss.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
INDEX = "index.scenes"
"""The case whose images nearly all others are run on."""
BY_HAND = {
    "saliency": "s0/saliency-maps/by-hand",
    "classifier": "s0/classifiers/by-hand",
    "segmenter": "s0/segmenters/by-hand",
}
"""Artefacts that no stage makes, but ``checkout`` and ``networks``: name -> folder."""
DIRECT = "explainer"
"""In place of a stage: explainers that no stage offers, called as a program of one's own calls ``wsss.explain``."""
_FOLDERS = {name: step.folder for name, step in STEPS.items()} | {DIRECT: "explainers"}


@dataclass(frozen=True)
class Case:
    """One run of a stage.

    Attributes:
        stage: Name of its program.
        name: Sets it apart from other cases of the stage; also its recipe's name, the last part of its folder.
        settings: Plain values, as in a configuration.
        inputs: Flag -> the case that makes it (or a name in ``BY_HAND``), or several.
        flags: Further arguments.
        exact: Its masks follow from whole numbers alone, and are kept as a digest.
        needs: Module of an optional package that it needs.
        within: Largest difference of its numbers, as a share; None: the usual one (``comparing``).
    """

    stage: str
    name: str
    settings: Mapping[str, Any] | None = None
    inputs: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    exact: bool = False
    needs: str | None = None
    within: float | None = None

    @property
    def key(self) -> str:
        """What it is called on the command line; its file in ``values`` has the same name."""
        return f"{self.stage}.{self.name}"

    @property
    def out(self) -> str:
        """Its artefact folder, placed as the workflow places it, since tables read kinds and recipes off the path."""
        if self.stage == "scores":
            kind = self.flags[self.flags.index("--kind") + 1]
            return f"s0/scores/{kind}/{Path(folder_of(str(self.inputs['artefact']))).name}"
        return f"s0/{_FOLDERS[self.stage]}/{self.name}" if self.stage in _FOLDERS else f"{self.stage}/{self.name}"

    def given(self) -> list[tuple[str, tuple[str, ...]]]:
        """Flags of its inputs and the names that each stands for; the index is every stage's but its own."""
        found = {} if self.stage == "index" else {"index": INDEX}
        return [(flag, (one,) if isinstance(one, str) else one) for flag, one in {**found, **self.inputs}.items()]

    def reads(self) -> list[str]:
        """The cases whose artefacts it reads."""
        return [name for _, names in self.given() for name in names if name not in BY_HAND]

    def argv(self) -> list[str]:
        """Its arguments but for the settings."""
        words = ["--out", self.out, "--threads", "1", "--device", "cpu", *self.flags]
        for flag, names in self.given():
            words += [f"--{flag.replace('_', '-')}", *map(folder_of, names)]
        return words


def folder_of(name: str) -> str:
    """The folder of a case or of an input that is made by hand."""
    return BY_HAND[name] if name in BY_HAND else case(name).out


@cache
def all_cases() -> dict[str, Case]:
    """Every case by its key, each after those that it reads."""
    from tests.golden import of_explainers, of_maps, of_masks, of_tables, of_trainings

    listed = {
        one.key: one for part in (of_trainings, of_maps, of_masks, of_explainers, of_tables) for one in part.CASES
    }
    found: dict[str, Case] = {}

    def add(key: str) -> None:
        if key not in found:
            for other in listed[key].reads():
                add(other)
            found[key] = listed[key]

    for key in listed:
        add(key)
    return found


def case(key: str) -> Case:
    """The case of a key. Raises ``SystemExit`` where there is none."""
    if key not in all_cases():
        raise SystemExit(f"no case {key!r}; there are {', '.join(all_cases())}")
    return all_cases()[key]


def with_inputs(keys: Iterable[str]) -> list[Case]:
    """These cases and all that they are made from, in an order in which they can be run."""
    wanted: set[str] = {INDEX}
    pending = list(keys)
    while pending:
        key = pending.pop()
        wanted.add(key)
        pending += [name for name in case(key).reads() if name not in wanted]
    return [one for key, one in all_cases().items() if key in wanted]
