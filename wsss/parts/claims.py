"""Pieces of work that several jobs take from one heap: whoever holds a piece's lock makes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process holds a lock file for the block; False where another one does. Locks die with their process.

    On a file system without locks everybody holds it: work is done twice, with one result."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                yield False
                return
        yield True
