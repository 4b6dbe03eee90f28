"""Finished runs without running anything: for each job of a configuration what its stage would leave."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.workflow.fake_checkout import write
from wsss.provenance import outputs
from wsss.store.manifest import write_manifest
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.staleness import Staleness

ROOT = Path(__file__).resolve().parents[2]
RAN = {"device": "A GPU", "threads": 2, "wall_seconds": 100.0, "peak_memory_mib": 2048}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def finish(folder: Path, config: str = "config.yaml", targets: Iterable[str] = ("all",), root: Path = ROOT) -> None:
    """Make everything that a configuration in a working folder wants."""
    with inside(folder):
        chain = Chain.read([config])
        staleness = Staleness(chain, root)
        for target in targets:
            for job in chain.wanted(target):
                artefact(staleness, job)


def artefact(staleness: Staleness, job: Job, noted: dict[str, Any] | None = None, **ran: Any) -> Path:
    """Make what one job would; its inputs are there. ``noted`` is added to its manifest, ``ran`` to its run."""
    chain = staleness.chain
    assert chain is not None
    folder = Path(os.path.abspath(chain.folder(job)))
    staleness.forget(folder)
    state = staleness.state(folder)
    assert state.identity is not None, folder
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, job.rule, state.identity)
    settings, shards = chain.settings(job), chain.shards(job)
    digests = {name: outputs.digest(folder / name) for name in outputs.outputs_of(job.rule, folder)}
    inputs = {
        name: {"path": os.path.relpath(one.folder, folder), "identity": one.identity, "content": one.content}
        for name, one in staleness.inputs_of(folder).items()
    }
    manifest = {
        **state.about,
        "identity": state.identity,
        "settings": None if settings is None else settings.model_dump(mode="json", exclude={"shards", "keep"}),
        "inputs": inputs,
        **(noted or {}),
        "outputs": digests,
        "content": outputs.content(digests),
    }
    run = {**RAN, "made": "2026-01-01T00:00:00+0000", **({"shards": shards} if shards > 1 else {}), **ran}
    write_manifest(folder, manifest, run)
    staleness.forget(folder)
    return folder
