"""Which artefacts are stale, and why: what Snakemake would find changed, read from manifests alone.

Compared are the settings, the inputs (which ones, whether they were made again since, whether they are to be made again
themselves), the hash of the stage's code and the content of the user's own files. As for Snakemake, an artefact that is
gone is made again only if it is wanted itself or something needs it that has to run. What only Snakemake knows (an
edited rule, say) is not seen: ``snakemake -n`` has the last word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

from wsss.cli.artefacts import Artefact, load, nice
from wsss.cli.chain import Chain, Job
from wsss.cli.values import counted, differences, literal
from wsss.errors import WsssError
from wsss.identity import code_of, content_of
from wsss.steps import BULK, STEPS

FILES: dict[str, tuple[str, ...]] = {"index": ("index.csv",), "summary": ("summary.md",), "report": ("../report.html",)}
"""What has to lie beside the manifest, for the stages without a recipe; for the others see ``wsss.steps.BULK``."""


AGAIN = "is to be made again"
"""Ends the reasons that are inherited from an input."""


class Judge:
    """Says why artefacts are stale.

    Args:
        chain: The configuration to compare with; None: only what the manifests themselves tell is compared.
        root: The checkout whose code is compared; None: code is not compared.

    Attributes:
        uncertain: Folders of artefacts whose manifests do not say which code made them.
    """

    def __init__(self, chain: Chain | None, root: Path | None) -> None:
        self.chain, self.root = chain, root
        self.uncertain: set[Path] = set()

    def stale(self, wanted: Iterable[Path | str]) -> dict[Path, list[str]]:
        """What has to be made (again) so that some artefacts are there and up to date: folder (absolute) to the
        reasons; empty where nothing has."""
        asked = [Path(os.path.abspath(folder)) for folder in wanted]
        inputs = self._closure(asked)
        gone = {folder: why for folder in inputs if (why := self._gone(folder)) is not None}
        found = {folder: [gone[folder]] for folder in asked if folder in gone}
        for folder in inputs:
            if folder not in gone and (reasons := list(self._changed(load(folder)))):
                found[folder] = reasons
        changing = True
        while changing:
            changing = False
            for folder, given in inputs.items():  # each after those it needs
                for name, other in given.items():
                    why = f"input {name}: {nice(other)} {AGAIN}"
                    if other in found and why not in found.get(folder, ()):
                        found.setdefault(folder, []).append(why)
                        changing = True
                if folder in found:
                    needed = {other: [gone[other]] for other in given.values() if other in gone and other not in found}
                    found |= needed
                    changing |= bool(needed)
        return found

    def job(self, folder: Path) -> Job | None:
        """What the configuration makes there; None where it makes nothing."""
        try:
            return self.chain.at(folder) if self.chain else None
        except WsssError:
            return None

    def _closure(self, wanted: list[Path]) -> dict[Path, dict[str, Path]]:
        """The inputs of artefacts and of all they rest on, as the configuration has them (as the manifests tell, where
        it has nothing), each after those it needs."""
        found: dict[Path, dict[str, Path]] = {}

        def add(folder: Path) -> None:
            if folder not in found:
                given = self._inputs_of(folder)
                for other in given.values():
                    add(other)
                found[folder] = given

        for folder in wanted:
            add(folder)
        return found

    def _inputs_of(self, folder: Path) -> dict[str, Path]:
        if self.chain is not None and (job := self.job(folder)) is not None:
            given = {name: Path(os.path.abspath(one)) for name, one in self.chain.inputs(job).items()}
            return _named(job.rule, given)
        try:
            made = load(folder)
        except WsssError:
            return {}
        return _named(made.stage, made.inputs)

    @staticmethod
    def _gone(folder: Path) -> str | None:
        """Why an artefact is not whole; None if it is."""
        try:
            stage = load(folder).stage
        except WsssError as error:
            return str(error).removeprefix(f"{nice(folder)}: ")
        files = FILES.get(stage) or (BULK.get(STEPS[stage].folder, ()) if stage in STEPS else ())
        return next((f"{name} is gone" for name in files if not (folder / name).exists()), None)

    def _changed(self, made: Artefact) -> Iterator[str]:
        """What an artefact's own manifest shows."""
        job = self.job(made.folder)
        if job is not None and job.rule != made.stage:
            yield f"stage: was {made.stage}, is {job.rule}"
            return
        if job is not None:
            yield from self._settings(made, job)
        had, wanted = _named(made.stage, made.inputs), self._inputs_of(made.folder)
        recorded = dict(zip(had, made.inputs, strict=True))
        for name, folder in wanted.items():
            if name not in had:
                yield f"input {name}: {nice(folder)} was not read then"
            elif folder != had[name]:
                yield f"input {name}: was {nice(had[name])}, is {nice(folder)}"
            elif not made.unchanged(recorded[name]) and self._gone(folder) is None:
                yield f"input {name}: {nice(folder)} was made again since"
        yield from (f"input {name}: no longer read" for name in had if name not in wanted)
        yield from self._code(made)

    def _settings(self, made: Artefact, job: Job) -> Iterator[str]:
        settings = None if self.chain is None else self.chain.settings(job)
        if settings is None:
            return
        was, now = (counted(job.rule, one) for one in (made.settings, settings.model_dump(mode="json")))
        for key, a, b in differences(was, now):
            yield f"{key}: was {literal(a)}, is {literal(b)}"
        content = content_of(settings, int(job.seed or 0))
        if "code" in made.manifest and made.manifest.get("content") != content:  # older manifests have neither
            yield "files of yours that the settings name: their content changed"

    def _code(self, made: Artefact) -> Iterator[str]:
        was = made.manifest.get("code")
        if self.root is None or was is None:
            self.uncertain.add(made.folder)
            return
        try:
            now = code_of(made.stage, SimpleNamespace(**made.settings), self.root)
        except AttributeError:
            now = None
        if now != was:
            yield f"code: was {was}, is {now or 'gone'}"


def _named(stage: str, inputs: dict[str, Path]) -> dict[str, Path]:
    """Inputs under names by which they can be compared. To tables the order of their scores is nothing, so a score is
    called by its folder there (``scores s0/cams/p-noc``), not by its place in the list."""
    if stage == "explanations":
        return {f"explanations {f.parents[1].name}/{f.name}" if "." in name else name: f for name, f in inputs.items()}
    if stage not in ("summary", "report", "study"):
        return inputs
    return {
        f"scores {folder.parents[2].name}/{folder.parent.name}/{folder.name}" if "." in name else name: folder
        for name, folder in inputs.items()
    }
