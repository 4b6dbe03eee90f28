"""Shares of a list of images, for jobs that make one artefact together: which images, which lock, which receipt.

Jobs with ``--shard 0/3``, ``1/3`` and ``2/3`` leave what they made in ``OUT/parts``; the same program without
``--shard`` puts it together and makes what is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import os
import platform
import pwd
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wsss.errors import WsssError
from wsss.provenance.outputs import PARTS
from wsss.runtime.owners import owned
from wsss.system.log import log

Item = TypeVar("Item")
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@dataclass(frozen=True)
class Shard:
    """Share ``number`` (from 0) of ``total``: neighbours in the list, as many in each, give or take one."""

    number: int
    total: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """``"0/3"``. Raises ``ArgumentTypeError`` for anything else."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not int(found[1]) < int(found[2]):
            raise argparse.ArgumentTypeError(f"{text!r} is no I/N with I from 0 to N - 1, like 0/3")
        return cls(int(found[1]), int(found[2]))

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This share of a list; the shares together are the list."""
        return list(items[self.number * len(items) // self.total : (self.number + 1) * len(items) // self.total])

    def receipt(self, out: Path) -> Path:
        """The file that says that this share of an artefact is made."""
        return out / PARTS / f"{self}.json"

    def __str__(self) -> str:
        return f"{self.number}-of-{self.total}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a stage whose images jobs may share."""
    parser.add_argument(
        "--shard", type=Shard.read, metavar="I/N",
        help="only share I (from 0) of N of the images; without it afterwards, the program keeps what is made, makes "
        "what is missing and writes the artefact",
    )  # fmt: skip
    parser.add_argument(
        "--gather", type=int, default=1, metavar="N", help="other jobs made N shares: say what they lack, and record it"
    )


@contextlib.contextmanager
def locked(out: Path, shard: Shard | None = None) -> Iterator[None]:
    """Refuse to run beside another copy of the same work: a whole stage runs alone in its folder, a share beside other
    shares. Locks die with their process, however that ends; where the file system's lie, records of owners count
    (``wsss.runtime.owners``).

    Raises ``WsssError`` that names who is at work there."""
    with contextlib.ExitStack() as stack:
        what = f"shard {shard}" if shard else ""
        who = f"process {os.getpid()} on {platform.node()}" + (f", {what}" if what else "")
        locks = [(out / ".lock", shard is None)] + ([] if shard is None else [(out / PARTS / f".lock-{shard}", True)])
        for path, alone in locks:
            _hold(stack, out, path, who, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            stack.enter_context(owned(out, path, alone, what))
        yield


def owner(path: Path) -> str:
    """The name of the user to whom a file belongs, or their number."""
    number = next(one for one in (path, *path.parents) if one.exists()).stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _hold(stack: contextlib.ExitStack, out: Path, path: Path, who: str, how: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(path.open("a+"))
    except PermissionError:
        raise WsssError(
            f"{out}: these are the results of another user ({owner(path)}), and you may not write here; ask them to "
            "share the folder (chmod -R g+w), give your run another 'results', or take what you need with wsss adopt"
        ) from None
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            file.seek(0)
            raise WsssError(
                f"{out}: another copy of this stage is at work here ({file.read().strip()}); wait for it or stop it"
            ) from None
        log.warning("%s: this file system has no locks (%s); records of owners take their place", out, error)
    file.truncate(0)
    file.write(who)
    file.flush()
    os.register_at_fork(after_in_child=file.close)  # a worker that outlives this process must not hold its lock
