"""What is true of one run alone and stands in ``run.json``: when, where, with which libraries and files of code."""

from __future__ import annotations

import argparse
import contextlib
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.provenance.code import used

LIBRARIES = ("torch", "timm", "segmentation-models-pytorch", "numpy", "pillow", "pydensecrf2", "h5py")


def run_record(args: argparse.Namespace, started: float) -> dict[str, Any]:
    """What a run can tell of itself at its end; ``started`` in seconds since the epoch."""
    versions = {"wsss": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    shards = getattr(args, "gather", 1)
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(time.time() - started, 2),
        "device": _device_name(),
        "threads": args.threads,
        "peak_memory_mib": round(_most_memory() / 1024),
        **_gpu_memory(),
        "host": platform.node(),
        **({"shards": shards} if shards > 1 else {}),
        "versions": versions,
        "code": used(started),
    }


def _most_memory() -> int:
    """Most memory that this process or one of its children held, in KiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(OSError, StopIteration):  # on Linux the figure above counts what its parent held, too
        lines = Path("/proc/self/status").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _gpu_memory() -> dict[str, int]:
    """Most memory that was held on the GPU, in MiB; nothing where none was used."""
    gpu = _gpu()
    if gpu is None:
        return {}
    return {"peak_gpu_memory_mib": round(sys.modules["torch"].cuda.max_memory_reserved(gpu) / 2**20)}


def _gpu() -> Any:
    """The GPU that this run took, if any. Asking torch itself would begin to use one, at the end of all work."""
    devices = sys.modules.get("wsss.compute.devices")
    return None if devices is None else devices.chosen_gpu()


def _device_name() -> str:
    gpu = _gpu()
    if gpu is not None:
        name: str = sys.modules["torch"].cuda.get_device_name(gpu)
        return name
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
