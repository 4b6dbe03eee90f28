"""Links from a page to the files of the run beside which it lies. They are followed, never loaded: the page is whole
without them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from wsss.report.provenance import Scored

Link = tuple[str, str]
"""How a file is called, and its address from the page."""
TOLD = ("manifest.json", "run.json", "metrics.jsonl", "model.safetensors", "scores.json", "predictions.csv")
"""Files of an artefact that are worth a look, in the order in which they are named."""
NAME = "images.html"
"""The page of all images."""
LOGS = "logs"
"""Beside the folder of all results: what each job said, as the workflow's rules have it."""


def address(path: Path, folder: Path) -> str:
    """A file as a link from a page in ``folder``: the shorter way of the one by the names as they are given, and the
    one by the folders that symbolic links stand for."""
    given = Path(os.path.relpath(path, folder))
    real = Path(os.path.relpath(Path(_real(path.parent), path.name), _real(folder)))
    return quote(min(given, real, key=lambda way: len(way.parts)).as_posix())


@cache
def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def existing(named: Iterable[tuple[str, Path]], folder: Path) -> list[Link]:
    """Links from a page in ``folder`` to those files and folders that are there."""
    return [(name, address(path, folder)) for name, path in named if path.exists()]


def files_of(artefact: Path, base: Path, folder: Path) -> list[Link]:
    """Links to an artefact's folder, to its files that are worth a look, and to the log of the job that made it.

    Args:
        artefact: Its folder.
        base: The results of the dataset, in which it lies.
        folder: That of the page.
    """
    log = base.parent.parent / LOGS / base.name / f"{os.path.relpath(artefact, base)}.log"
    named = [(name, artefact / name) for name in TOLD]
    return existing([("folder", artefact), *named, ("log", log)], folder)


def result_files(leading: Sequence[Scored], folder: Path) -> list[Link]:
    """Links from the page beside ``folder`` to the masks of the leading result, to the network that made them, and to
    the page of all images in ``folder``."""
    if not leading:
        return []
    first = leading[0]
    network = first.artefact.parent.parent / "segmenters" / first.recipe / "model.safetensors"
    named = [(f"masks of {first.recipe}", first.artefact / "masks")]
    named += [(f"network {first.recipe}", network)] if first.kind == "segmenters" else []
    return [*existing(named, folder.parent), ("every image under its mask", f"{quote(folder.name)}/{NAME}")]
