"""Errors that no setting caused, each as one sentence for people: a full disk, too little memory, a process that was
killed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from wsss.errors import WsssError

_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would grow too large for this disk or for the limit of this shell (ulimit -f)",
}
AGAIN = "and give the same command again; what is done is kept"
_GPU = "CUDA out of memory"
_MEMORY = (
    "MemoryError", "std::bad_alloc", "Cannot allocate memory", "can't allocate memory", "can't start new thread",
    "cannot join thread before it is started", "failed to map segment", "unable to mmap", "Unable to allocate",
    "could not create a primitive",  # oneDNN
)  # fmt: skip
_KILLED = (
    "is killed by signal",
    "DataLoader timed out",
    "exited unexpectedly",
    "ConnectionResetError",
    "Connection reset by peer",
)
SMALL = 1 << 16
"""Free bytes below which a disk counts as full where a library does not say why it could not write."""


class DiskFull(WsssError):
    """A file could not be written for want of space."""


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn the error of a full disk in the block, whichever library raised it, into a ``DiskFull`` that names
    ``path``."""
    try:
        yield
    except Exception as error:
        reason = _of_the_disk(error) or _is_full(Path(path).parent)
        if reason is None or isinstance(error, WsssError):
            raise
        raise DiskFull(f"{path}: {reason}; make room {AGAIN}") from error


def describe(error: BaseException, folder: Path) -> str | None:
    """What happened while ``folder`` was made, and what to do; None for an error that is none of these."""
    if (reason := _of_the_disk(error)) is not None:
        return f"{folder}: {reason}; make room {AGAIN}"
    chain = list(_chain(error))
    said = " ".join(f"{type(one).__name__}: {one}" for one in chain)
    if _GPU in said:
        cure = "the GPU's memory is full; lower 'batch_size' (or 'crop', or 'max_side' and 'scales')"
    elif any(getattr(one, "errno", None) == errno.ENOMEM for one in chain) or any(sign in said for sign in _MEMORY):
        first = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        cure = f"out of memory ({first[:120]}); give the job more, or lower --threads (each takes its own)"
    elif any(sign in said for sign in _KILLED):
        cure = "a process that loads images died (out of memory?); give the job more memory, or lower --threads"
    else:
        return None
    return f"{folder}: {cure}, {AGAIN}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_the_disk(error: BaseException) -> str | None:
    for one in _chain(error):
        for number, reason in _DISK.items():
            if isinstance(one, OSError) and one.errno == number:
                return reason
            # libraries that are not written in Python pass the number on in words
            if any(sign in str(one) for sign in (f"os error {number})", f"errno = {number},", f"[Errno {number}]")):
                return reason
    return None


def _is_full(folder: Path) -> str | None:
    with contextlib.suppress(OSError):
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < SMALL:
            return _DISK[errno.ENOSPC]
    return None
