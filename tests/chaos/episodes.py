"""Episodes: a stage is killed a few times in a row, then the same command is given until it ends, then it is judged."""

from __future__ import annotations

import math
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.deaths import KINDS, Died, Scene, Usual, mark_durable, unmount
from tests.chaos.house import ROOT, SHARES, SHORT, Job, bring_in, check_complete, jobs
from tests.chaos.judge import after_death, differences, tree
from tests.chaos.nursery import Ended, Nursery
from tests.chaos.points import address_space, note, read_notes

AGAIN = 75
ATTEMPTS = 4
"""A stage that asks for another try gets so many."""
TRIES = 6
"""A stage that ended before it was struck is struck anew, so often."""
IN_A_ROW = (1, 1, 1, 2, 3)
FINISHED = 0.3
"""Share of the episodes that begin beside a finished artefact."""
SHARED = 0.5
"""Share of the episodes, of stages whose images jobs may share, that kill one of several jobs."""
ORPHANS = 20.0
"""Seconds that loader processes may outlive a stage that was killed: they look every five whether it is there."""


class Chaos:
    """A house, its undisturbed run, and what was found wrong.

    Args:
        folder: Where all of it lies.
        seed: Of every choice.
        short: Only a few quick stages, and one death an episode.
    """

    def __init__(self, folder: Path, seed: int, short: bool = False) -> None:
        self.seed, self.short = seed, short
        self.house, self.kept, self.scratch = folder / "house", folder / "kept", folder / "scratch"
        for made in (self.house, self.scratch):
            made.mkdir(parents=True)
        root = folder / "checkout"  # a copy, so that edits during a long run disturb nothing
        for part in ("stages", "wsss"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.nursery = Nursery(root, self.house, self.scratch)
        self.nursery.load()
        self.chain = jobs()
        check_complete(self.chain)
        self.chain = [job for job in self.chain if not short or job.out in SHORT]
        self.usual: dict[str, Usual] = {}
        self.kills = self.wrong = 0

    def undisturbed(self) -> None:
        """Run the chain once and keep what it made."""
        for job in self.chain:
            bring_in(self.house, job)
            scene = self.scene(job, random.Random(0), Usual({}))

            def prepare(scene: Scene = scene) -> None:
                scene.points(recording=True).install()
                note(scene.notes, base=address_space())

            ended = self.nursery.run(job, prepare)
            if ended.code != 0:
                raise SystemExit(f"{job.name} fails undisturbed:\n{ended.said}")
            found = read_notes(scene.notes)
            most = {key: max(line[key] for line in found if key in line) for key in ("points", "base", "peak")}
            moments = max((line["worker_points"] for line in found if "worker_points" in line), default=0)
            size = sum(path.stat().st_size for path in scene.out.rglob("*") if path.is_file())
            memory = most["peak"] - most["base"]
            self.usual[job.name] = Usual(tree(scene.out), most["points"], moments, ended.seconds, size, memory)
            shutil.copytree(scene.out, self.kept / job.out)
            print(f"{job.name}: {ended.seconds:.2f} s, {most['points']} moments, {moments} of workers", flush=True)

    def scene(self, job: Job, rng: random.Random, usual: Usual) -> Scene:
        notes = self.scratch / "notes"
        notes.unlink(missing_ok=True)
        return Scene(self.nursery, job, usual, rng, notes)

    def episode(self, number: int, most: int) -> None:
        """Kill one stage up to ``most`` times, let it end, and judge."""
        job = self.chain[number % len(self.chain)]
        rng = random.Random(f"{self.seed} {number}")
        names = list(KINDS)
        kind = names[(number + number // math.lcm(len(self.chain), len(names))) % len(names)]
        shared = job.scattered and rng.random() < SHARED
        usual = self.usual[job.name]
        victim = job.share(rng.randrange(SHARES)) if shared else job
        if shared:
            usual = replace(usual, points=usual.points // 2, seconds=usual.seconds / 2)
        scene = self.scene(victim, rng, usual)
        self.clear(scene.out)
        before = kind != "disk full" and rng.random() < FINISHED
        if before:
            shutil.copytree(self.kept / job.out, scene.out)
            mark_durable(scene)
        story = ["over a finished artefact" if before else "from nothing"] + ["one of several jobs"] * shared
        wrong: list[str] = []
        kills = 0
        try:
            for _ in range(min(most, 1 if self.short else rng.choice(IN_A_ROW))):
                died = self.strike(scene, kind)
                kills += died.hit
                story.append(f"{kind} ({died.what}): exit {died.ended.code} after {died.ended.seconds:.2f} s")
                wrong += [f"{kind}: {line}\n{died.ended.said.strip()[-6000:]}" for line in died.wrong]
                wrong += [f"{kind}: {line}" for line in after_death(scene.out, usual.tree)]
                if wrong:
                    break
                kind = rng.choice([name for name in names if name != "disk full"])
            by_snakemake = rng.random() < 0.5
            if shared:
                wrong += self.finish_shares(scene, job, by_snakemake, story)
            wrong += self.finish(replace(scene, job=job.gathering() if shared else job), by_snakemake, story)
        finally:
            self.clear(scene.out)
            shutil.copytree(self.kept / job.out, scene.out)
        self.kills += kills
        self.wrong += bool(wrong)
        print(f"{self.kills:4} [{number}] {job.name}: {'; '.join(story)}", flush=True)
        for line in wrong:
            print("     WRONG " + line.replace("\n", "\n       "), flush=True)

    def strike(self, scene: Scene, kind: str) -> Died:
        """Let a stage die; where it ended first, again, at another moment."""
        for _ in range(TRIES):
            died = KINDS[kind](scene)
            if died.hit or died.wrong:
                break
            declared(scene)
        return died

    def finish_shares(self, scene: Scene, job: Job, by_snakemake: bool, story: list[str]) -> list[str]:
        """Give the commands of all shares, the killed one too, at the same time."""
        begun, started = time.monotonic(), []
        for number in range(SHARES):
            one = replace(scene, job=job.share(number))
            if by_snakemake:
                declared(one)
            started.append(self.nursery.start(one.job, one.prepare()))
        ended = [self.nursery.wait(pid, begun) for pid in started]
        story.append(f"then its jobs ended with {', '.join(str(one.code) for one in ended)}")
        return [failed(one) for one in ended if one.code != 0]

    def finish(self, scene: Scene, by_snakemake: bool, story: list[str]) -> list[str]:
        """Give the same command until it ends, as a person or as Snakemake would; what is wrong then."""
        ended, attempt = None, 0
        while ended is None or (ended.code == AGAIN and attempt < ATTEMPTS):
            if by_snakemake:
                declared(scene)
            ended, attempt = self.nursery.run(scene.job, scene.prepare()), attempt + 1
        story.append(f"then {'Snakemake' if by_snakemake else 'the command'} ended with {ended.code} (try {attempt})")
        return [failed(ended)] if ended.code != 0 else differences(tree(scene.out), scene.usual.tree)

    @staticmethod
    def clear(folder: Path) -> None:
        unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def orphans(self) -> None:
        """Every process of every stage must end by itself."""
        until = time.monotonic() + ORPHANS
        while (left := list(self.nursery.processes())) and time.monotonic() < until:
            time.sleep(0.2)
        if left:
            self.wrong += 1
            print(f"     WRONG processes are left over: {left}")


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
