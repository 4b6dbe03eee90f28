"""``wsss run``: Snakemake with the flags that a run wants, after it was said what would be made again."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.cli.confirm import confirmed
from wsss.cli.flags import add_configfile
from wsss.errors import WsssError
from wsss.provenance.versions import ROOT
from wsss.steps import COMPARED, SCORED, STEPS, TABLES
from wsss.text import listed, nearest, nice
from wsss.workflow.chain import LAST, USUAL, Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.jobs import Job
from wsss.workflow.rerun import Rerun, jobs_to_rerun
from wsss.workflow.staleness import Staleness

ABOUT = """\
Make whatever is missing or out of date: Snakemake with the workflow of this checkout, all cores, and half-written files
made again. What is finished and would be made again is said first, with the hours that it took. All that wsss does not
know itself is passed on, so every flag and target of Snakemake will do."""
EXAMPLES = """\
examples:
  wsss run                                 everything in config.yaml, in this folder
  wsss run --short                         a line per job and the result at the end, as on a terminal
  wsss run -n                              only show what would run
  wsss run --configfile my.yaml all_masks  as far as the pseudo-labels
  wsss run --profile workflow/profiles/slurm
  wsss run --again classifier:p-noc        train it anew, although nothing that counts has changed
  wsss run --only masks                    the masks alone, from what there is
  wsss run --yes --most 50                 in a batch: go on, unless more than 50 hours are made again
  wsss run --unlock                        after a kill or a power cut; then wsss run again

Ctrl-C once stops in order; the same command resumes. Exit code: that of Snakemake."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss run``."""
    add_configfile(parser)
    parser.add_argument("--again", action="append", metavar="STAGE[:NAME]", help="make these anew, changed or not")
    parser.add_argument("--only", action="append", metavar="STAGE[:NAME]", help="make these alone, from what there is")
    parser.add_argument("--yes", action="store_true", help="make finished results again without asking")
    lines = parser.add_mutually_exclusive_group()
    lines.add_argument(
        "--short", action="store_true", help="show a line per job, and the result at the end (default on a terminal)"
    )
    lines.add_argument("--plain", action="store_true", help="show Snakemake's own lines and those of the jobs (default "
                       "elsewhere)")  # fmt: skip
    parser.add_argument(
        "--most", type=float, metavar="HOURS", help="refuse if finished results that took more would be made again"
    )


CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile", "--executor", "-e")
"""Flags of Snakemake that say how many jobs there are at once."""
UNLOCKED = ("-n", "--dry-run", "--dryrun", "--unlock", "--nolock", "--lint", "--dag", "--rulegraph", "--help", "-h",
            "--list", "-l", "--summary", "-S", "--detailed-summary", "-D")  # fmt: skip
"""Flags with which Snakemake takes no lock, or takes it off."""
PARTLY = ("--until", "-U", "--omit-from", "-O", "--batch", "--touch", "-t", "--report", "--archive",
          "--cleanup-metadata", "--delete-all-output", "--delete-temp-output", "--conda-create-envs-only")  # fmt: skip
"""Flags with which it runs a part of the jobs, or none: what would be made again is said, and nobody is asked."""
OWN_LINES = ("--logger", "--quiet", "-q", "--verbose", "--printshellcmds", "-p", "--debug-dag", "--touch", "-t")
"""Flags with which Snakemake's own lines are wanted."""
VARIABLE = "WSSS_SCREEN"
"""As in ``snakemake_logger_plugin_wsss``, which may not be imported before Snakemake does it."""
WORTH_ASKING = 60 / 3600
"""Hours above which somebody is asked before finished results are made again."""


def run(args: argparse.Namespace) -> int:
    """Become Snakemake; returns only where it does not start.

    Raises:
        WsssError: No configuration, no workflow, a lock that a killed run left, or finished results that would be made
            again without anybody's consent.
    """
    words = snakemake(args.configfile or [], args.rest)
    chain = Chain.read(args.configfile)
    these = [one for rule, name in parsed(chain, args.only or []) for one in manifests(chain, rule, name)]
    words = [*words, *again(chain, args.again or []), *only(chain, args.only or [])]
    dry, partly = (any(one.split("=")[0] in flags for one in args.rest) for flags in (UNLOCKED, PARTLY))
    if not dry:
        refuse_lock(Path(".snakemake"))
    wanted = [str(Path(one).parent) for one in these] or targets(chain, args.rest)
    lost = jobs_to_rerun(Staleness(chain, checkout()), map(Path, wanted), alone=bool(these))
    if lost.results and (dry or partly):
        print(f"wsss: {lost}", file=sys.stderr)
    elif lost.results:
        consent(lost, args.yes, args.most)
    if short(args, dry):
        at = words.index("--rerun-incomplete")  # a flag must follow: --logger takes any number of names
        words = [*words[:at], "--logger", "wsss", *words[at:]]
        screen(chain, wanted, bool(these))
    print(f"wsss: {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words])


def short(args: argparse.Namespace, dry: bool) -> bool:
    """Whether a line per job is shown: on a terminal, unless Snakemake's own lines are asked for."""
    if dry or args.plain:
        return False
    own = any(one.split("=")[0] in OWN_LINES for one in args.rest)
    return args.short or sys.stderr.isatty() and not own


def screen(chain: Chain, wanted: Sequence[str], alone: bool) -> None:
    """Tell the plugin ``snakemake_logger_plugin_wsss`` by environment variables what it may know: what each job is
    expected to take, and whose result is told at the end; and see to it that Snakemake finds it."""
    folders = {os.path.abspath(one) for one in wanted}
    bases = [chain.base(dataset) for dataset in chain.config.dataset]
    results = [base for base in bases if os.path.abspath(f"{base}/report") in folders]
    known = {"seconds": expected(chain), "results": [] if alone else results}
    os.environ[VARIABLE] = json.dumps(known)
    root = checkout()
    paths = [str(one) for one in (root, ROOT) if one is not None]
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys([*paths, *before])))


