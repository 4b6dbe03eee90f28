"""Manifests and atomic writes: a folder is an artefact only when its ``manifest.json`` is there, and that is written
last.

The manifest is a function of what the artefact depends on and of what it holds: identity, settings, seed, inputs,
digests of outputs (``wsss.provenance``). When, where, how fast and with which libraries it was made stands in
``run.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.provenance.outputs import MANIFEST, RUN
from wsss.settings.renamed import renewed
from wsss.system.files import read_json, write_json

NAME = MANIFEST
SECOND = ".manifest.json"
"""The manifest's second name: Snakemake deletes the first when a job begins, whatever the job then finds to do."""


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """All that is recorded of an artefact: its manifest, and beside it what is told of the run that made it.

    Raises:
        WsssError: The folder is missing, or holds no manifest and so was never finished.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        state = "was never finished (it has no manifest.json)" if Path(folder).is_dir() else "does not exist"
        raise WsssError(f"{folder}: this artefact {state}; run the stage that makes it first")
    manifest = {**read_json(path), **read_json(path.with_name(RUN))}
    return {**manifest, "settings": renewed(manifest["settings"])} if manifest.get("settings") else manifest


def write_manifest(folder: Path | str, facts: dict[str, Any], run: dict[str, Any] | None = None) -> None:
    """Declare ``folder`` whole: write what is told of the run, and last of all the manifest, first under its second
    name (see ``wsss.store.kept``)."""
    folder = Path(folder)
    if run is not None:
        write_json(folder / RUN, run)
        write_json(folder / SECOND, facts)
    write_json(folder / NAME, facts)
