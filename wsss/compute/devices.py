"""Where and in which precision networks run."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

import torch
from torch import nn

from wsss.errors import WsssError
from wsss.system.gpus import claim_gpu
from wsss.system.launch import world_of


def device_type(wanted: str) -> str:
    """``cpu`` or ``cuda``, for ``auto``, ``cpu`` or ``cuda``. Raises ``WsssError``: ``cuda`` without a usable GPU."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise WsssError("--device cuda: torch sees no GPU here; use --device cpu, or check the driver")
    return "cuda"


def choose_device(wanted: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Where CUDA_VISIBLE_DEVICES says which GPUs are meant (SLURM sets it), each process of this machine takes the one of
    its number; else each takes a free one and holds it as long as it lives (``wsss.system.gpus``).

    Raises:
        WsssError: ``cuda`` without a usable GPU.
    """
    if device_type(wanted) == "cpu":
        return torch.device("cpu")
    world, count = world_of(os.environ), torch.cuda.device_count()
    given = "CUDA_VISIBLE_DEVICES" in os.environ
    device = torch.device("cuda", world.local_rank % count if given else claim_gpu(count, world))
    torch.cuda.set_device(device)
    return device


def _cpu_has_bf16() -> bool:
    """Whether matrix products in bf16 are native (AMX); with AVX alone, fp32 is about as fast and more exact."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


TYPES = {str(one): one for one in (torch.float32, torch.bfloat16, torch.float16)}
"""Autocast types by name; ``torch.float32`` means none."""


def can_autocast(wanted: torch.dtype, device: torch.device) -> bool:
    """Whether a device computes in an autocast type at all, be it slowly."""
    if device.type == "cuda":
        return wanted != torch.bfloat16 or bool(torch.cuda.is_bf16_supported(including_emulation=True))
    return wanted != torch.float16


def autocast_type(precision: str, device: torch.device) -> torch.dtype:
    """The autocast type for a setting ``precision``; ``torch.float32`` means no autocast."""
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        else:
            precision = "bf16" if _cpu_has_bf16() else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def prepare_cpu(threads: int) -> None:
    """Let torch use ``threads`` cores, and keep freed memory in the process.

    glibc gives large blocks back to the system at once; every step of a network then pays for their pages again, which
    costs about a quarter of a training step on a CPU.
    """
    torch.set_num_threads(threads)
    with contextlib.suppress(OSError, AttributeError):  # another libc than glibc: only slower
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no separate mappings
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: never shrink the heap


class _ExactDepthwise(nn.Conv2d):
    """A depthwise convolution that leaves autocast."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images.float()).to(images.dtype)


def tune_for(network: nn.Module, device: torch.device) -> None:
    """Adapt a network to a device, in place; names and shapes of its weights stay.

    On a CPU the depthwise convolutions run in fp32 under autocast: the backward pass of the bf16 ones is up to five
    times slower, and they are a small part of the arithmetic.
    """
    if device.type != "cpu":
        return
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = _ExactDepthwise


def loader_workers(threads: int, device: torch.device) -> int:
    """Loader processes that keep the network fed without starving it: on a CPU the network needs the cores itself."""
    return max(1, threads // 2) if device.type == "cpu" else max(1, min(16, threads - 1))
