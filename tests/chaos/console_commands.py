"""``wsss accept`` and ``wsss adopt``, killed at any moment: the old state stands afterwards, or the new one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import yaml

from tests.chaos.checkout import INDEX, RUN, WSSS, Job, jobs
from tests.chaos.judge import MANIFEST, differences, known_by, tree
from tests.chaos.kills import KINDS, Scene, Usual, mark_durable
from tests.chaos.processes import Processes
from tests.chaos.store import Store, clear, copy
from tests.chaos.trial import Told, Trial, finish, observed

RECIPES = {
    INDEX: ("datasets", "scenes"),
    **{f"{RUN}/{kind}/vanilla": (kind, "vanilla") for kind in ("classifiers", "cams", "masks")},
}
"""Folders of the chain, and where a configuration has their settings."""
KILLS = ("kill", "kill all", "power cut", "terminate", "Ctrl-C", "hang up")
IN_A_ROW = (1, 1, 2, 3)
TRIES = 6
BEGINNINGS = {"accept": (0,), "adopt": (None, 0, 0, 2)}
"""Number of the artefact that lies there, or None."""
ENDS = ("the same again", "the stage", "the stage for another")
COLLEAGUE = "colleague"


def config(changed: Job | None = None) -> dict[str, Any]:
    """A configuration that wants what the chain makes; of one job, what is made with other settings."""
    values: dict[str, Any] = {"dataset": "scenes", "evaluation": {"calibration_images": 4}}
    for job in jobs():
        if job.out in RECIPES:
            kind, name = RECIPES[job.out]
            if changed is not None and job.out == changed.out:
                job = job.another(1)
            values.setdefault(kind, {})[name] = json.loads(job.args[job.args.index("--settings") + 1])
    return values


class ConsoleCommands:
    """The working folder with a configuration, in which results are accepted and adopted.

    Args:
        processes: Runs commands.
        store: What was made there.
        scene: Prepares how a command is killed.
    """

    def __init__(self, processes: Processes, store: Store, scene: Callable[[Job, random.Random, Usual], Scene]) -> None:
        self.processes, self.store, self.scene = processes, store, scene
        self.jobs = [job for job in jobs() if job.out in RECIPES]
        self.usual: dict[tuple[str, str, int | None], Usual] = {}
        for name, changed in (("wanted", None), *((job.stage, job) for job in self.jobs)):
            (processes.checkout / f"{name}.yaml").write_text(yaml.safe_dump(config(changed)))

    def agree(self) -> None:
        """What the chain has made is what the configuration wants: there is one identity, whoever asks."""
        job = Job(WSSS, ".", ("accept", *(job.out for job in self.jobs), "--yes", "--configfile", "wanted.yaml"))
        ended = self.processes.run(job)
        if ended.code != 0 or "Nothing to accept" not in ended.said:
            raise SystemExit(f"the chain and its configuration differ:\n{ended.said}")

    def command(self, what: str, job: Job) -> Job:
        """What lies there is accepted for changed settings; or what a colleague has made with others is adopted."""
        if what == "accept":
            return Job(WSSS, job.out, ("accept", job.out, "--yes", "--configfile", f"{job.stage}.yaml"))
        theirs = f"{COLLEAGUE}/{job.stage}"
        return Job(WSSS, job.out, ("adopt", theirs, "--to", job.out, "--anyway", "--configfile", "wanted.yaml"))

    def begin(self, job: Job, number: int | None) -> None:
        """Lay out what lies there before, and what the colleague has made."""
        clear(self.processes.checkout / job.out)
        if number is not None:
            self.store.lay(job, number)
        theirs = self.processes.checkout / COLLEAGUE / job.stage
        if not theirs.exists():
            copy(self.store.place(job, 1), theirs)

    def recorded(self, what: str, job: Job, number: int | None) -> Usual:
        """How a command runs undisturbed; seen once."""
        if (what, job.out, number) not in self.usual:
            self.begin(job, number)
            scene = self.scene(self.command(what, job), random.Random(0), Usual({}))
            self.usual[what, job.out, number] = observed(scene)
        return self.usual[what, job.out, number]

    def round(self, rng: random.Random, most: int) -> Told:
        """Kill a command up to ``most`` times, then do one thing or another, and judge."""
        job, what, end = rng.choice(self.jobs), rng.choice(list(BEGINNINGS)), rng.choice(ENDS)
        number = rng.choice(BEGINNINGS[what])
        for other in (1, 2):
            self.store.ready(job, other)
        usual = self.recorded(what, job, number)
        self.begin(job, number)
        scene = self.scene(self.command(what, job), rng, usual)
        mark_durable(scene)
        trial = Trial({**self.store.known(job), known_by(usual.tree): usual.tree}, scene)
        trial.look("at the beginning")
        story, kills = ["over nothing" if number is None else f"over number {number}"], 0
        try:
            for _ in range(min(most, rng.choice(IN_A_ROW))):
                kills += self.strike(scene, what, trial, story)
            trial.wrong += self.finish(scene, job, end, trial, rng.random() < 0.5, story)
            trial.end()
        finally:
            self.store.restore(job)
        return Told(kills, f"wsss {what} {job.stage}", story, trial.wrong, trial.lost)

    @staticmethod
    def strike(scene: Scene, what: str, trial: Trial, story: list[str]) -> bool:
        """Let the command die; where it ended first, again. Whether it died."""
        for _ in range(TRIES):
            kind = scene.rng.choice(KILLS)
            died = KINDS[kind](scene)
            trial.wrong += [f"{kind}: {line}\n{died.ended.said.strip()[-6000:]}" for line in died.wrong]
            trial.look(kind)
            if what == "accept" and not (scene.out / MANIFEST).exists():
                trial.wrong.append(f"{kind}: the manifest is gone")
            if died.hit or trial.wrong:
                break
        story.append(f"{kind} ({died.what}): exit {died.ended.code} after {died.ended.seconds:.2f} s")
        return died.hit

    def finish(self, scene: Scene, job: Job, end: str, trial: Trial, by_snakemake: bool, story: list[str]) -> list[str]:
        """Give the same command again, or another one that finds what the killed one has left; what is wrong then."""
        story.append(f"then {end}")
        if end == ENDS[0]:
            return finish(scene, False, story)
        number = 2 * (end == ENDS[2])
        wanted = self.store.tree(job, number)
        last = replace(scene, job=job.another(number), usual=replace(scene.usual, tree=wanted))
        wrong = finish(last, by_snakemake, story)
        # what was adopted has the identity that the stage would make
        others = [one for key, one in trial.known.items() if key[0] == known_by(wanted)[0]]
        return wrong if wrong and all(differences(tree(scene.out), one) for one in others) else []
