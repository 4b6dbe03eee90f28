"""The lines that a person sees of a run."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

TARGETS = ("default", "all", "ablation", "explain", "beyond")
"""Jobs of Snakemake that make nothing themselves; others of their kind begin with ``all_``."""
TAIL = 12
"""Lines of the log of a job that failed."""
STOPPED = (": stopped by ", "KeyboardInterrupt")
"""What a stage says last that ends because somebody stopped it, or Python before a stage has begun."""
LOOKED_AT = 4
"""Lines in which that is looked for: the processes of a training each say it, and a launcher may add a word."""
END_OF_LOG = 4096
"""Bytes of a log in which its last lines are looked for."""
EVERY = 1.0
"""Seconds between two looks at what is at work, on a terminal."""
PASSED_ON = ("Will exit", "Terminating", "Trying to restart", "Removing output files", "Nothing to be done")
"""Beginnings of those remarks of Snakemake that a person should see; warnings are all passed on."""


@dataclass
class Job:
    """A job at work: what it is, where its log lies, since when."""

    title: str
    folder: str
    log: str
    since: float


class Screen:
    """Writes what happens to a stream; on a terminal, the last line tells what is at work.

    Args:
        stream: A terminal or any other stream.
        seconds: What the jobs are expected to take, by the folder that they make; may lack any.
        results: Folders of datasets; if all goes well their result is told at the end.
        now: The clock, in seconds.
    """

    def __init__(
        self, stream: TextIO, seconds: Mapping[str, float], results: Sequence[str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.stream, self.seconds, self.results, self.now = stream, dict(seconds), list(results), now
        self.total = self.done = 0
        self.jobs: dict[Any, Job] = {}
        self.failures: list[str] = []
        self.errors: list[str] = []
        self.up_to_date = self.stopped = self.halted = self.closed = False
        self.raw = ""
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.live and not os.environ.get("NO_COLOR")
        self._lock = threading.RLock()
        self._ended = threading.Event()
        if self.live:
            threading.Thread(target=self._refresh, daemon=True).start()

    # --- what happens ---------------------------------------------------------------------------------------------

    def planned(self, stats: Mapping[str, int]) -> None:
        """How many jobs of each rule there are, with their ``total``."""
        if self.total:
            return
        aside = sum(number for rule, number in stats.items() if _is_target(rule))
        self.total = max(0, int(stats.get("total", 0)) - aside)
        if self.total:
            left = self._left()
            self._line(f"{_jobs(self.total)} to do" + (f", about {spell(left)}" if left is not None else ""))

    def begun(self, id: Any, title: str, output: Sequence[str], log: Sequence[str]) -> None:
        """A job was started."""
        if not _is_target(title):
            folder = str(PurePosixPath(output[0]).parent) if output else ""
            with self._lock:
                self.jobs[id] = Job(title, folder, log[0] if log else "", self.now())

    def finished(self, id: Any) -> None:
        """A job is done."""
        with self._lock:
            job = self.jobs.pop(id, None)
            if job is None:
                return
            self.done += 1
            self.seconds.pop(job.folder, None)
            width = len(str(self.total))
            place = f"[{self.done:{width}}/{self.total}]" if self.total else f"[{self.done}]"
            self._line(f"{self._paint(place, '32')} {job.title}  {spell(self.now() - job.since)}")

    def failed(self, id: Any, log: Sequence[str]) -> None:
        """A job failed: the end of its log is shown. One that was stopped is no failure: it resumes."""
        with self._lock:
            job = self.jobs.pop(id, None)
            title = job.title if job is not None else f"job {id}"
            if any(word in line for path in log[:1] for line in last_lines(Path(path), LOOKED_AT) for word in STOPPED):
                self.stopped = self.halted = True
                self._line(f"{self._paint('stopped', '33')} {title}")
                return
            self.failures.append(title)
            lines = [self._paint(f"FAILED {title}", "31")]
            for path in log[:1]:
                lines += [f"    {line}" for line in last_lines(Path(path), TAIL)]
                lines.append(f"  its whole log: {path}")
            self._line("\n".join(lines))

    def error(self, text: str) -> None:
        """Something is wrong. It is told at the end, unless it is about a job that was stopped, or that failed, whose
        log tells more."""
        self.errors.append(text.strip())

    def said(self, text: str, level: int) -> None:
        """A remark of Snakemake."""
        if text.startswith("Complete log(s): "):
            self.raw = text.removeprefix("Complete log(s): ")
        elif text.startswith("Nothing to be done"):
            self.up_to_date = True
        elif level >= logging.WARNING or text.startswith(PASSED_ON):
            self.stopped |= text.startswith(("Will exit", "Terminating"))
            self._line(text.strip())

    def close(self) -> None:
        """Say how it ended."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._ended.set()
            self._wipe()
            whole = self.up_to_date or self.total and self.done == self.total
            for text in [] if self.failures or self.halted else filter(None, self.errors):
                self._line(self._paint(text, "31"))
            if self.failures or self.stopped or self.total and not whole:
                self._line(self._unfinished())
            elif whole and not self.errors:
                self._line("Everything is up to date." if self.up_to_date else f"{_jobs(self.done)} done.")
        if whole and not self.errors and not self.failures and self.results:
            self.stream.flush()
            words = [sys.executable, "-m", "wsss.report.ending", *self.results]
            subprocess.run(words, stdout=self.stream if _has_number(self.stream) else None, check=False)

    def _unfinished(self) -> str:
        what = f"{_jobs(len(self.failures))} failed" if self.failures else "stopped"
        again = "fix what the log says, then give" if self.failures else "give"
        done = f"{self.done} of {_jobs(self.total)} done" if self.total else "nothing was done"
        raw = f"\nSnakemake's log: {self.raw}" if self.raw else ""
        return f"{what}, {done}: {again} the same command again, what is done is kept{raw}"

    # --- how it is written ----------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        with self._lock:
            self._wipe()
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def _wipe(self) -> None:
        if self.live:
            self.stream.write("\r\x1b[K")

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours else text

    def _refresh(self) -> None:
        """The last line of a terminal, once a second."""
        while not self._ended.wait(EVERY):
            with self._lock:
                if self.jobs and not self._ended.is_set():
                    width = shutil.get_terminal_size().columns - 1
                    self._wipe()
                    self.stream.write(self.status()[:width])
                    self.stream.flush()

    def status(self) -> str:
        """What is at work, how far it is by its log, and what is left of the run."""
        left = self._left()
        run = f"{self.done}/{self.total}" + (f", about {spell(left)} left" if left is not None else "")
        at_work = []
        for job in list(self.jobs.values()):
            told = last_lines(Path(job.log), 1) if job.log else []
            far = told[0].strip() if told and "/s, " in told[0] else spell(self.now() - job.since)
            at_work.append(f"{job.title}: {far}")
        return f"[{run}] {' | '.join(at_work)}"

    def _left(self) -> float | None:
        """Seconds until the end, one job after the other; None unless it is known of every job that is left."""
        if not self.total or len(self.seconds) < self.total - self.done:
            return None
        spent = {job.folder: self.now() - job.since for job in self.jobs.values()}
        return sum(max(0.0, expected - spent.get(folder, 0.0)) for folder, expected in self.seconds.items())


def _is_target(rule: str) -> bool:
    return rule in TARGETS or rule.startswith("all_")


def _jobs(number: int) -> str:
    return f"{number} job{'s' * (number != 1)}"


def _has_number(stream: TextIO) -> bool:
    """Whether a process can write to the stream."""
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def spell(seconds: float) -> str:
    """``3 s``, ``12 min``, ``7.5 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def last_lines(path: Path, number: int) -> list[str]:
    """The last lines of a log that are not empty; of a bar that was drawn over itself, what was seen last. Nothing
    where there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - END_OF_LOG))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-number:]
