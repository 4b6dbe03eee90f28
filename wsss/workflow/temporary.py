"""Intermediates that have served: artefacts with ``keep: false`` of which all readers are made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.steps import STEPS
from wsss.store.artefact import load
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.staleness import Staleness


def spent(staleness: Staleness) -> Iterator[Path]:
    """Folders of artefacts with ``keep: false`` that are whole, and that nothing which the configuration makes by
    default has still to read. Tables picture them, so they have to be made, too."""
    chain = staleness.chain
    if chain is None:
        return
    given_up = [job for job in chain.wanted() if not kept(chain, job)]
    if not given_up:
        return
    folders = {job: Path(os.path.abspath(chain.folder(job))) for job in chain.wanted()}
    readers: dict[Path, list[Path]] = {}
    for job in chain.wanted():
        for other in staleness.inputs_of(folders[job]).values():
            readers.setdefault(other.folder, []).append(folders[job])
    tables: dict[str, list[Path]] = {}
    for job, folder in folders.items():
        if job.rule in ("summary", "report"):
            tables.setdefault(job.dataset, []).append(folder)
    for job in given_up:
        folder = folders[job]
        state = staleness.state(folder)
        needed = [*readers.get(folder, ()), *tables[job.dataset]]
        if state.made is not None and state.gone is None and all(map(staleness.finished, needed)):
            yield folder


def kept(chain: Chain, job: Job) -> bool:
    """Whether a job's files stay when all that reads them is made."""
    if job.rule not in STEPS:
        return True
    recipe: Any = chain.recipe(job.rule, job.of_recipe[1])
    part = STEPS[job.rule].part
    return bool(getattr(recipe if part is None else getattr(recipe, part), "keep", True))


def delete(folder: Path) -> None:
    """Delete an artefact's files; its manifest stays, and with it what it held."""
    for name in load(folder).manifest["outputs"]:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
