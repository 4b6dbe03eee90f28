"""Run the cases, record their values, or measure how far values go with other instructions of the processor.

Names are those of cases, STAGE.CASE, or ``settings``; without any, all are meant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.golden.pins import PINS, USUAL, environment, pinned

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=Path, metavar="OUT.json", help="run cases and write what came of them")
    what.add_argument("--mutations", type=Path, metavar="OUT.json", help="run cases with changed methods")
    what.add_argument("--record", action="store_true", help="run cases and put their values on record")
    what.add_argument("--drift", action="store_true", help="how far values go with other instructions")
    parser.add_argument("--explain", metavar="TEXT", help="why values moved although no method did, or the reverse")
    parser.add_argument("--pin", default=USUAL, choices=PINS, help=f"instructions that may be used (default {USUAL})")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    if args.drift:
        return drift(args.names)
    pinned(args.pin)
    if args.run is not None:
        args.run.write_text(json.dumps(results(args.names)), "utf-8")
        return 0
    if args.mutations is not None:
        from tests.golden import mutations

        args.mutations.write_text(json.dumps(mutations.run()), "utf-8")
        return 0
    return recorded(args.names, args.explain)


def results(names: Sequence[str]) -> dict[str, Any]:
    """What comes of cases, and of those that they are made from."""
    from tests.golden.cases import all_cases, with_inputs
    from tests.golden.running import run_in

    with tempfile.TemporaryDirectory(prefix="wsss-golden-") as folder:
        return run_in(with_inputs(names or all_cases()), Path(folder))


def recorded(names: Sequence[str], explain: str | None) -> int:
    """Record; 1 where something is refused."""
    from tests.golden.cases import all_cases, case
    from tests.golden.counted import FILE, record_settings
    from tests.golden.records import SETTINGS, record

    keys = [case(name).key for name in names if name != SETTINGS] if names else list(all_cases())
    written, refused = record(keys, results(keys), explain) if keys else ([], [])
    also, wrong = record_settings(FILE, explain, only_versions=bool(names) and SETTINGS not in names)
    for name in [*written, *(f"settings of {name}" for name in also)]:
        print(f"recorded {name}")
    for said in [*refused, *wrong]:
        print(f"not recorded: {said}\n", file=sys.stderr)
    return int(bool(refused or wrong))


def drift(names: Sequence[str]) -> int:
    """Print for every kind of value how far the farthest goes, and in which case."""
    from tests.golden.comparing import LEAST
    from tests.golden.comparing import drift as farthest

    runs: dict[str, dict[str, Any]] = {}
    for pin in PINS:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "found.json"
            command = [sys.executable, "-m", "tests.golden", "--run", str(out), "--pin", pin, *names]
            subprocess.run(command, cwd=ROOT, env=environment(pin), check=True)
            runs[pin] = json.loads(out.read_text("utf-8"))
    most: dict[str, tuple[float, str]] = {}
    for pin, found in runs.items():
        for key, one in runs[USUAL].items():
            for name, was in one.get("values", {}).items():
                now = found[key]["values"].get(name)
                if isinstance(was, str) or "of" in was or now is None or len(was) != len(now):
                    if was != now:
                        print(f"{key} {name} ({pin}): {was} or {now}"[:400])
                    continue
                before, after = (dict(enumerate(v)) if isinstance(v, list) else v for v in (was, now))
                share = farthest(before, after, 1.0 if isinstance(was, list) else LEAST)[0]
                kind = f"{key.partition('.')[0]} {'change' if name.startswith('change of ') else 'number'}"
                most[kind] = max(most.get(kind, (0.0, "")), (share, f"{key} {name} ({pin})"))
    for kind, (share, where) in sorted(most.items(), key=lambda item: -item[1][0]):
        print(f"{share:.1e}  {kind:25}  {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
