"""Rounds: a stage is killed a few times in a row, then the same command is given until it ends, then it is judged."""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.checkout import ROOT, SHARDS, SHORT, Job, bring_in, check_complete, jobs
from tests.chaos.console_commands import ConsoleCommands
from tests.chaos.judge import differences, left_over, tree
from tests.chaos.kills import KINDS, Died, Scene, Usual, mark_durable
from tests.chaos.processes import Processes
from tests.chaos.store import Store, clear
from tests.chaos.trial import Told, Trial, declared, failed, finish, observed

TRIES = 6
"""A stage that ended before it was struck is struck anew, so often."""
IN_A_ROW = (1, 1, 1, 2, 3)
ALTERNATING = 0.3
"""Share of the further kills that hit another artefact's command, which is given for the same folder in between."""
SHARED = 0.5
"""Share of the rounds, of stages whose images jobs may share, that kill one of several jobs."""
BY_COMMAND = 6
"""After so many stages it is the turn of ``wsss accept`` or ``wsss adopt``."""
ORPHANS = 20.0
"""Seconds that loader processes may outlive a stage that was killed: they look every five whether it is there."""
NOTHING = "from nothing"
BEGINNINGS: dict[str, Callable[[Store, Job], None]] = {
    NOTHING: lambda store, job: None,
    "over a finished artefact": lambda store, job: store.lay(job, 0),
    "over another artefact": lambda store, job: store.lay(job, 1),
    "over another, its own is kept": lambda store, job: (store.lay(job, 1), store.keep(job, 0)),
    "beside its own that is kept": lambda store, job: store.keep(job, 0),
    "forced": lambda store, job: (store.lay(job, 0), store.force(job)),
    "forced over another": lambda store, job: (store.lay(job, 1), store.force(job)),
}
"""What lies in the folder, and beside it, when a command is given."""
OFTEN = (5, 2, 5, 5, 1, 4, 1)
KINDS_IN_TURN = list(KINDS)
SHAREABLE = (NOTHING, "over another artefact", "forced")
"""Beginnings that leave something to do to jobs that share the images."""


@dataclass(frozen=True)
class Cast:
    """A round about to begin: the stage that dies first, the command for another artefact in its folder, the first
    way to die, what lies there before, whether it is one of several jobs, whether Snakemake gives its command."""

    scene: Scene
    other: Job
    kind: str
    beginning: str
    shared: bool
    by_snakemake: bool


