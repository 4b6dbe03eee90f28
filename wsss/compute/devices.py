"""Where and in which precision networks run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsss.errors import WsssError
from wsss.system.gpus import VISIBLE, claim_gpu, on_cpu, promised, slices
from wsss.system.launch import world_of

OLDER_GPUS = "envs/requirements-cu126.txt"
"""The pinned set whose torch has kernels for GPUs from compute capability 5.0 to 9.0, ``make TORCH=cu126``."""

_chosen: torch.device | None = None


def device_type(wanted: str) -> str:
    """``cpu`` or ``cuda``, for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        WsssError: ``cuda``, or ``auto`` where this job was given a GPU or one stands in this machine, and torch can use
            none: on a CPU the job would take days in place of hours, and nobody would hear of it.
    """
    if wanted == "cpu" or (wanted == "auto" and on_cpu(os.environ)):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    reason = promised(os.environ)
    if wanted == "auto" and reason is None:
        return "cpu"
    asked = "--device cuda" if wanted == "cuda" else f"--device auto: there should be a GPU ({reason})"
    raise WsssError(
        f"{asked}: torch sees no GPU here ({_why_no_gpu()}); use --device cpu, or check the driver. With "
        "WSSS_DEVICE=cpu a whole workflow computes on the CPU"
    )


def _why_no_gpu() -> str:
    """torch's own reason, in one line."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build for CPUs"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch gives it no types
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return "no device is visible"


def choose_device(wanted: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Of the GPUs that are visible, each process takes one that no other has, or that the fewest have, and holds it as
    long as it lives (``wsss.system.gpus``).

    Raises:
        WsssError: As for ``device_type``; or this torch has no kernels for the GPU.
    """
    global _chosen
    if wanted == "cpu":
        return torch.device("cpu")
    if _chosen is not None:
        return _chosen
    world, parts = world_of(os.environ), slices(os.environ)
    if parts:  # CUDA shows a process one slice of a GPU, the first that is named
        os.environ[VISIBLE] = parts[claim_gpu(tuple(parts), world)]
    if device_type(wanted) == "cpu":
        return torch.device("cpu")
    names = tuple(str(torch.cuda.get_device_properties(n).uuid) for n in range(torch.cuda.device_count()))
    device = torch.device("cuda", 0 if parts else claim_gpu(names, world))
    check_kernels(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list(), device)
    torch.cuda.set_device(device)
    _chosen = device
    return device


def chosen_gpu() -> torch.device | None:
    """The GPU that this process took; None: it has computed on the CPU alone."""
    return _chosen


def check_kernels(capability: tuple[int, int], built: Sequence[str], device: torch.device) -> None:
    """Whether this torch has kernels for a GPU. Without them the first one would fail, in words that help nobody.

    A kernel runs where the capability has its first number and at least its second; one that is kept as PTX
    (``compute_XY``) on every later GPU.

    Args:
        capability: Of the GPU, (7, 0) for a V100.
        built: As ``torch.cuda.get_arch_list`` has them, ``sm_90``, ``compute_90``.
        device: The GPU, for its name.

    Raises:
        WsssError: It has none; names the set of packages that has.
    """
    found = re.findall(r"(sm|compute)_(\d+)", " ".join(built))
    known = [(kind, int(number[:-1]), int(number[-1])) for kind, number in found]
    for kind, major, minor in known:
        if (kind == "sm" and major == capability[0] and minor <= capability[1]) or (
            kind == "compute" and (major, minor) <= capability
        ):
            return
    least = min((major, minor) for _, major, minor in known) if known else capability
    cure = (
        f"install the set for older GPUs ({OLDER_GPUS}): make clean-env, then make env TORCH=cu126"
        if capability < least
        else "install a newer torch"
    )
    has = ", ".join(dict.fromkeys(f"{major}.{minor}" for _, major, minor in known))
    raise WsssError(
        f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}, and torch "
        f"{torch.__version__} has kernels for {has}; {cure}. Or use --device cpu"
    )


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on ``device``. Its way to a GPU begins in page-locked memory: the host does not wait for
    it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def download(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Tensors of one device as arrays. From a GPU all of one type come in one copy, for which the host waits once."""
    if not tensors or tensors[0].device.type != "cuda":
        return [tensor.numpy() for tensor in tensors]
    found: dict[int, np.ndarray] = {}
    for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
        numbers = [number for number, tensor in enumerate(tensors) if tensor.dtype == kind]
        flat = torch.cat([tensors[number].reshape(-1) for number in numbers])
        host = torch.empty(flat.shape, dtype=kind, pin_memory=True).copy_(flat)
        sizes = [tensors[number].numel() for number in numbers]
        for number, part in zip(numbers, torch.split(host, sizes), strict=True):
            found[number] = part.view(tensors[number].shape).numpy()
    return [found[number] for number in range(len(tensors))]


BF16_INSTRUCTIONS = frozenset(("amx_bf16", "avx512_bf16"))
"""Instructions of processors for products of bf16, as Linux names them: Intel from Cooper Lake, AMD from Zen 4."""


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instructions that Linux says the first processor has; none where it does not say."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _cpu_has_bf16() -> bool:
    """Whether products in bf16 are native; elsewhere they are emulated, and fp32 is faster and more exact."""
    return not BF16_INSTRUCTIONS.isdisjoint(cpu_flags())


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
            return super().forward(images.to(self.weight.dtype)).to(images.dtype)


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
