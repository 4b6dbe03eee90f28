#!/usr/bin/env python3
"""Submit a job of Snakemake's: submit.py SCRIPT. Prints its number and the file for its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from scheduler import HERE, Needs

LOGS = Path("logs/cluster")


def needs(properties: dict) -> Needs:
    """What the job of a script asks for. Raises ``SystemExit`` for one over several nodes, which takes SLURM."""
    asked = properties.get("resources", {})
    if asked.get("nodes", 1) > 1:
        raise SystemExit("nodes: a training over several nodes is for SLURM; here it runs on one: leave nodes out")
    name = properties.get("rule") or properties.get("groupid") or "group"
    gpus = int(asked.get("gpu", 0))
    return Needs(f"wsss-{name}", properties["threads"], gpus, asked["mem_mb"], asked["runtime"], f"{LOGS.resolve()}/")


def main(script: Path) -> None:
    """A script of its own runs the job and tells how it ended: schedulers forget that sooner or later."""
    properties = json.loads(re.search(r"^# properties = (.*)$", script.read_text(), re.M)[1])
    LOGS.mkdir(parents=True, exist_ok=True)
    ended, outer = script.with_name(f"{script.name}.exit"), script.with_name(f"{script.name}.job")
    ended.unlink(missing_ok=True)
    write = f"""echo $? > "{ended}.part"; mv "{ended}.part" "{ended}\""""
    outer.write_text(f'#!/bin/sh\ncd "{Path.cwd()}"\nsh "{script}"\n{write}\n')
    done = subprocess.run([*HERE.submit(needs(properties)), str(outer)], stdout=subprocess.PIPE, text=True)
    number = re.search(r"\d+", done.stdout)
    if done.returncode or number is None:
        raise SystemExit(f"the scheduler did not take the job: {done.stdout.strip()}")
    print(f"{number[0]} {ended}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
