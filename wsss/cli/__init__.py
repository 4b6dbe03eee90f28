"""The console program ``wsss``: how results were made, how two differ, and what a run will take.

    wsss show results/scenes/s0/cams/p-noc      how it was made, whether it is stale, how to make it again
    wsss diff A B                               what differs between two artefacts, all the way up
    wsss plan --configfile my.yaml              jobs, images, time and memory before a run
    wsss export DIR --to onnx --out FILE        a trained network for other software

All but the last read manifests and the configuration; they import neither torch nor Snakemake and write nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from wsss import __version__
from wsss.cli.export import add_arguments as add_export_arguments
from wsss.cli.export import export
from wsss.errors import WsssError

FAILED = 2


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="wsss", description=__doc__, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"wsss {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--configfile", action="append", metavar="FILE",
        help="configuration (default: config.yaml here); given several times, later files go over earlier ones",
    )  # fmt: skip

    show = commands.add_parser(
        "show", parents=[configured], help="how an artefact was made, whether it is stale, how to make it again"
    )
    show.add_argument("path", type=Path, metavar="PATH", help="an artefact's folder, or anything inside it")
    show.add_argument("--all", action="store_true", help="all settings, not only those that differ from the defaults")

    diff = commands.add_parser(
        "diff",
        help="what differs between two artefacts",
        description="Compare two artefacts and all that they were made from. Exit code 0: no difference, 1: some.",
    )
    diff.add_argument("a", type=Path, metavar="A", help="an artefact's folder, or anything inside it")
    diff.add_argument("b", type=Path, metavar="B", help="likewise")
    diff.add_argument("--all", action="store_true", help="also what was found on the way, and time and memory")

    plan = commands.add_parser(
        "plan", parents=[configured], help="jobs, images, expected time and memory of a configuration"
    )
    plan.add_argument("--jobs", action="store_true", help="list every job to do, with the reason")
    plan.add_argument("--ablation", action="store_true", help="plan the target 'ablation' in place of the default run")
    plan.add_argument("--device", metavar="TEXT", help="go by runs on devices whose name contains this (H100, Xeon)")
    plan.add_argument(
        "--history", action="append", type=Path, default=[], metavar="DIR",
        help="another results folder to learn times from; may be given several times",
    )  # fmt: skip

    add_export_arguments(commands.add_parser("export", help="a trained network as ONNX or torch.export file"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``wsss``; returns the exit code (2 after a ``WsssError``, which is printed)."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "show":
            from wsss.cli.show import show

            code = show(args)
        elif args.command == "diff":
            from wsss.cli.diff import diff

            code = diff(args)
        elif args.command == "export":
            code = export(args)
        else:
            from wsss.cli.plan import plan

            code = plan(args)
        sys.stdout.flush()
        return code
    except WsssError as error:
        print(f"wsss: error: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # ``| head``: what is left unsaid was not wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
