"""Kill stages of a tiny chain N times, each time let them end with the same command, and compare.

Prints a line a round; its last line is ``N kills, M wrong, L lost`` (M and L count rounds), and its exit code is 0
where both are 0.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.rounds import Chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how many stages are killed (default 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of every choice (default 0)")
    parser.add_argument("--only", type=int, metavar="ROUND", help="just this one: the number in brackets of a line")
    parser.add_argument("--short", action="store_true", help="only a few quick stages")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave all (default: a temporary folder)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="wsss-chaos-"))
    chaos = Chaos(folder.resolve(), args.seed, args.short)
    try:
        chaos.undisturbed()
        number = args.only or 0
        while chaos.kills < args.kills:
            chaos.turn(number, args.kills - chaos.kills)
            number += 1
            if args.only is not None:
                break
        chaos.orphans()
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{chaos.kills} kills, {chaos.wrong} wrong, {chaos.lost} lost")
    return int(chaos.wrong > 0 or chaos.lost > 0)


if __name__ == "__main__":
    sys.exit(main())
