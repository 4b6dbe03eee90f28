"""What the chain has made undisturbed, put by: to lay it out again, and to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.chaos.checkout import Job
from tests.chaos.judge import KEPT, STATE, Known, Tree, known_by, outputs_of, tree
from tests.chaos.kills import unmount

AGAIN = ".again"


class Store:
    """Artefacts of each folder: number 0 is that of the chain, 1 and 2 are others (``Job.another``).

    Args:
        checkout: Where they are made.
        folder: Where they are put by.
        make: Runs a command undisturbed.
    """

    def __init__(self, checkout: Path, folder: Path, make: Callable[[Job], None]) -> None:
        self.checkout, self.folder, self.make = checkout, folder, make
        self.trees: dict[tuple[str, int], Tree] = {}

    def place(self, job: Job, number: int) -> Path:
        return self.folder / str(number) / job.out

    def take(self, job: Job, number: int) -> None:
        """Put by what lies in the folder now."""
        copy(self.checkout / job.out, self.place(job, number))
        self.trees[job.out, number] = tree(self.place(job, number))

    def ready(self, job: Job, number: int) -> Job:
        """The command of another artefact for a job's folder; it is made before, if it was not yet."""
        another = job.another(number)
        if (job.out, number) not in self.trees:
            clear(self.checkout / job.out)
            self.make(another)
            self.take(job, number)
            self.restore(job)
        return another

    def tree(self, job: Job, number: int) -> Tree:
        return self.trees[job.out, number]

    def known(self, job: Job) -> Known:
        """All artefacts of a folder that are put by."""
        return {known_by(one): one for (out, _), one in self.trees.items() if out == job.out}

    def lay(self, job: Job, number: int) -> None:
        """Put an artefact into its folder."""
        copy(self.place(job, number), self.checkout / job.out)

    def keep(self, job: Job, number: int) -> None:
        """Put an artefact where it is kept."""
        source = self.place(job, number)
        target = (self.checkout / job.out).parent / KEPT / known_by(self.tree(job, number))[0]
        target.mkdir(parents=True)
        for path in source.iterdir():
            if path.name != STATE and not path.name.startswith("."):
                shutil.copytree(path, target / path.name) if path.is_dir() else shutil.copy2(path, target)

    def force(self, job: Job) -> None:
        """Leave the mark that the workflow leaves where a person wants an artefact made anew."""
        (self.checkout / job.out / AGAIN).touch()

    def restore(self, job: Job) -> None:
        """What the chain has made, and nothing else."""
        clear(self.checkout / job.out)
        if (job.out, 0) in self.trees:
            self.lay(job, 0)


def copy(source: Path, target: Path) -> None:
    """Copy an artefact folder, and what of the artefact lies beside it."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".lock"))
    for name in outputs_of(source):
        if name.startswith(".."):
            shutil.copy2(source / name, target / name)


def clear(folder: Path) -> None:
    """Take away an artefact folder, and all that is kept beside it."""
    unmount(folder)
    for one in (folder, folder.parent / KEPT):
        shutil.rmtree(one, ignore_errors=True)
