"""How a stage ends when it does not end well: one sentence, an exit code, and no process left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.system.failures import DiskFull, describe

TRY_AGAIN = 75
"""Exit code of a stage that was told to stop and saved its state (EX_TEMPFAIL of sysexits)."""
USER_ERROR = 2
ECHO = 10.0
"""Seconds in which a second signal is taken for the echo of the first."""


class Interrupted(Exception):
    """A signal asked the stage to stop, and its state is saved."""

    exit_code = TRY_AGAIN


class Stoppable:
    """Work that a signal may ask to stop.

    Attributes:
        stop: Name of the signal that asked, or None.
    """

    stop: str | None = None

    def check_stop(self) -> None:
        """Raise ``Interrupted`` if a signal has asked to stop."""
        if self.stop:
            raise Interrupted(self.stop)


@contextlib.contextmanager
def orderly(program: str, out: Path) -> Iterator[None]:
    """End the process with a sentence and a code of its own after whatever the block raises, but after an error that
    nobody foresaw.

    2 after a ``WsssError``, 1 after a mishap (``wsss.system.failures``), 75 after a signal that was obeyed, 130 after
    Ctrl-C. A helper thread that dies ends the process too: the main thread would wait for it.
    """

    def thread_died(died: threading.ExceptHookArgs) -> None:
        said = describe(died.exc_value, out) if died.exc_value is not None else None
        if said is None:
            traceback.print_exception(died.exc_type, died.exc_value, died.exc_traceback)
        _end(program, FAILED, f"error: {said or f'{out}: a thread died'}", at_once=True)

    before, threading.excepthook = threading.excepthook, thread_died
    try:
        yield
    except WsssError as error:
        _end(program, USER_ERROR, f"error: {error}", at_once=isinstance(error, DiskFull))
    except (Interrupted, Lost) as reason:
        _end(program, TRY_AGAIN, f"stopped by {reason}; state is saved, the same command resumes")
    except KeyboardInterrupt:
        _end(program, 128 + signal.SIGINT, "stopped by Ctrl-C; the same command resumes from what is saved")
    except Exception as error:
        said = describe(error, out)
        if said is None:
            _end_children()
            raise
        _end(program, FAILED, f"error: {said}", at_once=True)
    finally:
        threading.excepthook = before


def _end(program: str, code: int, message: str, at_once: bool = False) -> None:
    """``at_once``: without the cleaning up of libraries, in which HDF5 crashes if it could not write and threads wait
    for one another."""
    print(f"{program}: {message}", file=sys.stderr, flush=True)
    _end_children()
    if at_once:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _end_children() -> None:
    """Kill the worker processes that are left. They wait for work that will not come, and this process would wait for
    them."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes each of these deaths for an error
    for process in multiprocessing.active_children():
        process.kill()


@contextlib.contextmanager
def signals(run: Stoppable) -> Iterator[None]:
    """SIGTERM and SIGUSR1 (a cluster's preemption) set ``run.stop``; a later one ends the process at once.

    A process may hear an order twice, from the cluster and from its launcher."""
    heard = time.monotonic()

    def handler(number: int, _frame: Any) -> None:
        nonlocal heard
        if run.stop is None:
            run.stop, heard = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - heard > ECHO:
            os._exit(128 + number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


FAILED, TRY_AGAIN = 1, 75
"""Exit codes: an error that nobody foresaw; another process was lost. Other errors have their own ``exit_code``."""


class Lost(Exception):
    """Another process of the run is gone: killed, or its machine or network failed."""

    def __str__(self) -> str:
        return "the loss of another process of this run (killed, out of memory, or its machine or network failed)"
