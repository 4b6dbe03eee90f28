"""How the processes of one training meet, and how they end together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from wsss.errors import WsssError
from wsss.system.exit import FAILED, TRY_AGAIN, Lost
from wsss.system.launch import World
from wsss.system.log import log

MEETING = 300.0
"""Seconds that processes wait for each other at the start: nodes may import torch from a slow disk."""

PATIENCE = 900.0
"""Seconds that a process waits for the others' numbers in a step: a checkpoint may be written meanwhile, or images come
from a slow disk."""

SILENCE = 120
"""Seconds, of those in which this process itself was at work, after which another one counts as gone that has shown no
sign of life. A thread shows it, whatever the process waits for; NCCL would notice after ``PATIENCE``."""

GRACE = 5.0
"""Seconds that a process has to end by itself when another one has failed."""

LEAVING = 10.0
"""Seconds to wait until all have heard how the run ended."""


@contextlib.contextmanager
def joined(world: World, backend: Callable[[], str]) -> Iterator[None]:
    """Bring the processes of a team together for a block, and end them together.

    On leaving: all wait until the first process has left the block, which is when the artefact is whole. Where some
    fail, the first to do so raises its own error here; the others exit with its code, without a word.

    Args:
        team: With one process nothing happens.
        backend: Called when all have met: ``nccl`` on GPUs, ``gloo`` on CPUs.

    Raises:
        WsssError: The processes do not find each other.
        Lost: Another one is gone.
    """
    if world.size == 1:
        yield
        return
    import torch.distributed as dist

    meeting = _Meeting(world)
    watch = _Watch(world, meeting)
    own: BaseException | None = None
    try:
        store = meeting.prefixed("group", meeting.client())
        patience = timedelta(seconds=PATIENCE)
        dist.init_process_group(backend(), store=store, rank=world.rank, world_size=world.size, timeout=patience)
        yield
        if world.rank:
            meeting.wait()
    except BaseException as error:  # exits and Ctrl-C too: the others must hear of them
        own = error
    finally:
        watch.stop()
    first, code = meeting.end(own)
    if own is None and code == 0:
        dist.destroy_process_group()
        return
    if own is not None and first == world.rank:
        raise own
    sys.exit(code)


class _Meeting:
    """Where the processes of a team tell each other how the run ended: a key-value store at the first one.

    Attributes:
        name: Key of the end: ``[rank, exit code]`` of the process that decided it.
    """

    name = "end"

    def __init__(self, world: World) -> None:
        # torch documents both there
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        self.world, self.tcp, self.prefixed = world, TCPStore, PrefixStore
        try:
            self.server = None
            if world.rank == 0 and not world.hosted:
                self.server = TCPStore(world.address, world.port, is_master=True, wait_for_workers=False)
            self.store = self.client()
            self.store.add("met", 1)
            deadline = time.monotonic() + MEETING
            while self.store.add("met", 0) < world.size:
                if time.monotonic() > deadline:
                    raise WsssError(
                        f"only {self.store.add('met', 0)} of {world.size} processes came to {world.address}, port "
                        f"{world.port}, within {MEETING:.0f} s; see the messages of the others"
                    )
                time.sleep(0.05)
        except RuntimeError as error:
            what = str(error).strip().splitlines()[0]
            raise WsssError(
                f"{world} cannot meet the others at {world.address}, port {world.port} ({what}); if another program "
                "has that port, or the name is not known on this machine, set MASTER_PORT or MASTER_ADDR"
            ) from error

    def client(self) -> Any:
        """A connection of one's own: one that waits would hold up all who share it."""
        world, limit = self.world, timedelta(seconds=MEETING)
        store = self.tcp(world.address, world.port, is_master=False, wait_for_workers=False, timeout=limit)
        return self.prefixed(f"wsss/{world.attempt}", store)

    def ended(self, store: Any) -> tuple[int, int] | None:
        """Who decided how the run ends, and the exit code; None: it goes on. Raises ``RuntimeError`` if unreachable."""
        return tuple(json.loads(store.get(self.name))) if store.check([self.name]) else None

    def wait(self) -> None:
        """Wait until the run has ended. However long the first process writes, its death is noticed."""
        try:
            while self.ended(self.store) is None:
                time.sleep(0.1)
        except RuntimeError as error:
            raise Lost from error

    def end(self, error: BaseException | None) -> tuple[int, int]:
        """Say how this process ended, unless another one has said it already; wait until all know.

        Raises:
            Lost: This process failed because another one is gone.
        """
        # torchrun stops those that are left as soon as one has gone; they are as good as gone
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        try:
            lost = error is not None and _is_of_the_network(error)
            if lost and self.ended(self.store) is None:
                time.sleep(1)  # a process that failed says so before it goes; one that was killed does not
            said = [self.world.rank, TRY_AGAIN if lost else _code(error)]
            verdict = tuple(json.loads(self.store.compare_set(self.name, "", json.dumps(said))))
            self.leave(self.store)
            deadline = time.monotonic() + (1 if lost else LEAVING)
            while self.store.add("left", 0) < self.world.size and time.monotonic() < deadline:
                time.sleep(0.05)
        except RuntimeError as gone:
            if error is None or _is_of_the_network(error):
                raise Lost from gone
            raise error from None
        if lost and verdict[0] == self.world.rank:
            raise Lost from error
        return verdict

    def alive(self, store: Any) -> int:
        """Show a sign of life, and count those of the next process. Each watches one other, so that what they ask the
        first one's machine grows with their number and not with its square."""
        store.add(f"alive {self.world.rank}", 1)
        signs: int = store.add(f"alive {self.next}", 0)
        return signs

    @property
    def next(self) -> int:
        """The process that this one watches."""
        return (self.world.rank + 1) % self.world.size

    def lost(self, store: Any) -> None:
        """Say that the process that this one watches is gone, so that all end and the run is tried again."""
        store.compare_set(self.name, "", json.dumps([self.next, TRY_AGAIN]))

    @staticmethod
    def leave(store: Any) -> None:
        store.add("left", 1)


class _Watch:
    """Ends a process that waits for one that has failed, or that is gone without a word. On a GPU it may wait in a
    place where no exception reaches."""

    def __init__(self, world: World, meeting: _Meeting) -> None:
        self.world, self.meeting, self.over = world, meeting, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        verdict: tuple[int | None, int] | None = None
        try:
            store = self.meeting.client()
            heard, silent = 0, 0
            while not self.over.wait(1.0) and verdict is None:
                signs = self.meeting.alive(store)
                heard, silent = signs, 0 if signs != heard else silent + 1
                if silent == SILENCE:
                    gone = replace(self.world, rank=self.meeting.next)
                    log.error(
                        "%s has shown no sign of life for %d s: all end, and the stage is tried again", gone, silent
                    )
                    self.meeting.lost(store)
                verdict = self.meeting.ended(store)
        except RuntimeError:
            verdict = None, TRY_AGAIN
        if verdict is None or verdict[1] == 0 or self.over.wait(GRACE):
            return
        if verdict[0] is None:
            log.error("%s was stopped by %s", self.world, Lost())
        else:
            with contextlib.suppress(RuntimeError):
                self.meeting.leave(store)
        os._exit(verdict[1])


def _is_of_the_network(error: BaseException) -> bool:
    """Whether torch reports that another process does not answer. gloo has no type of error for it."""
    return type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError") or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "Connection" in str(error))
    )


def _code(error: BaseException | None) -> int:
    """The exit code that a stage gives an error."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    return 0 if error is None else getattr(error, "exit_code", FAILED)
