"""Worker processes over a list: results in the order of the list, failures collected and named."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

from wsss.errors import WsssError
from wsss.system.failures import DiskFull
from wsss.system.progress import Progress

Item = TypeVar("Item")
ORDERS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Signals by which a cluster or a person stops a job."""
_PR_SET_PDEATHSIG = 1
_work: Callable[[Any], Any]  # set once in each worker, so that the work is not sent with every item
_number = 0


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back the orders to stop while the block starts processes.

    A cluster signals every process of a job. A process that has begun, and does not ignore the order yet, would die of
    it (torch gives loader processes a handler of its own); it begins with the mask of this thread, and loses it in
    :func:`obey_the_parent`. Here the order arrives after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_the_parent(parent: int | None = None) -> None:
    """Called in a process that was started: its parent decides when to stop, and on Linux it dies with the parent, even
    when that is killed outright. ``parent``: its number; where that process is gone already, this one ends."""
    for number in ORDERS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent not in (None, os.getppid()):  # it was killed before it could be watched
        os._exit(1)


def over(
    items: Sequence[Item], work: Callable[[Item], Any], threads: int, name: str, id_of: Callable[[Item], str] = str
) -> Iterator[Any]:
    """Yield ``work(item)`` for every item, in order, from ``threads`` processes (1: from this one).

    ``name`` heads the lines of progress on stderr. All items are tried; then a :class:`WsssError` lists the ids of
    those that raised one. Any other exception is passed on with the worker's traceback.
    """
    threads = max(1, min(threads, len(items)))
    failures: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        if threads == 1:
            results: Any = (_tried(work, item) for item in items)
        else:
            # a fork starts at once and shares what is loaded; the work itself must not hold locks
            method = "fork" if sys.platform == "linux" else "spawn"
            context = multiprocessing.get_context(method)
            pool = ProcessPoolExecutor(threads, context, _start, (work, os.getpid(), context.Value("i", 0)))
            stack.push(partial(_end, pool))
            with signals_held():
                results = pool.map(_call, items, chunksize=max(1, min(16, len(items) // (4 * threads))))
        try:
            progress = stack.enter_context(Progress(len(items), what=name))
            for item, (error, result) in zip(items, results, strict=True):
                progress.advance()
                if error is None:
                    yield result
                else:
                    failures.append((id_of(item), error))
        except BrokenProcessPool:
            raise WsssError(f"{name}: a worker process was killed (out of memory?); use fewer threads") from None
    fail_with(failures, len(items), name)


def fail_with(failures: Sequence[tuple[str, str]], tried: int, name: str) -> None:
    """Raise ``WsssError`` with the ids and the errors of those that failed, if any."""
    if failures:
        shown = "\n".join(f"  {id}: {error}" for id, error in failures[:20])
        more = f"\n  ... and {len(failures) - 20} more" if len(failures) > 20 else ""
        raise WsssError(f"{name}: {len(failures)} of {tried} failed:\n{shown}{more}")


def _end(pool: ProcessPoolExecutor, kind: type[BaseException] | None, *_: object) -> None:
    """Workers that are no longer wanted are not waited for: a cluster gives a job that it stops half a minute."""
    if kind is not None:
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.kill()
    pool.shutdown(cancel_futures=True)


def worker_number() -> int:
    """Which of the processes of ``over`` this is, from 1; 0 in any other. No two that one process has at a time have
    the same, and those of its next list have the same numbers again."""
    return _number


def _start(work: Callable[[Any], Any], parent: int, begun: Synchronized[int]) -> None:
    global _work, _number
    _work = work
    obey_the_parent(parent)
    with begun.get_lock():
        begun.value += 1
        _number = begun.value
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _call(item: Any) -> tuple[str | None, Any]:
    return _tried(_work, item)


def _tried(work: Callable[[Any], Any], item: Any) -> tuple[str | None, Any]:
    try:
        return None, work(item)
    except DiskFull:  # nor is there room for the other items
        raise
    except WsssError as error:
        return str(error), None
    except Exception as error:
        raise RuntimeError(f"while working on {item!r}:\n{traceback.format_exc()}") from error
