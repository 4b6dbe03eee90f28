"""A free GPU for each process of a machine, without anybody who hands them out.

A process holds the lock of its GPU as long as it lives. Where others hold all of them, it shares the one that the
fewest do: a machine may be asked for more jobs at once than it has GPUs.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.launch import World
from wsss.system.log import log

MOST = 64
"""Processes that may share a GPU."""


@cache
def claim_gpu(count: int, world: World, folder: Path | None = None) -> int:
    """The number of the GPU that this process is to use, the same one whenever it asks. No two of a team get the same.

    Args:
        count: GPUs of this machine.
        team: The processes that work together.
        folder: Where the locks lie; None: in the system's temporary directory, one folder per user.

    Raises:
        WsssError: More processes of a team than GPUs, or the locks cannot be written.
    """
    if world.local_size > count:
        raise WsssError(
            f"{world.local_size} processes on this machine want a GPU each, and it has {count}; start fewer, or use "
            "--device cpu"
        )
    if count == 1:
        return 0
    folder = folder or Path(tempfile.gettempdir()) / f"wsss-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for others in range(MOST):
            for gpu in range(count):
                ours = _hold(folder / f"{gpu}.team-{world.port}") if world.size > 1 else None
                if world.size > 1 and ours is None:
                    continue
                if _hold(folder / f"{gpu}.{others}") is not None:
                    if others:
                        log.warning("all %d GPUs are in use: number %d is shared", count, gpu)
                    return gpu
                if ours is not None:
                    os.close(ours)
    except OSError as error:
        raise WsssError(f"{folder}: the locks of GPUs cannot be written ({error.strerror}); set TMPDIR") from error
    raise WsssError(f"{MOST} processes use each of the {count} GPUs; wait for some of them")


def _hold(path: Path) -> int | None:
    """Lock a file for as long as this process lives; None: another one has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
