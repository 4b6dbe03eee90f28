"""``wsss accept``: finished results stand for what the configuration wants, as they are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss.cli.confirm import confirmed
from wsss.cli.flags import add_configfile
from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.provenance.code import today
from wsss.provenance.versions import ROOT
from wsss.runtime.shard import locked
from wsss.store.artefact import Artefact, find
from wsss.store.manifest import write_manifest
from wsss.system.files import sweep
from wsss.text import count, nice, wrapped
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.staleness import Staleness, State

ABOUT = """\
Finished results that are stale stand for what the configuration wants, as they are: those that are named, or all. Their
manifests tell what they were made with. Do this when you know better than the settings: an option that changes nothing
here, a version that was raised for others."""
EXAMPLES = """\
examples:
  wsss accept                                       all finished results; shows them and asks
  wsss accept results/photos/s0/classifiers/p-noc"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss accept``."""
    add_configfile(parser)
    parser.add_argument("path", type=Path, nargs="*", metavar="PATH", help="artefacts (default: all that are stale)")
    parser.add_argument("--yes", action="store_true", help="do not ask")


_OF_THE_RUN = (
    *(
        "made",
        "wall_seconds",
        "device",
        "threads",
        "peak_memory_mib",
        "peak_gpu_memory_mib",
        "host",
        "versions",
        "code",
    ),
    *("shards", "shard_seconds", "shard_memory_mib", "training_seconds", "waiting_seconds", "processes", "external"),
    *("hub_weights", "crf_backend", "walk_backend", "seconds_an_image"),
)
"""What is told of a run and stands in ``run.json``; older manifests hold it, too."""


def accept(args: argparse.Namespace) -> int:
    """Print what would be accepted, ask, and do it. Raises ``WsssError`` where a path is no artefact of the
    configuration, or rests on one that is stale."""
    chain = Chain.read(args.configfile)
    staleness = Staleness(chain, checkout())
    everything = [Path(os.path.abspath(chain.folder(job))) for job in chain.everything()]
    named = [find(path).folder for path in args.path]
    for folder in named:
        try:
            chain.at(folder)
        except WsssError as error:
            raise WsssError(f"{nice(folder)} cannot be accepted: {error}") from None
    stale = staleness.stale(everything)
    states = {folder: staleness.state(folder) for folder in named or stale if folder in stale}
    mine = [folder for folder, state in states.items() if acceptable(state) and (named or state.reasons)]
    if not mine:
        print("Nothing to accept: every finished result is what the configuration wants.")
        return 0
    for folder in mine:
        print(
            "\n".join(wrapped(f"{nice(folder)}: {'; '.join(states[folder].reasons or stale[folder])}", "  ", "      "))
        )
    if not confirmed(f"Accept {count(len(mine), 'result')} as they are?", args.yes):
        raise WsssError("nothing was accepted; give --yes where nobody can be asked")
    accepted = accept_all(staleness, mine)
    left = [folder for folder in mine if folder not in accepted]
    print(f"{count(len(accepted), 'result')} accepted; wsss show tells what they were made with.")
    for folder in left:
        print("\n".join(wrapped(f"not accepted: {nice(folder)}: an input is stale; name it, too", "  ", "      ")))
    return 0


def acceptable(state: State) -> bool:
    """Whether something finished lies there that could stand for what is wanted."""
    return state.made is not None and state.gone is None and not state.back


def accept_all(staleness: Staleness, folders: Sequence[Path]) -> list[Path]:
    """Give artefacts the identity that is wanted, each after what it rests on; returns those for which it is known."""
    accepted = []
    for folder in staleness.in_order(folders):
        staleness.forget(folder)
        state = staleness.state(folder)
        made = state.made
        if folder in folders and acceptable(state) and made is not None and state.identity is not None:
            if state.identity != made.identity or state.reasons:
                manifest, run = rewritten(staleness, state, made, accepted=state.reasons)
                if staleness.strict and isinstance(run.get("code"), dict):
                    run["code"] = today(run["code"], staleness.root or ROOT)
                with locked(folder):
                    sweep(folder)
                    write_manifest(folder, manifest, run)
                staleness.forget(folder)
            accepted.append(folder)
    return accepted


def rewritten(staleness: Staleness, state: State, made: Artefact, **why: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest of an artefact that stands for another identity, and what is told of its run. Its settings stay
    those that it was made with; ``why`` is added to the manifest beside the identity that it had."""
    run = {key: made.manifest[key] for key in _OF_THE_RUN if key in made.manifest}
    noted = {key: value for key, value in made.manifest.items() if key not in run}
    digests = noted.get("outputs") or {
        name: outputs.digest(made.folder / name) for name in outputs.outputs_of(made.stage, made.folder)
    }
    inputs = {
        name: {"path": os.path.relpath(one.folder, state.folder), "identity": one.identity, "content": one.content}
        for name, one in staleness.inputs_of(state.folder).items()
    }
    ((key, what),) = why.items()
    history = [*noted.pop(key, []), {"identity": made.identity, "because": what}]
    about = {name: value for name, value in state.about.items() if name not in ("settings", "inputs")}
    noted |= {**about, "identity": state.identity, "inputs": inputs, key: history}
    return {**noted, "outputs": digests, "content": outputs.content(digests)}, run
