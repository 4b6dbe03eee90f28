"""The cores that this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Those that a cluster or ``taskset`` gave it; all of the machine where nobody did."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
