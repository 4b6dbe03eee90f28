"""The devices of ``wsss plan --on``: what their vendors' data sheets say."""

from __future__ import annotations

import os
from dataclasses import dataclass

from wsss.system.cores import available_cores

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """What a vendor's data sheet says of a device, without sparsity.

    Attributes:
        name: As the table names it.
        half: Floating point operations a second in bfloat16 or float16.
        single: The same in float32; on GPUs that have it in TF32, which convolutions use.
        bandwidth: Bytes of memory a second.
        memory: GiB.
        cores: CPU cores beside it that load images and compute CRFs.
    """

    name: str
    half: float
    single: float
    bandwidth: float
    memory: float
    cores: int = 8


DEVICES = {
    "h100": Device("H100 SXM 80 GB", 989e12, 495e12, 3.35e12, 80),
    "a100": Device("A100 SXM 80 GB", 312e12, 156e12, 2.039e12, 80),
    "v100": Device("V100 SXM2 32 GB", 125e12, 15.7e12, 0.9e12, 32),
    "rtx4090": Device("RTX 4090 24 GB", 165e12, 82.6e12, 1.008e12, 24),
}
"""GPUs by the name of ``--on``."""
CORE = (80e9, 8e9)
"""Of one CPU core: float32 operations a second of a matrix product with AVX2, as measured on a server, and bytes."""


def on(name: str) -> Device:
    """The device of a name of ``--on``; ``cpu`` is this machine's."""
    if name != "cpu":
        return DEVICES[name]
    cores = available_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return Device("CPU", cores * CORE[0], cores * CORE[0], cores * CORE[1], memory, cores)
