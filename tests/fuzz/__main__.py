"""Damage good files of a reader N times, and let it read them.

Prints a line of JSON for each kind of failure, the first damaged files of which stay in ``--folder``; the last line
says how many there were, how often the reader refused, and how often it read. Exit code 1: there were failures.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.readers import READERS, Reader, names
from wsss.errors import WsssError
from wsss.system.log import log

LONGEST = 20
"""Seconds of the processor that a reader may take for a few kilobytes."""
MEMORY = 1 << 30
"""Bytes beyond what the process has when it begins."""


class Hang(BaseException):
    """A reader took too long."""


def main(readers: Mapping[str, Reader] = READERS) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("reader", choices=sorted(readers))
    parser.add_argument("--cases", type=int, default=300, metavar="N", help="how many damages (default 300)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of every choice (default 0)")
    parser.add_argument("--only", type=int, metavar="CASE", help="just this one: the number in a line")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="wsss-fuzz-"))
    reader = readers[args.reader]
    warnings.simplefilter("ignore")
    log.setLevel("ERROR")
    (folder / "good").mkdir(parents=True)
    files = reader.example(folder / "good")
    reader.read(folder / "good")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGPROF, _hang)
    failures: set[str] = set()
    refused = read = 0
    for case in range(args.cases) if args.only is None else [args.only]:
        here = folder / "case"
        shutil.rmtree(here, ignore_errors=True)
        for name, content in reader.damaged(Random(f"{args.seed} {args.reader} {case}"), files).items():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes(content)
        (folder / "number").write_text(str(case))  # of the case at which a library takes the process down
        try:
            signal.setitimer(signal.ITIMER_PROF, LONGEST)  # of the processor: the machine may be busy
            reader.read(here)
            read += 1
        except WsssError as error:
            refused += 1
            if not names(error, here):
                _report(failures, folder, case, f"names no file: {str(error)[:300]}", [])
        except BaseException as error:
            trace = [f"{one.filename}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)][1:]
            _report(failures, folder, case, f"{type(error).__name__}: {str(error)[:300]}", trace)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{args.reader}: {len(failures)} kinds of failure, {refused} refused, {read} read", flush=True)
    if args.folder is None and not failures:
        shutil.rmtree(folder)
    return int(bool(failures))


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"longer than {LONGEST} s")


def _report(failures: set[str], folder: Path, case: int, what: str, trace: list[str]) -> None:
    """Tell of a failure, once for each place in the project where it came through."""
    own = [one for one in trace if "/wsss/" in one or "/tests/" in one]
    kind = f"{what.partition(':')[0]} {own[-1:]}"
    if kind not in failures:
        failures.add(kind)
        kept = folder / f"failure-{case}"
        shutil.copytree(folder / "case", kept, dirs_exist_ok=True)
        print(json.dumps({"case": case, "what": what, "where": own[-3:], "files": str(kept)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
