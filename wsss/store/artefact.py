"""Find artefacts and read what their manifests say."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.provenance.outputs import PARTS
from wsss.steps import COMPARED
from wsss.store.manifest import NAME, read_manifest
from wsss.text import nice

OF_SUMMARY = ("summary.md", "summary.csv", "panels", NAME)
"""What belongs to the summary of a dataset, whose folder holds all other artefacts too."""
_INSIDE = re.compile(rf"index|report|ablation|{'|'.join(COMPARED)}|s\d+")


@dataclass(frozen=True)
class Artefact:
    """A finished artefact: its folder (absolute) and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def stage(self) -> str:
        """Name of the program that made it; empty where the manifest does not say."""
        return str(self.manifest.get("stage", ""))

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings as plain values; empty for a stage without any."""
        return self.manifest.get("settings") or {}

    @property
    def inputs(self) -> dict[str, Path]:
        """Name to folder (absolute) of what it was made from; those of a list are ``members.0``, ``members.1``, ..."""
        recorded = self.manifest.get("inputs") or {}
        return {name: Path(os.path.normpath(self.folder / one["path"])) for name, one in recorded.items()}

    @property
    def identity(self) -> str | None:
        """What it was made from and with, in sixteen hex digits; None for one from before there were identities."""
        return self.manifest.get("identity")

    @property
    def content(self) -> str | None:
        """What it holds, in sixteen hex digits; None likewise."""
        return self.manifest.get("content")

    def unchanged(self, name: str) -> bool:
        """Whether the input that lies there now has the content that this was made from."""
        try:
            return bool(load(self.inputs[name]).content == self.manifest["inputs"][name].get("content"))
        except WsssError:
            return False

    @property
    def title(self) -> str:
        """Its folder, as one would type it here."""
        return nice(self.folder)


def load(folder: Path | str) -> Artefact:
    """The artefact in a folder. Raises ``WsssError`` where there is none, or its manifest cannot be read."""
    folder = Path(os.path.abspath(folder))
    if not (folder / NAME).is_file():
        raise WsssError(f"{nice(folder)}: {'never finished' if folder.is_dir() else 'not made yet'} (no {NAME})")
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError) as error:
        raise WsssError(f"{nice(folder / NAME)}: cannot be read ({error}); make the artefact again") from None
    if "stage" not in manifest:
        raise WsssError(f"{nice(folder / NAME)}: not the manifest of a stage; make the artefact again")
    return Artefact(folder, manifest)


def find(path: Path) -> Artefact:
    """The artefact that a path is, or lies in.

    Raises ``WsssError`` where it is none: the message says why, and names the nearest artefact."""
    below = Path(os.path.abspath(path))
    if not below.exists():
        raise WsssError(f"{path}: does not exist{_nearest(below)}")
    if below.suffix == ".html" and (below.with_suffix("") / NAME).is_file():  # the report lies beside its folder
        return load(below.with_suffix(""))
    for folder in (below, *below.parents):
        if (folder / NAME).is_file():
            found = load(folder)
            inside = below.relative_to(folder).parts
            if found.stage != "summary" or not inside or inside[0] in OF_SUMMARY:
                return found
        elif (folder / ".lock").is_file() and next(below_folder(folder), None) is None:
            what = "is part of" if folder != below else "is"
            raise WsssError(f"{path}: {what} an artefact that was never finished (no {NAME}){_nearest(below)}")
    if below.is_dir() and (several := [nice(one) for one in below_folder(below)]):
        more = f"\n  ... and {len(several) - 12} more" if len(several) > 12 else ""
        listed = "".join(f"\n  {one}" for one in several[:12])
        raise WsssError(f"{path}: is no artefact itself but holds some; name one of them:{listed}{more}")
    raise WsssError(f"{path}: is no artefact and lies in none{_nearest(below)}")


DEPTH = 5
"""Levels from an artefact up to the folder above the results: name, kind, seed, dataset, results."""


def below_folder(folder: Path) -> Iterator[Path]:
    """Folders of all finished artefacts at or below a folder, in order of their names."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in ("state", PARTS))
        if NAME in files:
            yield Path(here)
            folders[:] = [one for one in folders if _INSIDE.fullmatch(one)]


def _nearest(path: Path) -> str:
    """``; the nearest artefact is ...``, looked for in the folder of results around the path, else in ``results``.

    Folders above the working directory are not looked through: what lies there is somebody else's."""
    here = Path.cwd()
    around = [one for one in path.parents if one == here or here in one.parents] or path.parents[:DEPTH]
    for root in (*around, here / "results"):
        if root.is_dir() and any(any(root.glob(one)) for one in (f"*/index/{NAME}", f"index/{NAME}", f"*/{NAME}")):
            known = {os.path.relpath(one, root): one for one in below_folder(root)}
            close = difflib.get_close_matches(os.path.relpath(path, root), known, n=1, cutoff=0)
            return f"; the nearest artefact is {nice(known[close[0]])}" if close else ""
    return "; artefacts lie at results/DATASET/sSEED/KIND/NAME"
