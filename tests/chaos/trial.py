"""What happened in a round, looked at after each kill and at the end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.chaos.judge import KEPT, Key, Known, differences, left_over, lost, present, tree
from tests.chaos.kill_points import address_space, note, read_notes
from tests.chaos.kills import Scene, Usual
from tests.chaos.processes import Ended

TRY_AGAIN = 75
ATTEMPTS = 4
"""A stage that asks for another try gets so many."""


class Told(NamedTuple):
    """A round: kills, who died, what happened in words, what is wrong, what is lost."""

    kills: int
    name: str
    story: list[str]
    wrong: list[str]
    lost: list[str]


@dataclass
class Trial:
    """Collects what is wrong and what is lost.

    Attributes:
        known: The bytes of all artefacts that may lie there.
        scene: Where they lie.
        excused: Old tables are deleted by Snakemake, and not kept.
        before: The artefacts that have been whole at some time.
    """

    known: Known
    scene: Scene
    excused: bool = False
    before: set[Key] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def look(self, when: str) -> None:
        """Right after a kill: a manifest stands only beside a whole artefact."""
        found, wrong = present(self.scene.out, self.known)
        self.before |= found
        self.wrong += [f"{when}: {line}" for line in wrong if not (self.excused and KEPT in line)]

    def end(self) -> None:
        """When the command has ended well: nothing is lost, and nothing still on its way."""
        self.look("at the end")
        self.wrong += left_over(self.scene.out)
        self.lost += [] if self.excused else lost(self.before, self.scene.out, self.known)


def observed(scene: Scene) -> Usual:
    """Run a command undisturbed, and see how it runs."""

    def prepare() -> None:
        scene.points(recording=True).install()
        note(scene.notes, base=address_space())

    ended = scene.processes.run(scene.job, prepare)
    if ended.code != 0:
        raise SystemExit(f"{scene.job.name} fails undisturbed:\n{ended.said}")
    found = read_notes(scene.notes)

    def most(key: str) -> int:
        return max((line[key] for line in found if key in line), default=0)

    size, memory = sum(path.stat().st_size for path in scene.files()), most("peak") - most("base")
    told: dict[str, Any] = {name: most(name) for name in ("points", "moving", "worker_points")}
    return Usual(tree(scene.out), seconds=ended.seconds, size=size, memory=memory, **told)


def finish(scene: Scene, by_snakemake: bool, story: list[str]) -> list[str]:
    """Give the same command until it ends, as a person or as Snakemake would; what is wrong then."""
    ended, attempt = None, 0
    while ended is None or (ended.code == TRY_AGAIN and attempt < ATTEMPTS):
        if by_snakemake:
            declared(scene)
        ended, attempt = scene.processes.run(scene.job, scene.prepare()), attempt + 1
    story.append(f"then {'Snakemake' if by_snakemake else 'the command'} ended with {ended.code} (try {attempt})")
    return [failed(ended)] if ended.code != 0 else differences(tree(scene.out), scene.usual.tree)


def failed(ended: Ended) -> str:
    return f"the same command ends with {ended.code}:\n{ended.said.strip()[-6000:]}"


def declared(scene: Scene) -> None:
    """Remove what the rule declares, as Snakemake does before it runs a job."""
    for name in scene.job.outputs:
        path = scene.out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
