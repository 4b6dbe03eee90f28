"""The commands that make an artefact again: the stage's own, and Snakemake's."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from wsss.errors import WsssError
from wsss.steps import TABLES
from wsss.store.artefact import Artefact
from wsss.store.manifest import NAME
from wsss.text import nice
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.values import counted, shortest

LINE = 110


def stage_command(made: Artefact) -> str | None:
    """The stage program with the flags that the manifest tells: the same settings, seed and inputs as then. None for
    what puts all together (``TABLES``), whose layout the workflow alone knows."""
    root = checkout()
    if root is None or made.stage in TABLES or not (root / "stages" / f"{made.stage}.py").is_file():
        return None
    parts = [f"python {shlex.quote(nice(root / 'stages' / f'{made.stage}.py'))}"]
    if made.stage == "index":
        parts.append(f"--dataset {shlex.quote(str(made.manifest.get('dataset', made.folder.parent.name)))}")
    grouped: dict[str, list[str]] = {}
    for name, folder in made.inputs.items():
        grouped.setdefault(name.partition(".")[0].replace("_", "-"), []).append(nice(folder))
    parts += [f"--{flag} {shlex.join(folders)}" for flag, folders in grouped.items()]
    if made.stage == "scores":
        parts.append(f"--kind {shlex.quote(made.folder.parent.name)}")
    few = counted(made.stage, shortest(made.stage, made.settings))
    if few:
        parts.append(f"--settings {shlex.quote(json.dumps(few, ensure_ascii=False))}")
    parts.append(f"--seed {made.manifest.get('seed', 0)}")
    parts.append(f"--out {shlex.quote(nice(made.folder))}")
    return broken(parts)


def snakemake_command(chain: Chain, folder: Path) -> str:
    """What makes the artefact again through the workflow, even if nothing changed, and before it all that is stale.

    Raises ``WsssError`` where the configuration does not make this folder."""
    target = f"{chain.folder(chain.at(folder))}/{NAME}"
    parts = ["snakemake --cores all --force", shlex.quote(target)]
    root = checkout()
    if root is not None and not os.path.samefile(root, "."):
        parts.append(f"--snakefile {shlex.quote(nice(root / 'Snakefile'))}")
    if chain.given:
        parts.append(f"--configfile {shlex.join(chain.files)}")
    return broken(parts)


def broken(parts: list[str]) -> str:
    """Parts of a command on as few lines as they need, to be pasted into a shell."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) > LINE:
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}"
    return " \\\n".join(lines)


def why_not(error: WsssError) -> str:
    """Said in place of a command."""
    return f"(Snakemake: {str(error).splitlines()[0]})"
