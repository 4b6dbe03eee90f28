#!/usr/bin/env python3
"""How a job is: status.py "NUMBER FILE", as submit.py printed it. Prints running, success or failed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from scheduler import waiting_or_running

LATE = float(os.environ.get("WSSS_CLUSTER_LATENCY", 30))
"""Seconds for which the exit code of a job that has left the queue may not be visible yet on a shared disk."""


def state(number: str, ended: Path) -> str:
    """A job that was killed leaves the queue and no exit code."""
    if not ended.exists() and waiting_or_running(number):
        return "running"
    end = time.monotonic() + LATE
    while not ended.exists() and time.monotonic() < end:
        time.sleep(1)
    return "success" if ended.exists() and ended.read_text().strip() == "0" else "failed"


if __name__ == "__main__":
    job, _, path = sys.argv[1].partition(" ")
    print(state(job, Path(path)))