def expected(chain: Chain) -> dict[str, float]:
    """Seconds that the jobs to do of the default target are expected to take, by folder; those that are known."""
    from wsss.cli.forecast import History
    from wsss.cli.plan import planned

    try:
        entries = list(planned(chain, Staleness(chain, checkout()), History([Path(chain.config.results)]), "all"))
    except WsssError:
        return {}
    todo = [one for one in entries if not one.done and one.forecast.seconds is not None]
    return {one.folder: one.forecast.seconds for one in todo if one.forecast.seconds is not None}


def consent(lost: Rerun, yes: bool, most: float | None) -> None:
    """Somebody's agreement that finished results are made again; the old ones are kept in any case.

    Raises:
        WsssError: More hours than ``most``, or nobody to ask.
    """
    if most is not None and lost.hours > most:
        raise WsssError(f"{lost}. That is more than --most {most:g} hours; nothing was begun")
    cures = "keep them as they are with wsss accept, or change the settings back"
    if yes or lost.hours < WORTH_ASKING:
        print(f"wsss: {lost}", file=sys.stderr)
    elif not confirmed(f"{lost}. Go on?"):
        raise WsssError(f"{lost}. Nothing was begun: give --yes to go on, {cures}")


def targets(chain: Chain, rest: Sequence[str]) -> list[str]:
    """The artefact folders that a run is asked for, as far as ``wsss`` can tell them from the command line."""
    named = [one for one in rest if one in LAST]
    kinds = [one.removeprefix("all_") for one in rest if one.startswith("all_")]
    kinds += ["saliency-masks"] if "saliency" in kinds else []
    found = [one for kind in kinds if kind in SCORED for one in chain.made_of(kind)]
    found += [folder for one in rest if "/" in one and (folder := made_in(chain, one)) is not None]
    if not named and not found:
        named = ["all"]
    return found + [chain.folder(job) for target in named for job in chain.wanted(target) if job.rule in TABLES]


def made_in(chain: Chain, word: str) -> str | None:
    """The artefact folder that a word names, or a file in it; None for any other word."""
    folder = Path(word).parent if Path(word).suffix else Path(word)
    try:
        chain.at(folder)
    except WsssError:
        return None
    return str(folder)


def again(chain: Chain, wanted: Sequence[str]) -> list[str]:
    """Snakemake's flags for ``--again STAGE[:NAME]``."""
    found = [rule if name is None else manifest for rule, name in parsed(chain, wanted)
             for manifest in (manifests(chain, rule, name) if name is not None else [rule])]  # fmt: skip
    return ["--forcerun", *found] if found else []


def only(chain: Chain, wanted: Sequence[str]) -> list[str]:
    """Snakemake's flags for ``--only STAGE[:NAME]``: these, from what there is, whatever is stale before them."""
    pairs = parsed(chain, wanted)
    if not pairs:
        return []
    rules = dict.fromkeys(name for rule, _ in pairs for name in (rule, f"{rule}_shard"))
    known = [rule for rule in rules if not rule.endswith("_shard") or rule.removesuffix("_shard") in SHARDED]
    return ["--allowed-rules", *known, "--", *(one for rule, name in pairs for one in manifests(chain, rule, name))]


def parsed(chain: Chain, wanted: Sequence[str]) -> list[tuple[str, str | None]]:
    """(stage, recipe or None for all) for each ``STAGE[:NAME]``. Raises ``WsssError`` for unknown ones."""
    found = []
    for one in wanted:
        rule, _, name = one.partition(":")
        if rule not in RULES or name and rule not in STEPS:
            raise WsssError(f"{one}: no stage {rule!r}{nearest(rule, RULES)} (there: {listed(RULES)})")
        served = chain.served(rule) if rule in STEPS else []
        if name and name not in served:
            near = nearest(name, served)
            raise WsssError(f"{one}: {chain.title} has no {rule} {name!r}{near} (there: {listed(served)})")
        found.append((rule, name or None))
    return found


def manifests(chain: Chain, rule: str, name: str | None) -> list[str]:
    """Manifests of a stage's artefacts, over datasets and seeds; without a name, of the configuration's own recipes.
    Raises ``WsssError`` where there is none."""
    if name is None:
        table = next((table for table, kind in COMPARED.items() if rule in STEPS and STEPS[rule].kind == kind), rule)
        target = next((target for target, rules in LAST.items() if table in rules), "all")
        wanted = chain.wanted(target)
        found = [f"{chain.folder(job)}/manifest.json" for job in wanted if job.rule == rule]
        if not found:
            raise WsssError(f"{chain.title} has nothing for the stage {rule!r} to make")
        return found
    config = chain.config
    jobs = [Job(rule, dataset, str(seed), name) for dataset in config.dataset for seed in config.seeds]
    return [f"{chain.folder(job)}/manifest.json" for job in jobs]


RULES = ("index", *STEPS, "scores", *sorted(TABLES))
SHARDED = frozenset(STEPS) - {"classifier", "saliency", "affinity", "segmenter", "choice", "memory"}
"""Stages whose images jobs may share."""


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
