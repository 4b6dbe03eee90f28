"""A free GPU for each process of a machine, without anybody who hands them out.

A process holds the lock of its GPU as long as it lives. Where others hold all of them, it shares the one that the
fewest do: a machine may be asked for more jobs at once than it has GPUs. Locks are named after the GPUs themselves, for
a GPU has another number in each process that sees only some of them (``CUDA_VISIBLE_DEVICES=2,3``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.launch import World
from wsss.system.log import log

MOST = 64
"""Processes that may share a GPU."""

OPEN = 0o1777
"""Mode of the folder of locks: all may write there, and nobody may delete what others wrote."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICE = "WSSS_DEVICE"
GIVEN = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "GPU_DEVICE_ORDINAL")
"""Variables by which a cluster says which GPUs a job has."""


def on_cpu(environment: Mapping[str, str]) -> bool:
    """Whether somebody wants a whole workflow on the CPU (``WSSS_DEVICE=cpu``), although its jobs are given GPUs: in a
    job a cluster sets ``CUDA_VISIBLE_DEVICES`` itself."""
    return environment.get(DEVICE) == "cpu"


def promised(environment: Mapping[str, str], devices: Path = Path("/dev")) -> str | None:
    """Why a process may expect a GPU, in words; None: it may not, or it was told to use none."""
    visible = environment.get(VISIBLE)
    if on_cpu(environment):
        return None
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return None
    for name in (*GIVEN, VISIBLE):
        if environment.get(name, "").strip():
            return f"{name}={environment[name]}"
    found = min((path for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)), default=None)
    return None if found is None else f"{found} is there"


def slices(environment: Mapping[str, str]) -> list[str]:
    """The slices of GPUs (MIG) that are visible, by their names; none where whole GPUs are."""
    names = [name.strip() for name in environment.get(VISIBLE, "").split(",")]
    return names if names and all(name.startswith("MIG-") for name in names) else []


@cache
def claim_gpu(names: tuple[str, ...], world: World, folder: Path | None = None) -> int:
    """The number of the GPU that this process is to use, the same one whenever it asks. No two of a team get the same.

    Args:
        names: The GPUs that this process sees, in their order; what they are called everywhere on this machine.
        world: The processes that work together.
        folder: Where the locks lie; None: see ``lock_folder``, in the system's temporary directory.

    Raises:
        WsssError: More processes of a team than GPUs, or the locks cannot be written.
    """
    count, together = len(names), world.size > 1
    too_few = (
        f"{world.local_size} processes on this machine want a GPU each, and it has {count}; start fewer, or use "
        "--device cpu"
    )
    if 1 < count < world.local_size:
        raise WsssError(too_few)
    folder = folder or lock_folder(Path(tempfile.gettempdir()))
    free = False
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for others in range(MOST):
            for number, name in enumerate(names):
                ours = _hold(folder / f"{name}.team-{world.port}") if together else None
                if together and ours is None:
                    continue
                free = True
                if _hold(folder / f"{name}.{others}") is not None:
                    if others:
                        log.warning("all %d GPUs are in use: number %d is shared", count, number)
                    return number
                if ours is not None:
                    os.close(ours)
    except OSError as error:
        if count == 1 and not together:  # there is nothing to choose
            return 0
        raise WsssError(f"{folder}: the locks of GPUs cannot be written ({error.strerror}); set TMPDIR") from error
    if together and not free:
        raise WsssError(too_few)
    raise WsssError(f"{MOST} processes use each of the {count} GPUs; wait for some of them")


def lock_folder(base: Path) -> Path:
    """The folder of locks below a directory that all users of a machine share, made by whoever comes first; one of the
    user's own where somebody put something else in its place."""
    shared = base / "wsss-gpus"
    with contextlib.suppress(FileExistsError):
        shared.mkdir()
        shared.chmod(OPEN)  # whatever the umask
    if stat.S_ISDIR(mode := shared.lstat().st_mode) and mode & OPEN == OPEN:
        return shared
    own = base / f"wsss-gpus-{os.getuid()}"
    log.warning("%s is no folder that all may write to; GPUs that other users' jobs hold are not seen", shared)
    return own


def _hold(path: Path) -> int | None:
    """Lock a file for as long as this process lives; None: another one has it. Other users may lock it, too."""
    try:  # not O_CREAT at once: Linux lets nobody create what another user has in a folder that all may write to
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another one was faster
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(made, 0o644)
            os.close(made)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
