"""Progress on stderr: a bar on a terminal, a line every so often in a log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

from wsss.system.log import log

LINE_SECONDS = 20.0


class Progress:
    """Counts steps towards ``total``; use as a context manager.

    Args:
        total: Steps altogether.
        done: Steps already done.
        what: A word for the bar.
        shown: False for silence (other processes of a run).
    """

    def __init__(self, total: int, done: int = 0, what: str = "", shown: bool = True) -> None:
        self.total, self.done, self.what = total, done, what
        self.shown = shown and log.isEnabledFor(logging.INFO)
        self.begun = self.last = time.monotonic()
        self.first, self.note = done, ""
        self.bar = tqdm(total=total, initial=done, desc=what) if self.shown and sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, note: str = "") -> None:
        """One step done; ``note`` (if any) replaces what is shown beside the count."""
        self.done += 1
        self.note = note or self.note
        if self.bar is not None:
            self.bar.update()
            if note:
                self.bar.set_postfix_str(note)
        elif self.shown and (time.monotonic() - self.last > LINE_SECONDS or self.done == self.total):
            self.last = time.monotonic()
            rate = (self.done - self.first) / max(1e-9, self.last - self.begun)
            left = (self.total - self.done) / max(1e-9, rate)
            log.info(f"{self.what} {self.done}/{self.total}, {rate:.2f}/s, {left:.0f} s left {self.note}")
