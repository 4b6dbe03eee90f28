"""How a kernel is measured beside its baseline."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """One input: both forms on it, without arguments.

    ``difference`` says in one number how far their results are apart. ``sizes``: bytes that count in place of memory
    (on disk, on their way to a device), of the baseline and of ours.
    """

    baseline: Callable[[], Any]
    ours: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    sizes: Callable[[], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Kernel:
    """A named comparison.

    ``agreement``: format of the difference, in words. ``make(size)``: the case at ``size`` times the usual amount of
    input, the same each time. ``once``: the baseline is so slow that it runs only once. ``needs``: a module of an
    optional extra that the baseline imports.
    """

    name: str
    baseline: str
    ours: str
    agreement: str
    make: Callable[[float], Case]
    once: bool = False
    needs: str | None = None

    @property
    def missing(self) -> bool:
        """Whether the baseline's library is not installed."""
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


class Estimate(NamedTuple):
    """Result of a baseline that is too slow to run to its end, and what it would take in seconds of wall and processor
    time."""

    result: Any
    seconds: float
    cpu_seconds: float


def measure(kernel: Kernel, repeats: int, options: Sequence[str]) -> dict[str, Any]:
    """Medians of ``repeats`` runs taken in turn, after one that does not count.

    Returns seconds of wall time (``baseline_s``, ``ours_s``, ``ratio``) and of processor time (``*_cpu_s``,
    ``cpu_ratio``: what to look at on a machine with other work), the agreement in words and as a number, bytes of each
    (peak memory in a fresh process, if the case says nothing else), and by how much our time and memory grow when the
    input doubles. ``options``: those of the command line that say what the input is.
    """
    case, double = kernel.make(1), kernel.make(2)
    forms = {"baseline": case.baseline, "ours": case.ours, "double": double.ours}
    wall: dict[str, list[float]] = {name: [] for name in forms}
    processor: dict[str, list[float]] = {name: [] for name in forms}
    results = {}
    for number in range(repeats + 1):
        for name, form in forms.items():
            if name == "baseline" and kernel.once and number:
                continue
            start = time.perf_counter(), time.process_time()
            found = form()
            taken = time.perf_counter() - start[0], time.process_time() - start[1]
            if isinstance(found, Estimate):
                found, *taken = found
            results[name] = found
            wall[name].append(taken[0])
            processor[name].append(taken[1])
    seconds = {name: statistics.median(each[1:] or each) for name, each in wall.items()}
    cpu = {name: statistics.median(each[1:] or each) for name, each in processor.items()}
    difference = float(case.difference(results["baseline"], results["ours"]))
    del results
    memory = {form: _alone(kernel, form, size, options) for form, size in (("ours", 1), ("double", 2))}
    if case.sizes:
        baseline_bytes, ours_bytes = case.sizes()
    else:
        baseline_bytes, ours_bytes = _alone(kernel, "baseline", 1, options), memory["ours"]
    return {
        "name": kernel.name,
        "baseline_s": seconds["baseline"],
        "ours_s": seconds["ours"],
        "ratio": seconds["baseline"] / seconds["ours"],
        "baseline_cpu_s": cpu["baseline"],
        "ours_cpu_s": cpu["ours"],
        "cpu_ratio": cpu["baseline"] / max(cpu["ours"], 1e-9),
        "agreement": kernel.agreement.format(difference),
        "difference": difference,
        "baseline_bytes": baseline_bytes,
        "ours_bytes": ours_bytes,
        "growth_s": cpu["double"] / max(cpu["ours"], 1e-9),
        "growth_bytes": memory["double"] / max(1, memory["ours"]),
    }


def _alone(kernel: Kernel, form: str, size: float, options: Sequence[str]) -> int:
    """Peak memory of one form in a fresh process, in bytes above what the process held before."""
    command = [sys.executable, "-m", "benchmarks", "--one", kernel.name, form.replace("double", "ours"), str(size)]
    ran = subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def peak(kernel: Kernel, form: str, size: float) -> int:
    """What ``_alone`` runs. Linux only."""
    getattr(kernel.make(0.02), form)()  # what imports cost
    run = getattr(kernel.make(size), form)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back, or the run would use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    kept = run()
    most = _status("VmHWM")
    del kept
    return most - before


def _status(key: str) -> int:
    """A figure of this process's memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def table(kernels: Sequence[Kernel], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| kernel | baseline | ours | ratio | ratio of CPU time | memory | when the input doubles | agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kernel, row in zip(kernels, rows, strict=True):
        cells = [
            f"`{row['name']}`: {kernel.ours}",
            f"{kernel.baseline}: {shown(row['baseline_s'])} ({shown(row['baseline_cpu_s'])} CPU)",
            f"{shown(row['ours_s'])} ({shown(row['ours_cpu_s'])} CPU)",
            f"{row['ratio']:.1f}",
            f"**{row['cpu_ratio']:.1f}**",
            f"{row['baseline_bytes'] / 2**20:.3g} -> {row['ours_bytes'] / 2**20:.3g} MiB",
            f"time x {row['growth_s']:.1f}, memory x {row['growth_bytes']:.1f}",
            row["agreement"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
