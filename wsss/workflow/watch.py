"""Tells Snakemake which jobs have to run: those whose artefacts are not what is wanted (``wsss.workflow.staleness``).

Snakemake's own reasons to run a job again (times, params, inputs, code as it remembers them in ``.snakemake``) are
turned off; what it still finds itself is what is missing. So a run folder that was copied, touched, or has lost
``.snakemake`` is judged by its manifests alone, and there are no two truths.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from wsss.provenance.outputs import PARTS
from wsss.runtime.shard import Shard
from wsss.store.kept import AGAIN
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.rerun import jobs_to_rerun
from wsss.workflow.staleness import Staleness
from wsss.workflow.temporary import delete, spent


class Watch:
    """Looks at each job that Snakemake looks at. In the jobs of a cluster and in subprocesses it does nothing: there it
    is decided already what runs.

    Args:
        workflow: Snakemake's workflow.
        root: The checkout.
    """

    def __init__(self, workflow: Any, root: Path) -> None:
        self.workflow, self.root = workflow, root
        self.staleness: Staleness | None = None
        self.ours: set[str] = set()
        self.planned = False
        self.prefix = ""

    def over(self, chain: Chain) -> None:
        """Look at the jobs of a chain. Where the workflow is a module with a ``prefix``, its results lie below
        that."""
        if not self.workflow.is_main_process:
            return
        path_modifier = getattr(self.workflow.modifier, "path_modifier", None)
        self.prefix = getattr(path_modifier, "prefix", None) or ""
        self.chain = Chain(chain.own, chain.study, chain.files, chain.given, self.prefix)
        self.staleness = Staleness(self.chain, self.root)

    def __call__(self, job: Job, shard: Shard | None) -> bool:
        """Make a job run if its artefact is not what is wanted, and those of its inputs of which files are gone.
        Returns whether it may have to run: also where nothing has been made yet."""
        if self.staleness is None:
            return False
        self._begin_plan()
        folder = Path(os.path.abspath(self.chain.folder(job)))
        if self.staleness.must(folder):
            self._force(self.chain.folder(job), "manifest.json")
        elif self.staleness.state(folder).made is not None:
            return False
        if shard is not None:
            receipt = shard.receipt(folder)
            if self._outdated(receipt, folder):
                self._force(self.chain.folder(job), f"parts/{receipt.name}")
            return True
        for other in self.staleness.hollow_inputs(folder):
            self._force(self._named(other), "manifest.json")
        return True

    def runs(self, path: str) -> bool:
        """Whether the job runs that makes a file, a manifest or the receipt of a share."""
        folder = Path(os.path.abspath(f"{self.prefix}{path}")).parent
        return folder.name == PARTS or self._runs(folder)

    def _runs(self, folder: Path) -> bool:
        if self.staleness is None:
            return False
        state = self.staleness.state(folder)
        return state.made is None or state.gone is not None or self.staleness.must(folder)

    def before(self, job: Job, shard: Shard | None) -> list[str]:
        """Manifests of what runs before a job that has to run, and that it does not read itself. Between the two may
        lie artefacts that stay as they are; Snakemake would stop there, and never come to this job."""
        if self.staleness is None or shard is not None:
            return []
        folder = Path(os.path.abspath(self.chain.folder(job)))
        if self.staleness.state(folder).made is not None and not self.staleness.must(folder):
            return []
        direct = {one.folder for one in self.staleness.inputs_of(folder).values()}
        others = [one for one in self.staleness.in_order([folder]) if one != folder and one not in direct]
        paths = [f"{self._named(one)}/manifest.json" for one in others if self._runs(one)]
        return [path.removeprefix(self.prefix) for path in paths]

    def _named(self, folder: Path) -> str:
        """A folder as the rules write it: below ``results``, which may be an absolute path."""
        return self.chain.folder(self.chain.at(folder))

    def _begin_plan(self) -> None:
        """At the first job: turn Snakemake's own reasons off, and see what the user forces (``-R``, ``-f``, ``-F``)."""
        settings = self.workflow.dag_settings
        if self.planned or self.staleness is None:
            return
        self.planned = True
        settings.rerun_triggers = frozenset()
        if Path(self.workflow.main_snakefile).resolve().is_relative_to(self.root):
            # A manifest is written last and judged by what it says, so what Snakemake was killed beside is no reason.
            # As one it would hide everything behind: Snakemake looks no further than a job that it forces.
            self.workflow.dag.ignore_incomplete = True
        named = {os.path.normpath(str(one)) for one in settings.forcerun}
        named |= {os.path.normpath(str(one)) for one in settings.targets} if settings.forcetargets else set()
        if not named and not settings.forceall:
            return
        jobs = {Path(os.path.abspath(self.chain.folder(job))): job for job in self.chain.everything()}
        self.staleness.forced = frozenset(
            folder
            for folder, job in jobs.items()
            if settings.forceall
            or job.rule in named
            or os.path.normpath(f"{self.chain.folder(job)}/manifest.json") in named
        )

    def _force(self, folder: str, file: str) -> None:
        path = os.path.normpath(f"{folder}/{file}")
        self.ours.add(path)
        self.workflow.dag.forcefiles.add(path)

    def _outdated(self, receipt: Path, folder: Path) -> bool:
        """Whether a share is made, but not of the artefact that is to be made."""
        try:
            key = json.loads(receipt.read_text(encoding="utf-8")).get("key")
        except (OSError, ValueError):
            return False
        wanted = self.staleness.state(folder).identity if self.staleness else None
        return key is None or key != wanted

    def begin(self) -> None:
        """When jobs are about to run: what is to be made anew although its identity is the one that is wanted is
        marked, for its stage would do nothing; and it is said what is lost."""
        if self.staleness is None:
            return
        for path in self.ours:
            folder = Path(os.path.abspath(path)).parent
            if path.endswith("manifest.json") and (folder in self.staleness.forced or self._strict(folder)):
                (folder / AGAIN).touch()
        lost = jobs_to_rerun(self.staleness, (Path(one).parent for one in self.ours if one.endswith("manifest.json")))
        if lost.results:
            print(f"{lost}; the old ones are kept (wsss clean)", file=sys.stderr, flush=True)

    def end(self) -> None:
        """When all is made: give up what ``keep: false`` says need not be kept."""
        if self.staleness is None:
            return
        folders = list(spent(Staleness(self.chain, self.root)))
        for folder in folders:
            delete(folder)
        if folders:
            print(f"{len(folders)} intermediate results deleted (keep: false)", file=sys.stderr, flush=True)

    def _strict(self, folder: Path) -> bool:
        """Whether an artefact is made again for its code alone."""
        if self.staleness is None or not self.staleness.strict:
            return False
        state = self.staleness.state(folder)
        return state.made is not None and state.made.identity == state.identity
