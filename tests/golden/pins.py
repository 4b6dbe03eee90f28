"""Which instructions of the processor libraries may use: few, that all processors have, so that all compute alike."""

from __future__ import annotations

import os
import platform
import sys

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
PINS: dict[str, dict[str, str]] = {
    "sse41": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "aten": {"ATEN_CPU_CAPABILITY": "default"},
    "none": {},
}
"""By name: what the values on record were made with, and others that only ``--drift`` uses."""
USUAL = "sse41"
_EVERY = {name for pin in PINS.values() for name in pin}


def environment(pin: str = USUAL) -> dict[str, str]:
    """This process's environment with that pin and one thread; ``WSSS_GOLDEN_PIN`` tells which."""
    pins = PINS[pin] if platform.machine() == "x86_64" else {}
    free = {name: value for name, value in os.environ.items() if name not in _EVERY}
    return {**free, **THREADS, **pins, "OMP_WAIT_POLICY": "passive", "WSSS_GOLDEN_PIN": pin}


def pinned(pin: str = USUAL) -> None:
    """Be a process with that pin: start this program again in its place, unless it is one."""
    if os.environ.get("WSSS_GOLDEN_PIN") != pin:
        command = [sys.executable, "-m", "tests.golden", *sys.argv[1:]]
        os.execve(sys.executable, command, environment(pin))
