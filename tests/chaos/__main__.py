"""``python -m tests.chaos --kills N --seed S``: kill stages N times, each time let them end, and compare."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.deaths import KINDS, Died, Scene, Usual, mark_durable, unmount
from tests.chaos.house import ROOT, Job, bring_in, check_complete, jobs
from tests.chaos.judge import MANIFEST, after_death, differences, tree
from tests.chaos.nursery import Nursery
from tests.chaos.points import address_space, note, read_notes

AGAIN = 75
ATTEMPTS = 4
"""A stage that asks for another try gets so many."""
TRIES = 6
"""A stage that ended before it was struck is struck anew, so often."""
MOST_IN_A_ROW = 3
ORPHANS = 20.0
"""Seconds that loader processes may outlive a stage that was killed: they look every five whether it is there."""


class Chaos:
    """A house, its undisturbed run, and what was found wrong.

    Args:
        folder: Where all of it lies.
        seed: Of every choice.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        self.house, self.kept, self.scratch = folder / "house", folder / "kept", folder / "scratch"
        for made in (self.house, self.scratch):
            made.mkdir(parents=True)
        self.root = folder / "checkout"  # a copy, so that edits during a long run disturb nothing
        for part in ("stages", "wsss"):
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.nursery = Nursery(self.root, self.house, self.scratch)
        self.nursery.load()
        self.chain, self.usual = jobs(), {}
        check_complete(self.chain)
        self.kills = self.wrong = 0

    # --- the undisturbed run --------------------------------------------------------------------------------------

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
            known = {
                key: max(n[key] for n in read_notes(scene.notes) if key in n) for key in ("points", "base", "peak")
            }
            moments = max((n["worker_points"] for n in read_notes(scene.notes) if "worker_points" in n), default=0)
            size = sum(path.stat().st_size for path in scene.out.rglob("*") if path.is_file())
            memory = known["peak"] - known["base"]
            self.usual[job.name] = Usual(tree(scene.out), known["points"], moments, ended.seconds, size, memory)
            shutil.copytree(scene.out, self.kept / job.out)
            print(f"{job.name}: {ended.seconds:.2f} s, {known['points']} moments, {moments} of workers", flush=True)

    def scene(self, job: Job, rng: random.Random, usual: Usual) -> Scene:
        notes = self.scratch / "notes"
        notes.unlink(missing_ok=True)
        return Scene(self.nursery, job, usual, rng, notes)

    # --- episodes -------------------------------------------------------------------------------------------------

    def episode(self, number: int, most: int) -> None:
        """Kill one stage up to ``most`` times in a row, let it end, and judge."""
        job = self.chain[number % len(self.chain)]
        rng = random.Random(f"{self.seed} {number}")
        usual = self.usual[job.name]
        scene = self.scene(job, rng, usual)
        names = list(KINDS)
        kind = names[(number + number // len(self.chain)) % len(names)]
        self.clear(scene.out)
        before = rng.random() < 0.3 and kind != "disk full"
        if before:
            shutil.copytree(self.kept / job.out, scene.out)
            mark_durable(scene)
        story, wrong, kills = ["over a finished artefact" if before else "from nothing"], [], 0
        try:
            for _ in range(min(most, rng.choice((1, 1, 1, 2, MOST_IN_A_ROW)))):
                died = self.strike(scene, kind)
                kills += died.hit
                story.append(f"{kind} ({died.what}): exit {died.ended.code} after {died.ended.seconds:.2f} s")
                wrong += [f"{kind}: {line}\n{died.ended.said.strip()[-1500:]}" for line in died.wrong]
                wrong += [f"{kind}: {line}" for line in after_death(scene.out, usual.tree)]
                if wrong:
                    break
                kind = rng.choice([name for name in names if name != "disk full"])
            wrong += self.finish(scene, rng, story)
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
            self.declared(scene)
        return died

    def finish(self, scene: Scene, rng: random.Random, story: list[str]) -> list[str]:
        """Give the same command until it ends, as a person or as Snakemake would; what is wrong then."""
        by_snakemake = rng.random() < 0.5
        for attempt in range(1, ATTEMPTS + 1):  # noqa: B007
            if by_snakemake:
                self.declared(scene)
            ended = self.nursery.run(scene.job, scene.prepare())
            if ended.code != AGAIN:
                break
        story.append(f"then {'Snakemake' if by_snakemake else 'the command'} ended with {ended.code} (try {attempt})")
        if ended.code != 0:
            return [f"the same command ends with {ended.code}:\n{ended.said.strip()[-1500:]}"]
        return differences(tree(scene.out), scene.usual.tree)

    @staticmethod
    def declared(scene: Scene) -> None:
        """Remove what the rule declares, as Snakemake does before it runs a job."""
        for name in (MANIFEST, *scene.job.outputs):
            path = scene.out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    @staticmethod
    def clear(folder: Path) -> None:
        unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def orphans(self) -> None:
        """Every process of every stage must end by itself."""
        until = time.monotonic() + ORPHANS
        while (left := self.nursery.alive()) and time.monotonic() < until:
            time.sleep(0.2)
        if left:
            self.wrong += 1
            print(f"     WRONG processes are left over: {left}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how many stages are killed (default 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of every choice (default 0)")
    parser.add_argument("--only", type=int, metavar="EPISODE", help="just this one: the number in brackets of a line")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave all (default: a temporary folder)")
    args = parser.parse_args(argv)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="wsss-chaos-"))
    chaos = Chaos(folder.resolve(), args.seed)
    try:
        chaos.undisturbed()
        number = 0 if args.only is None else args.only
        while chaos.kills < args.kills:
            chaos.episode(number, args.kills - chaos.kills)
            number += 1
            if args.only is not None:
                break
        chaos.orphans()
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{chaos.kills} kills, {chaos.wrong} wrong")
    return int(chaos.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
