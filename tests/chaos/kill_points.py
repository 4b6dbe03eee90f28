"""Moments inside a stage: each step that changes its artefact folder, counted while it runs.

A moment lies before a file is opened for writing, renamed, removed, truncated or flushed, before a folder is made or
removed, and before and after each call of the libraries that write files without Python's knowledge. Processes that
the stage forks count their own moments, and for them opening a file for reading is one too. The first moments of a
stage are those in which it moves other artefacts away or its own back; there is a count of these alone.

What was flushed to the disk is written down as well: a power cut (``kills``) spares only that.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
NEVER = -1


@dataclass
class Points:
    """Counts moments and acts at one of them.

    Attributes:
        checkout: Absolute folder of the chain; in forked processes, whatever is opened below it counts.
        inside: Absolute artefact folder, and the one beside it of what is kept; in the stage's own process, only what
            changes them counts.
        notes: File that takes down what was flushed, and the counts if ``recording``.
        at: Number of the moment, from 1, or ``NEVER``.
        in_worker: Whether the moment is one of a forked process.
        act: What happens then.
        recording: Note the number of moments.
    """

    checkout: str
    inside: tuple[str, ...]
    notes: Path
    at: int = NEVER
    act: Callable[[], None] = lambda: None
    in_worker: bool = False
    recording: bool = False
    reached: int = 0

    def install(self) -> None:
        """Watch this process and those that it forks from now on."""
        self.main = os.getpid()
        os.register_at_fork(after_in_child=self._start_anew)
        sys.addaudithook(self._hear)
        self._watch_libraries()
        self._watch_flushes()
        if self.recording:
            atexit.register(self._record)
            self._watch_moves()

    def _start_anew(self) -> None:
        self.reached = 0

    def _record(self) -> None:
        if os.getpid() == self.main:
            note(self.notes, points=self.reached, peak=address_space("VmPeak"))

    def reach(self) -> None:
        """One moment more."""
        in_worker = os.getpid() != self.main
        self.reached += 1
        if self.recording and in_worker:
            note(self.notes, worker_points=self.reached)
        if self.reached == self.at and in_worker == self.in_worker:
            self.act()

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, flags = args[0], args[2]
            if isinstance(path, (str, bytes, os.PathLike)) and self._counts(path, bool(flags & WRITING)):
                self.reach()
        elif event in CHANGES:
            beside_descriptor = event != "os.truncate" and args[-1] not in (None, -1)
            if beside_descriptor or (not isinstance(args[0], int) and self._counts(args[0], True)):
                self.reach()

    def _counts(self, path: Any, changes: bool) -> bool:
        path = os.path.abspath(os.fsdecode(path))
        if os.getpid() != self.main:
            return path.startswith(self.checkout)
        return changes and path.startswith(self.inside)

    def _watch_libraries(self) -> None:
        import h5py
        import torch

        import wsss.store.weights

        for owner, name in (
            (h5py.File, "__init__"), (h5py.File, "close"), (h5py.Dataset, "__setitem__"), (h5py.Dataset, "resize"),
            (torch, "save"), (wsss.store.weights, "save_file"),
        ):  # fmt: skip
            setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.reach()
            result = function(*args, **kwargs)
            self.reach()
            return result

        return watched

    def _watch_moves(self) -> None:
        """Note how many moments there are until the stage's work begins."""
        from wsss.runtime.run import Run

        is_needed = Run.is_needed

        def noted(run: Run) -> bool:
            needed = is_needed(run)
            note(self.notes, moving=self.reached)
            return needed

        Run.is_needed = noted

    def _watch_flushes(self) -> None:
        """Note what is on the disk: a file by ``os.fsync``, or all that was written before by ``flush_all``."""
        import wsss.cli.adopt
        import wsss.runtime.program
        import wsss.store.manifest

        fsync, flush_all = os.fsync, wsss.system.files.flush_all

        def noted(descriptor: int) -> None:
            self.reach()
            found = os.fstat(descriptor)
            fsync(descriptor)
            note(self.notes, file=[found.st_dev, found.st_ino, found.st_mtime_ns])

        def noted_all(folder: Path) -> None:
            self.reach()
            now = time.time_ns()
            flush_all(folder)
            note(self.notes, before=now)

        os.fsync = noted
        for module in (
            wsss.store.manifest,
            wsss.runtime.program,
            wsss.cli.adopt,
        ):  # these know it by names of their own
            module.flush_all = noted_all


def note(path: Path, **facts: Any) -> None:
    """Append a line, whole even when several processes write and whatever happens next."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, (json.dumps(facts) + "\n").encode())
    finally:
        os.close(descriptor)


def read_notes(path: Path) -> list[dict[str, Any]]:
    """What was noted so far; nothing where the file is absent."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in path.read_text().splitlines()]
    return []


def address_space(key: str = "VmSize") -> int:
    """Bytes of address space of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    return 0
