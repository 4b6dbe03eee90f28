"""Whether an artefact is stale, and why: what Snakemake would find changed, read from manifests alone.

Compared are the settings, the inputs (which ones, whether they were made again since, whether they are stale
themselves), the hash of the stage's code and the content of the user's own files. What only Snakemake knows (an edited
rule, say) is not seen: ``snakemake -n`` has the last word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from wsss.cli.artefacts import Artefact, load, nice
from wsss.cli.chain import Chain, Job
from wsss.cli.values import counted, differences, literal
from wsss.errors import WsssError
from wsss.identity import code_of, content_of
from wsss.steps import BULK, STEPS

FILES = {
    "index": ("index.csv", "classes.txt", "report.json"),
    "scores": ("scores.json", "scores.csv"),
    "summary": ("summary.md", "summary.csv", "panels"),
    "study": ("ablation.md", "ablation.csv"),
}
"""What lies beside the manifest, for the stages without a recipe; for the others see ``wsss.steps.BULK``."""


class Judge:
    """Says why artefacts are stale.

    Args:
        chain: The configuration to compare with; None: only what the manifests themselves tell is compared.
        root: The checkout whose code is compared; None: code is not compared.
    """

    def __init__(self, chain: Chain | None, root: Path | None) -> None:
        self.chain, self.root = chain, root
        self.known: dict[str, list[str]] = {}
        self.uncertain: set[str] = set()
        """Folders of artefacts whose manifests do not say which code made them."""

    def reasons(self, folder: Path | str) -> list[str]:
        """Why the artefact in a folder has to be made (again); empty: it is up to date."""
        key = os.path.abspath(folder)
        if key not in self.known:
            self.known[key] = []
            self.known[key] = list(self._reasons(Path(key)))
        return self.known[key]

    def job(self, folder: Path) -> Job | None:
        try:
            return self.chain.at(folder) if self.chain else None
        except WsssError:
            return None

    def _reasons(self, folder: Path) -> Iterator[str]:
        try:
            made = load(folder)
        except WsssError as error:
            yield str(error).removeprefix(f"{nice(folder)}: ")
            return
        job = self.job(folder)
        if job is not None and job.rule != made.stage:
            yield f"stage: was {made.stage}, is {job.rule}"
            return
        if job is not None:
            yield from self._settings(made, job)
        yield from self._inputs(made, job)
        yield from self._code(made)
        for name in FILES.get(made.stage) or (BULK.get(STEPS[made.stage].folder, ()) if made.stage in STEPS else ()):
            if not (folder / name).exists():
                yield f"{name} is gone"

    def _settings(self, made: Artefact, job: Job) -> Iterator[str]:
        settings = self.chain.settings(job)
        if settings is None:
            return
        was, now = (counted(job.rule, one) for one in (made.settings, settings.model_dump(mode="json")))
        for key, a, b in differences(was, now):
            yield f"{key}: was {literal(a)}, is {literal(b)}"
        content = content_of(settings, int(job.seed or 0))
        if "code" in made.manifest and made.manifest.get("content") != content:  # older manifests have neither
            yield "files of yours that the settings name: their content changed"

    def _inputs(self, made: Artefact, job: Job | None) -> Iterator[str]:
        had = {name: (folder, name) for name, folder in made.inputs.items()}
        wanted = self.chain.inputs(job) if job is not None else {name: str(f) for name, (f, _) in had.items()}
        if made.stage in ("summary", "study"):  # the order of scores is nothing to them
            had = {nice(folder) if "." in name else name: (folder, name) for folder, name in had.values()}
            wanted = {nice(folder) if "." in name else name: folder for name, folder in wanted.items()}
        for name, folder in wanted.items():
            if name not in had:
                yield f"input {name}: " + (nice(folder) if nice(folder) != name else "") + " was not read then"
            elif os.path.abspath(folder) != str(had[name][0]):
                yield f"input {name}: was {nice(had[name][0])}, is {nice(folder)}"
            elif self.reasons(folder):
                yield f"input {name}: " + (f"{nice(folder)} " if nice(folder) != name else "") + "is stale itself"
            elif not made.unchanged(had[name][1]):
                yield f"input {name}: made again since"
        for name in had:
            if name not in wanted:
                yield f"input {name}: no longer read"

    def _code(self, made: Artefact) -> Iterator[str]:
        was = made.manifest.get("code")
        if self.root is None or was is None:
            self.uncertain.add(str(made.folder))
            return
        try:
            now = code_of(made.stage, SimpleNamespace(**made.settings), self.root)
        except AttributeError:
            now = None
        if now != was:
            yield f"code: was {was}, is {now or 'gone'}"