class Chaos:
    """A working folder, its undisturbed run, and what was found wrong.

    Args:
        folder: Where all of it lies.
        seed: Of every choice.
        short: Only a few quick stages, and one kill a round.
    """

    def __init__(self, folder: Path, seed: int, short: bool = False) -> None:
        self.seed, self.short = seed, short
        self.checkout, self.scratch = folder / "work", folder / "scratch"
        for made in (self.checkout, self.scratch):
            made.mkdir(parents=True)
        root = folder / "checkout"  # a copy, so that edits during a long run disturb nothing
        for part in ("stages", "wsss"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.processes = Processes(root, self.checkout, self.scratch)
        self.processes.load()
        self.store = Store(self.checkout, folder / "store", self.make)
        self.commands = ConsoleCommands(self.processes, self.store, self.scene)
        self.chain = jobs()
        check_complete(self.chain)
        self.chain = [job for job in self.chain if not short or job.out in SHORT]
        self.usual: dict[tuple[str, str], Usual] = {}
        self.kills = self.wrong = self.lost = 0

    def undisturbed(self) -> None:
        """Run the chain once and keep what it made."""
        for job in self.chain:
            bring_in(self.checkout, job)
            usual = self.recorded(job, NOTHING)
            print(f"{job.name}: {usual.seconds:.2f} s, {usual.points} moments, {usual.worker_points} of workers",
                  flush=True)  # fmt: skip
        self.commands.agree()

    def make(self, job: Job) -> None:
        """Run a command undisturbed."""
        ended = self.processes.run(job)
        if ended.code != 0:
            raise SystemExit(f"{job.name} fails undisturbed:\n{ended.said}")

    def recorded(self, job: Job, beginning: str) -> Usual:
        """How a stage runs undisturbed from a beginning; seen once, and judged like any other run."""
        if (job.name, beginning) not in self.usual:
            if beginning != NOTHING:
                self.store.ready(job, 1)
            self.begin(job, beginning)
            scene = self.scene(job, random.Random(0), Usual({}))
            usual = observed(scene)
            if beginning == NOTHING:
                self.store.take(job, 0)
            usual.tree = self.store.tree(job, 0)
            wrong = differences(tree(scene.out), usual.tree) + left_over(scene.out)
            if wrong:
                raise SystemExit(f"{job.name} {beginning} ends wrong undisturbed: {wrong}")
            self.usual[job.name, beginning] = usual
        return self.usual[job.name, beginning]

    def begin(self, job: Job, beginning: str) -> None:
        """Lay out what lies there when the command is given."""
        clear(self.checkout / job.out)
        BEGINNINGS[beginning](self.store, job)

    def scene(self, job: Job, rng: random.Random, usual: Usual) -> Scene:
        notes = self.scratch / "notes"
        notes.unlink(missing_ok=True)
        return Scene(self.processes, job, usual, rng, notes)

    def turn(self, number: int, most: int) -> None:
        """A round of a console command or of a stage."""
        if number % (BY_COMMAND + 1) == BY_COMMAND:
            told = self.commands.round(random.Random(f"{self.seed} {number}"), most)
        else:
            told = self.round(number - number // (BY_COMMAND + 1), number, most)
        self.kills += told.kills
        self.wrong += bool(told.wrong)
        self.lost += bool(told.lost)
        print(f"{self.kills:4} [{number}] {told.name}: {'; '.join(told.story)}", flush=True)
        for what, lines in (("WRONG", told.wrong), ("LOST", told.lost)):
            for line in lines:
                print(f"     {what} " + line.replace("\n", "\n       "), flush=True)

    def round(self, place: int, number: int, most: int) -> Told:
        """Kill one stage up to ``most`` times, let it end, and judge."""
        job, rng = self.chain[place % len(self.chain)], random.Random(f"{self.seed} {number}")
        cast = self.cast(job, place, rng)
        scene, story = cast.scene, [cast.beginning] + ["one of several jobs"] * cast.shared
        trial = Trial(self.store.known(job), scene, job.table)
        trial.look("at the beginning")
        try:
            kills = self.kill(cast, trial, story, min(most, 1 if self.short else rng.choice(IN_A_ROW)))
            if cast.shared:
                trial.wrong += self.finish_shards(scene, job, cast.by_snakemake, story)
            last = replace(scene, job=job.gathering() if cast.shared else job)
            trial.wrong += finish(last, cast.by_snakemake, story)
            trial.end()
        finally:
            self.store.restore(job)
        return Told(kills, job.name, story, trial.wrong, trial.lost)

    def cast(self, job: Job, place: int, rng: random.Random) -> Cast:
        """Choose who dies how, and lay out what lies there before."""
        kind = KINDS_IN_TURN[(place + place // math.lcm(len(self.chain), len(KINDS))) % len(KINDS)]
        shared = job.scattered and rng.random() < SHARED
        beginning = NOTHING if kind == "disk full" else rng.choices(list(BEGINNINGS), OFTEN)[0]
        shared &= beginning in SHAREABLE
        usual = self.recorded(job, NOTHING if shared else beginning)
        victim = job.shard(rng.randrange(SHARDS)) if shared else job
        if shared:
            usual = replace(usual, points=usual.points // 2, moving=0, seconds=usual.seconds / 2)
        other = self.store.ready(job, 1)
        self.begin(job, beginning)
        scene = self.scene(victim, rng, usual)
        mark_durable(scene)
        return Cast(scene, other, kind, beginning, shared, rng.random() < 0.5)

    def kill(self, cast: Cast, trial: Trial, story: list[str], most: int) -> int:
        """Let the stage, or the one for another artefact, die so often in a row; how often it did."""
        scene, kind, rng, kills = cast.scene, cast.kind, cast.scene.rng, 0
        alone = cast.shared or kind == "disk full"  # nothing can be moved away from a disk of its own
        for _ in range(most):
            died = self.strike(scene, kind, cast.by_snakemake)
            kills += died.hit
            told = f"exit {died.ended.code} after {died.ended.seconds:.2f} s"
            story.append(f"{'another: ' * (scene.job == cast.other)}{kind} ({died.what}): {told}")
            trial.wrong += [f"{kind}: {line}\n{died.ended.said.strip()[-6000:]}" for line in died.wrong]
            trial.look(kind)
            if trial.wrong:
                break
            another = not alone and rng.random() < ALTERNATING
            scene = replace(scene, job=cast.other if another else cast.scene.job)
            kind = rng.choice([name for name in KINDS if name != "disk full"])
        return kills

    def strike(self, scene: Scene, kind: str, by_snakemake: bool) -> Died:
        """Let a stage die; where it ended first, again, at another moment."""
        for number in range(TRIES):
            if by_snakemake or number:
                declared(scene)
            died = KINDS[kind](scene)
            if died.hit or died.wrong:
                break
        return died

    def finish_shards(self, scene: Scene, job: Job, by_snakemake: bool, story: list[str]) -> list[str]:
        """Give the commands of all shards, the killed one too, at the same time."""
        begun, started = time.monotonic(), []
        for number in range(SHARDS):
            one = replace(scene, job=job.shard(number))
            if by_snakemake:
                declared(one)
            started.append(self.processes.start(one.job, one.prepare()))
        ended = [self.processes.wait(pid, begun) for pid in started]
        story.append(f"then its jobs ended with {', '.join(str(one.code) for one in ended)}")
        return [failed(one) for one in ended if one.code != 0]

    def orphans(self) -> None:
        """Every process of every stage must end by itself."""
        until = time.monotonic() + ORPHANS
        while (left := list(self.processes.left())) and time.monotonic() < until:
            time.sleep(0.2)
        if left:
            self.wrong += 1
            print(f"     WRONG processes are left over: {left}")
