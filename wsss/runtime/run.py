"""One run of a stage: its settings, inputs, identity and folders."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.provenance.identity import facts, identity, named_inputs, token
from wsss.runtime.shard import Shard
from wsss.store import kept
from wsss.store.manifest import NAME, SECOND
from wsss.system.exit import Stoppable
from wsss.system.files import read_json, replace_folder, sweep, write_json
from wsss.system.launch import World
from wsss.system.log import log


class Run(Stoppable):
    """One run of a stage; see ``Stage.run``.

    Attributes:
        settings: The typed settings.
        args: All arguments (``seed``, ``threads``, ``device`` and what the stage added).
        inputs: Name to artefact folder, for those given; those of a list are called ``NAME.0``, ``NAME.1``, ...
        stage: Name of the stage's program, without suffix.
        out: The artefact folder.
        share: The share of the images that this job makes; None: all of the artefact.
        leftovers: Files that are of no use once the artefact is whole; they are deleted then.
        team: The processes of this run; only the first one writes.
        flags: Further flags that change the result, by name.
        digests: Output to the digest of its content, where the stage knows it already (``wsss.provenance.outputs``).
    """

    def __init__(
        self,
        args: argparse.Namespace,
        settings: Any,
        inputs: dict[str, Path],
        stage: str = "",
        world: World | None = None,
    ) -> None:
        self.args, self.settings, self.inputs, self.stage = args, settings, inputs, stage
        self.world = world or World()
        self.out: Path = args.out
        self.shard: Shard | None = getattr(args, "shard", None)
        self.flags: dict[str, str] = {}
        self.facts: dict[str, Any] = {}
        self.recorded: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        self.leftovers: list[Path] = []
        self.strangers: dict[str, tuple[int, ...]] = {}

    def several(self, name: str) -> list[Path]:
        """The folders of a list, in the order they were given."""
        return [folder for key, folder in self.inputs.items() if key.rpartition(".")[0] == name]

    def one_each(self, name: str, recipes: Sequence[str]) -> list[Path]:
        """The folders of a list that the settings name the recipes of.

        Raises:
            WsssError: There are more of the one than of the other.
        """
        folders = self.several(name)
        if len(folders) != len(recipes):
            raise WsssError(
                f"the settings name {len(recipes)} {name} ({', '.join(recipes)}) and --{name} gives {len(folders)} "
                "folders; give one for each, in the same order"
            )
        return folders

    def note(self, **facts: Any) -> None:
        """Add facts to the manifest: what follows from settings and inputs (``images=1625``)."""
        self.facts.update(facts)

    def record(self, **facts: Any) -> None:
        """Add facts to ``run.json``: what is true of this run alone (``device="H100"``)."""
        self.recorded.update(facts)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the identity is made of, see ``wsss.provenance.identity.facts``."""
        contents = {name: token(self.stage, read_input(folder)) for name, folder in self.named.items()}
        return facts(self.stage, self.settings, getattr(self.args, "seed", 0), contents, self.flags)

    @cached_property
    def identity(self) -> str:
        """The identity of the artefact that this run makes."""
        return identity(self.about)

    @property
    def named(self) -> dict[str, Path]:
        """The input folders under the names that count."""
        return named_inputs(self.stage, {name: Path(os.path.abspath(path)) for name, path in self.inputs.items()})

    def is_needed(self) -> bool:
        """Whether anything has to be made; afterwards nothing stands in the folder that could be taken for the result.

        An artefact of the wanted identity stays as it is, or comes back from where it was kept; any other is kept."""
        wanted = None if (self.out / kept.AGAIN).exists() else self.identity
        if self.shard is not None:
            whole = (kept.in_place(self.out), kept.kept(self.out, wanted))
            if wanted is not None and any(one is not None and one["identity"] == wanted for one in whole):
                write_json(self.shard.receipt(self.out), {"key": wanted, "images": 0})
                log.info(f"{self.out}: made already, nothing to do")
                return False
            self.shard.receipt(self.out).unlink(missing_ok=True)
            return True
        kept.recover(self.out)
        self.sweep()
        there = kept.in_place(self.out)
        if there is not None and there["identity"] == wanted:
            write_json(self.out / SECOND, there)
            write_json(self.out / NAME, there)
            log.info(f"{self.out}: up to date, nothing to do")
        else:
            kept.set_aside(self.out)
            if wanted is None or not kept.bring_back(self.out, wanted):
                names = outputs.outputs_of(self.stage, self.out)
                self.strangers = {name: outputs.stamp(self.out / name) for name in names}
                return True
            log.info(f"{self.out}: made before, and kept: brought back")
        for left in (self.out / outputs.PARTS, self.state_folder / self.identity):
            shutil.rmtree(left, ignore_errors=True)
        return False

    @cached_property
    def state(self) -> Path:
        """The folder for checkpoints, made when it is first asked for."""
        self.state_folder.mkdir(parents=True, exist_ok=True)
        return self.state_folder

    @property
    def state_folder(self) -> Path:
        """The folder for checkpoints, whether it is there or not."""
        folder: Path = self.args.state or self.out / outputs.STATE
        return folder

    def sweep(self) -> None:
        """Delete what killed runs left half written."""
        state = self.state_folder
        for folder in {self.out, state, *(one for one in state.glob("*/") if one.is_dir())}:
            sweep(folder)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Yield an empty scratch folder that becomes ``out/name`` when the block succeeds."""
        scratch = self.out / f".{name}.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
            replace_folder(scratch, self.out / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def read_input(folder: Path) -> dict[str, Any]:
    """An input's manifest; one from before there were digests of contents is told by its own bytes."""
    about = read_json(folder / NAME)
    if "identity" not in about and (folder / NAME).is_file():
        about["content"] = outputs.digest(folder / NAME)
    return about
