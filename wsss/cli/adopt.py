"""``wsss adopt``: an artefact made elsewhere (by a colleague, or earlier) takes its place in the results."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from wsss.cli.accept import rewritten
from wsss.cli.flags import add_configfile
from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.runtime.shard import locked
from wsss.store.artefact import Artefact, load
from wsss.store.kept import recover, set_aside
from wsss.store.manifest import write_manifest
from wsss.system.files import flush_all, sweep
from wsss.text import listed, nice
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.jobs import Job
from wsss.workflow.staleness import Staleness, changed_settings
from wsss.workflow.values import ABSENT, references
from wsss.workflow.values import differences as differing

ABOUT = """\
Take in an artefact that was made elsewhere, by a colleague or in an earlier run: a classifier, maps, masks, whatever a
stage makes. Its settings have to be those of a recipe, its files those that its manifest tells of, its classes those of
the dataset. What lies in its place is kept."""
EXAMPLES = """\
examples:
  wsss adopt /shared/anna/results/photos/s0/classifiers/p-noc
  wsss adopt old/results/photos/s0/masks/walk --to results/photos/s0/masks/mine"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss adopt``."""
    add_configfile(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the artefact's folder, with its manifest.json")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="where it belongs (default: the recipe with its settings)"
    )
    parser.add_argument("--anyway", action="store_true", help="although its settings are others than those of --to")


def adopt(args: argparse.Namespace) -> int:
    """Check an artefact and copy it to where the configuration wants it.

    Raises ``WsssError`` where no recipe (or not the one that is named) has its settings, a file is not the one that its
    manifest tells of, its classes are others, or what it rests on here is not made yet."""
    chain = Chain.read(args.configfile)
    made = load(args.folder)
    check_files(made)
    job = place(chain, made, args.to, args.anyway)
    folder = Path(os.path.abspath(chain.folder(job)))
    if folder == made.folder:
        raise WsssError(f"{made.title} lies in its place already; wsss accept takes it as it is")
    staleness = Staleness(chain, checkout())
    state, inputs = staleness.state(folder), staleness.inputs_of(folder)
    missing = [
        nice(one.folder)
        for name, one in inputs.items()
        if one.content is None or name == "index" and one.gone is not None  # its classes are read below
    ]
    if missing:
        raise WsssError(
            f"{nice(folder)} rests on {listed(missing)}, not made here yet or stale; make it first, then adopt"
        )
    check_classes(made, [one.folder for name, one in inputs.items() if name == "index"])
    differences = [*unlike(made, job, chain), *other_versions(made, state.about["declared"])]
    with locked(folder):
        recover(folder)
        sweep(folder)
        set_aside(folder)
        for name in outputs.outputs_of(made.stage, made.folder):
            copy(made.folder / name, folder / name)
        flush_all(folder)
        source: dict[str, Any] = {"from": str(made.folder), "differences": differences}
        source |= {key: made.manifest.get(key) for key in ("inputs", "seed", "declared", "files")}
        write_manifest(folder, *rewritten(staleness, state, made, adopted=source))
    print(
        f"{nice(folder)}: adopted from {args.folder}" + (f", although {'; '.join(differences)}" if differences else "")
    )
    return 0


def check_files(made: Artefact) -> None:
    """Raises ``WsssError`` where a file is gone, or not the one that the manifest tells of."""
    for name, wanted in made.manifest.get("outputs", {}).items():
        path = made.folder / name
        if not path.exists():
            raise WsssError(f"{made.title}: {name} is gone; adopt it from where it is whole")
        if outputs.digest(path) != wanted:
            raise WsssError(
                f"{made.title}: {name} is not the one that was made (damaged, or changed by hand); adopt it from where "
                "it is whole"
            )


def place(chain: Chain, made: Artefact, to: Path | None, anyway: bool) -> Job:
    """The job whose artefact this is: the one that is named, or the only one with these settings and seed."""
    if to is not None:
        try:
            job = chain.at(to)
        except WsssError as error:
            raise WsssError(f"--to {to} is no place for it: {error}") from None
        if job.rule != made.stage:
            raise WsssError(f"{to} is made by {job.rule}, and {made.title} was made by {made.stage}")
        if (differences := unlike(made, job, chain)) and not anyway:
            raise WsssError(
                f"{made.title} has other settings than {to}: {'; '.join(differences)}. Change the recipe, or give "
                "--anyway; the manifest then says so"
            )
        return job
    same: list[Job] = []
    fitting: list[Job] = []
    for jobs in (chain.wanted(), chain.everything()):  # recipes of the study come last
        same = [job for job in jobs if job.rule == made.stage]
        fitting = [job for job in same if not unlike(made, job, chain)]
        alike = [job for job in fitting if not list(changed_settings(made, job, chain.settings(job)))]
        if len(alike or fitting) == 1:
            return (alike or fitting)[0]
        if fitting:
            break
    found = listed([chain.folder(job) for job in fitting or same]) if same else "none"
    many = "several recipes have" if fitting else "no recipe has"
    raise WsssError(
        f"{made.title}: {many} the settings and seed of this {made.stage} (candidates: {found}); name one with --to"
    )


def unlike(made: Artefact, job: Job, chain: Chain) -> list[str]:
    """In which settings, or in which seed, an artefact differs from a recipe; what other recipes are called there is
    nothing to it."""
    names = references(made.stage, made.settings)
    changes = changed_settings(made, job, chain.settings(job))
    found = [change for change in changes if change.partition(":")[0] not in names]
    was, seed = made.manifest.get("seed", 0), int(job.seed or 0)
    return found + ([f"seed: was {was}, is {seed}"] if was != seed else [])


def other_versions(made: Artefact, wanted: dict[str, Any]) -> list[str]:
    """Declared versions that are others now; one that only one side has follows from the settings."""
    pairs = differing(made.manifest.get("declared", {}), wanted)
    return [f"version of {name}: was {a}, is {b}" for name, a, b in pairs if ABSENT not in (a, b)]


def check_classes(made: Artefact, index: list[Path]) -> None:
    """Raises ``WsssError`` where a network was trained on other classes than the dataset has."""
    weights = made.folder / "model.safetensors"
    if not weights.is_file() or not index:
        return
    from wsss.store.weights import described

    theirs = described(weights).get("classes")
    ours = (index[0] / "classes.txt").read_text("utf-8").splitlines()
    if theirs is not None and list(theirs) != ours:
        raise WsssError(f"{made.title} knows the classes {listed(theirs)}; the dataset here has {listed(ours)}")


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder over whatever lies there."""
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
