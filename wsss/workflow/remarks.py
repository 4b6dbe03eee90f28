"""What changed since results were made, and is no reason to make them again: files of code, libraries, weights of
hubs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from wsss.provenance.code import changed, short
from wsss.provenance.versions import ROOT
from wsss.store.artefact import Artefact

QUIET = frozenset({"wsss", "python"})
"""Versions that are recorded and not remarked on: the first is told by the files, the second hardly ever matters."""


def remarks(made: Sequence[Artefact], root: Path = ROOT) -> Iterator[str]:
    """Sentences about finished artefacts; ``root``: the checkout whose code is compared."""
    yield from _code(made, root)
    yield from _libraries(made)
    yield from _weights(made)


def _code(made: Sequence[Artefact], root: Path) -> Iterator[str]:
    stages: dict[str, None] = {}
    files: dict[str, None] = {}
    for one in made:
        if other := changed(one.manifest.get("code", {}), root):
            stages[one.stage] = None
            files |= dict.fromkeys(other)
    if stages:
        many = f"{len(stages)} stage{'s' if len(stages) != 1 else ''}"
        again = next(iter(stages))
        yield (
            f"The code of {many} changed since ({short(files)}), but no version: results are kept; "
            f"wsss run --again {again} makes them anew."
        )


def _libraries(made: Sequence[Artefact]) -> Iterator[str]:
    other: dict[str, dict[str, None]] = {}
    for one in made:
        for name, was in one.manifest.get("versions", {}).items():
            if name not in QUIET and was != _installed(name):
                other.setdefault(name, {})[was] = None
    if other:
        told = [f"{name} {', '.join(was)} then, {_installed(name) or 'none'} now" for name, was in other.items()]
        yield f"Libraries changed since: {'; '.join(told)}. Results are kept."


def _weights(made: Sequence[Artefact]) -> Iterator[str]:
    """Weights of the hub that had one name and two contents."""
    found: dict[str, dict[str, str]] = {}
    for one in made:
        weights = one.manifest.get("hub_weights") or {}
        if weights:
            found.setdefault(weights["tag"], {}).setdefault(weights["digest"], one.title)
    for tag, digests in found.items():
        if len(digests) > 1:
            told = ", ".join(f"{digest} ({title})" for digest, title in digests.items())
            yield f"The hub's weights {tag} were not the same for all: {told}."


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
