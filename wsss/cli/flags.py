"""Flags that several commands have."""

from __future__ import annotations

import argparse


def add_configfile(parser: argparse.ArgumentParser) -> None:
    """Add ``--configfile``."""
    parser.add_argument(
        "--configfile",
        action="append",
        metavar="FILE",
        help="configuration (default: config.yaml here); given several times, later files go over earlier ones",
    )


def positive(text: str) -> int:
    """A whole number of at least 1, as the ``type`` of an argument."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
