"""``wsss run``: Snakemake with the flags that a run wants."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.cli.artefacts import nice
from wsss.cli.chain import USUAL, checkout
from wsss.errors import WsssError

CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile", "--executor", "-e")
"""Flags of Snakemake that say how many jobs there are at once."""
UNLOCKED = ("-n", "--dry-run", "--dryrun", "--unlock", "--nolock", "--lint", "--dag", "--rulegraph", "--help", "-h",
            "--list", "-l", "--summary", "-S", "--detailed-summary", "-D")  # fmt: skip
"""Flags with which Snakemake takes no lock, or takes it off."""


def run(args: argparse.Namespace) -> int:
    """Become Snakemake; returns only where it does not start.

    Raises:
        WsssError: No configuration, no workflow, or a lock that a killed run left.
    """
    words = snakemake(args.configfile or [], args.rest)
    if not any(one.split("=")[0] in UNLOCKED for one in args.rest):
        refuse_lock(Path(".snakemake"))
    print(f"wsss: {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words])


def snakemake(configfiles: Sequence[str], rest: Sequence[str]) -> list[str]:
    """What Snakemake is called with; ``rest`` is passed on after it.

    Raises:
        WsssError: See ``run``.
    """
    root = checkout()
    if root is None or not (root / "Snakefile").is_file():
        raise WsssError(
            "the workflow is not here: this wsss is the package alone; install it again with pip install, or go to the "
            "folder of a checkout (the one that holds Snakefile and stages/)"
        )
    for name in configfiles:
        if not Path(name).is_file():
            raise WsssError(f"--configfile {name}: there is no such file in {os.getcwd()}")
    if not configfiles and not Path(USUAL).is_file():
        raise WsssError(f"no {USUAL} in {os.getcwd()}; write one for your photos with wsss init FOLDER, or name "
                        "another with --configfile")  # fmt: skip
    words = [] if os.path.samefile(root, ".") else ["--snakefile", nice(root / "Snakefile")]
    words += ["--configfile", *configfiles] if configfiles else []
    if not any(one.split("=")[0] in CORES or one[:2] in ("-c", "-j") and one[2:].isdigit() for one in rest):
        words += ["--cores", "all"]
    return [*words, "--rerun-incomplete", *rest]


def refuse_lock(folder: Path) -> None:
    """Say what a lock of Snakemake means before Snakemake does. Raises ``WsssError`` where there is one."""
    locks = folder / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return
    at_work = list(others())
    if at_work:
        raise WsssError(f"another run is at work in this folder (process {at_work[0]}); wait for it, or stop it first")
    raise WsssError(
        "an earlier run was killed and left its lock. If no other run works in this folder, on another machine either: "
        "wsss run --unlock, and then the same command again; what is done is kept"
    )


def others() -> Iterator[int]:
    """Processes of this machine that run Snakemake in this folder (Linux; elsewhere none is seen)."""
    here = os.getcwd()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            named = any(Path(os.fsdecode(one)).name == "snakemake" for one in words[:4])
            if named and int(process.name) != os.getpid() and os.path.samefile(process / "cwd", here):
                yield int(process.name)
        except OSError:
            continue
