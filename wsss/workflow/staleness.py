"""Which artefacts are not what the configuration wants, and why: the one truth of the workflow and of ``wsss``.

An artefact is what is wanted if its manifest holds the identity that is wanted (``wsss.provenance.identity``). Times,
and what Snakemake remembers in ``.snakemake``, do not count. An input that is to be made again has a content that
nobody knows yet, so what rests on it counts as stale too; if it turns out the same, its stage sees that and does
nothing. One that is gone, or that is kept from before (``wsss.store.kept``), has the content that is recorded.

An artefact that is gone is made again only if it is wanted itself or something needs it that has to run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.provenance.code import changed, short
from wsss.provenance.identity import facts, identity, named_inputs, token
from wsss.provenance.outputs import missing
from wsss.provenance.versions import ROOT
from wsss.settings import Settings
from wsss.store.artefact import Artefact, load
from wsss.store.kept import kept
from wsss.store.manifest import NAME
from wsss.text import nice
from wsss.workflow.chain import Chain
from wsss.workflow.jobs import Job
from wsss.workflow.values import ABSENT, counted, differences, literal

AGAIN = "is to be made again"
"""Ends the reasons that are inherited from an input."""
ASKED = "asked for (--again, -R, -f or -F)"
"""The reason where nothing that counts has changed."""
BACK = "kept from before: comes back as it was"
"""The reason where nothing has to be computed."""
OLDER = "made before results had an identity: 'wsss accept' takes it over as it is"


@dataclass
class State:
    """An artefact as it is and as it is wanted.

    Attributes:
        folder: Its folder (absolute).
        made: What lies there finished; None where nothing does.
        gone: Why it is not whole; None if it is.
        identity: The identity that is wanted; None where the content of an input is not known.
        content: The digest of the content that it has, or will have; None where nobody knows.
        damaged: There is a manifest, but it cannot be read.
        back: It is kept from before, and comes back without being made.
        reasons: What of itself is not as it is wanted.
    """

    folder: Path
    made: Artefact | None = None
    gone: str | None = None
    identity: str | None = None
    content: str | None = None
    damaged: bool = False
    back: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


class Staleness:
    """Says why artefacts are stale.

    Args:
        chain: The configuration to compare with; None: only what the manifests themselves tell is compared.
        root: The checkout whose declared versions are compared; None: those of the manifests stand.

    Attributes:
        forced: Folders of artefacts that somebody wants made anew, whatever they are; to be set before anything is
            asked.
    """

    def __init__(self, chain: Chain | None, root: Path | None) -> None:
        self.chain, self.root = chain, root
        self.strict = chain is not None and chain.config.code == "strict"
        self.forced: frozenset[Path] = frozenset()
        self._states: dict[Path, State] = {}
        self._inputs: dict[Path, dict[str, Path]] = {}
        self._jobs: dict[Path, Job | None] = {}
        self._known: dict[str, str] = {}
        self._loaded: dict[Path, Artefact | str] = {}

    def stale(self, wanted: Iterable[Path | str]) -> dict[Path, list[str]]:
        """What has to be made, made again or brought back so that some artefacts are there and as they are wanted:
        folder (absolute) to the reasons; empty where nothing has."""
        asked = [Path(os.path.abspath(folder)) for folder in wanted]
        inputs = self._closure(asked)
        states = {folder: self.state(folder) for folder in inputs}
        found: dict[Path, list[str]] = {}
        for folder, state in states.items():
            if state.gone is None and state.reasons:
                found[folder] = list(state.reasons)
            elif state.gone is not None and (folder in asked or state.damaged):
                found[folder] = [state.gone]
        changing = True
        while changing:
            changing = False
            for folder, given in inputs.items():  # each after those it needs
                for name, other in given.items():
                    if states[other].content is None and states[folder].gone is None:
                        why = f"input {name}: {nice(other)} {AGAIN}"
                        if why not in found.get(folder, ()):
                            found.setdefault(folder, []).append(why)
                            changing = True
                if folder in found and found[folder][0] != BACK:
                    needed = {
                        other: [gone]
                        for other in given.values()
                        if other not in found and (gone := states[other].gone) is not None
                    }
                    found |= needed
                    changing |= bool(needed)
        for folder in found:
            if states[folder].back:
                found[folder] = [BACK]
        return found

    def must(self, folder: Path) -> bool:
        """Whether a finished artefact is not what is wanted, or its manifest cannot be read. One that is not there is
        nobody's question here."""
        state = self.state(folder)
        if state.made is None:
            return state.damaged
        return bool(state.reasons) or any(self.state(one).content is None for one in self._inputs[folder].values())

    def hollow_inputs(self, folder: Path) -> list[Path]:
        """Inputs that have a manifest, but of which files are gone: they have to be made before this is."""
        states = map(self.state, self._inputs[folder].values())
        return [one.folder for one in states if one.made is not None and one.gone is not None]

    def finished(self, folder: Path) -> bool:
        """Whether an artefact is there and what is wanted; its files may have been given up (``keep: false``)."""
        return self.state(folder).made is not None and not self.must(folder)

    def inputs_of(self, folder: Path) -> dict[str, State]:
        """The inputs of an artefact as they are and as they are wanted."""
        self._closure([folder])
        return {name: self.state(other) for name, other in self._inputs[folder].items()}

    def in_order(self, folders: Iterable[Path]) -> list[Path]:
        """Artefacts and all that they rest on, each after those it needs."""
        return list(self._closure(folders))

    def forget(self, folder: Path) -> None:
        """Look at an artefact anew, whose manifest was written meanwhile."""
        self._states.pop(folder, None)
        self._loaded.pop(folder, None)

    def job(self, folder: Path) -> Job | None:
        """What the configuration makes there; None where it makes nothing."""
        if folder not in self._jobs:
            try:
                self._jobs[folder] = self.chain.at(folder) if self.chain else None
            except WsssError:
                self._jobs[folder] = None
        return self._jobs[folder]

    def state(self, folder: Path) -> State:
        """An artefact as it is and as it is wanted."""
        if folder not in self._states:
            if folder not in self._inputs:
                self._closure([folder])  # what is recorded of contents, first
            self._states[folder] = self._look(folder)
        return self._states[folder]

    def _look(self, folder: Path) -> State:
        state = State(folder)
        made = self._made(folder)
        if isinstance(made, Artefact):
            state.made = made
            lost = missing(folder, made.manifest.get("outputs", ()))
            state.gone = None if lost is None else f"{lost} is gone"
        else:
            state.gone, state.damaged = made, (folder / NAME).is_file()
        job = self.job(folder)
        inputs = {name: self.state(other) for name, other in self._inputs[folder].items()}
        if job is not None and self.chain is not None:
            tokens = {name: _token(job.rule, one) for name, one in inputs.items()}
            settings, root = self.chain.settings(job), {} if self.root is None else {"root": self.root}
            flags = self.chain.counted_flags(job)
            state.about = facts(job.rule, settings, int(job.seed or 0), tokens, flags, **root)
            state.identity = None if None in tokens.values() else identity(state.about)
        elif state.made is not None:
            recorded = {name: one.get("content") for name, one in (state.made.manifest.get("inputs") or {}).items()}
            same = all(one.content == recorded[name] for name, one in inputs.items())
            state.identity = state.made.identity if same else None
        self._judge(state, job, inputs)
        return state

    def _judge(self, state: State, job: Job | None, inputs: dict[str, State]) -> None:
        """What follows from the identity that is wanted."""
        made = state.made
        if made is not None and state.folder in self.forced:
            state.reasons = [ASKED]
            return
        if made is not None and made.identity is not None and made.identity == state.identity:
            state.content = made.content
            if self.strict and (files := changed(made.manifest.get("code", {}), self.root or ROOT)):
                state.reasons, state.content = [f"code: {short(files)} changed (code: strict)"], None
            return
        if made is not None:
            state.reasons = list(self._changed(state, made, job, inputs))
            if not state.reasons and state.identity is not None:
                state.reasons = [f"identity: was {made.identity}, is {state.identity}"]
        if state.identity is not None:
            before = kept(state.folder, state.identity)
            if before is not None:
                state.back, state.content = True, before["content"]
                state.reasons = [BACK] if made is not None else []
            elif state.identity in self._known:
                state.content = self._known[state.identity]

    def _made(self, folder: Path) -> Artefact | str:
        if folder not in self._loaded:
            try:
                self._loaded[folder] = load(folder)
            except WsssError as error:
                self._loaded[folder] = str(error).removeprefix(f"{nice(folder)}: ")
        return self._loaded[folder]

    def _closure(self, wanted: Iterable[Path]) -> dict[Path, dict[str, Path]]:
        """The inputs of artefacts and of all they rest on, as the configuration has them (as the manifests tell, where
        it has nothing), each after those it needs."""
        found: dict[Path, dict[str, Path]] = {}

        def add(folder: Path) -> None:
            if folder not in found:
                for other in self._inputs_of(folder).values():
                    add(other)
                found[folder] = self._inputs[folder]

        for folder in wanted:
            add(folder)
        return found

    def _inputs_of(self, folder: Path) -> dict[str, Path]:
        if folder in self._inputs:
            return self._inputs[folder]
        made, job = self._made(folder), self.job(folder)
        given: dict[str, Path] = {}
        if self.chain is not None and job is not None:
            plain = {name: Path(os.path.abspath(one)) for name, one in self.chain.inputs(job).items()}
            given = named_inputs(job.rule, plain)
        elif isinstance(made, Artefact):
            given = made.inputs
        if isinstance(made, Artefact):
            for one in (made.manifest.get("inputs") or {}).values():
                if {"identity", "content"} <= set(one):
                    self._known[one["identity"]] = one["content"]
        self._inputs[folder] = given
        return given

    def _changed(self, state: State, made: Artefact, job: Job | None, inputs: dict[str, State]) -> Iterator[str]:
        """What of an artefact is not as it is wanted, but for inputs of which nobody knows the content yet."""
        if job is not None and job.rule != made.stage:
            yield f"stage: was {made.stage}, is {job.rule}"
            return
        if made.identity is None:
            yield OLDER
        if job is not None and self.chain is not None:
            yield from changed_settings(made, job, self.chain.settings(job))
            if made.identity is not None:
                if (seed := made.manifest.get("seed")) != state.about["seed"]:
                    yield f"seed: was {literal(seed)}, is {state.about['seed']}"
                for key, what in (("declared", "version of "), ("flags", "")):
                    for name, a, b in differences(made.manifest.get(key, {}), state.about[key]):
                        yield f"{what}{name}: was {literal(a)}, is {literal(b)}"
                if made.manifest.get("files") != state.about["files"]:
                    yield "files of yours that the settings name: their content changed"
        had = named_inputs(made.stage, made.inputs)
        recorded = dict(zip(had, (made.manifest.get("inputs") or {}).values(), strict=True))
        for name, one in inputs.items():
            if name not in had:
                yield f"input {name}: {nice(one.folder)} was not read then"
            elif made.identity is None or one.content is None:
                continue
            elif one.content != recorded[name].get("content"):
                moved = f"was {nice(had[name])}, is {nice(one.folder)}"
                again = f"{nice(one.folder)} was made again since"
                yield f"input {name}: {moved if had[name] != one.folder else again}"
            elif _token(made.stage, one) != token(made.stage, recorded[name]):
                yield f"input {name}: {nice(one.folder)} stands for other settings or versions since"
        yield from (f"input {name}: no longer read" for name in had if name not in inputs)


def _token(stage: str, state: State) -> str | None:
    """What of an input counts, as it is or will be; None where nobody knows."""
    if state.content is None:
        return None
    return token(stage, {"identity": state.identity, "content": state.content})


def _holds(values: dict[str, Any], dotted: str) -> bool:
    """Whether nested settings have a key."""
    key, _, rest = dotted.partition(".")
    inner = values.get(key)
    return key in values and (not rest or not isinstance(inner, dict) or _holds(inner, rest))


def changed_settings(made: Artefact, job: Job, settings: Settings | None) -> Iterator[str]:
    """Settings that changed; a new one that has its neutral value is no change."""
    if settings is None:
        return
    was, now = (counted(job.rule, one) for one in (made.settings, settings.model_dump(mode="json")))
    told = settings.counted()
    for key, a, b in differences(was, now):
        if not (a is ABSENT and not _holds(told, key)):
            yield f"{key}: was {literal(a)}, is {literal(b)}"
