"""Runs stages in forks of this process, which has imported everything: an attempt costs no start of Python.

A fork copies one thread alone, so nothing here may start threads; ``check_alone`` sees to it.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import os
import pkgutil
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checkout import WSSS, Job

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
ONE_THREAD["OMP_WAIT_POLICY"] = "passive"  # as stages set it before they import torch
QUIET = 60.0
"""A stage whose processes all sleep for so many seconds hangs. (Time alone tells nothing where the cores are busy.)"""


@dataclass
class Ended:
    """How an attempt ended: exit code (negative: the signal that ended it), or None where it hung; seconds; what it
    said; its session, whose number is that of its processes' group."""

    code: int | None
    seconds: float
    said: str
    session: int


class Processes:
    """Starts stages of the checkout ``root`` in the folder ``checkout``."""

    def __init__(self, root: Path, checkout: Path, scratch: Path) -> None:
        self.root, self.checkout, self.scratch = root, checkout, scratch
        self.sessions: list[int] = []

    def load(self) -> None:
        """Import all that stages import, so that no attempt does."""
        os.environ.update(ONE_THREAD)
        sys.path.insert(0, str(self.root / "stages"))
        sys.path.insert(0, str(self.root))
        import wsss

        for module in pkgutil.walk_packages(wsss.__path__, "wsss."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        for name in ("_path", "matplotlib.backends.backend_agg", "matplotlib.font_manager", "pydensecrf.densecrf"):
            importlib.import_module(name)
        import wsss.data.loading
        import wsss.training.engine

        wsss.data.loading.PATIENCE = QUIET / 2
        wsss.training.engine.CHECKPOINT_SECONDS = 0.0  # a checkpoint at every step: the more to be cut off
        self.check_alone()

    def check_alone(self) -> None:
        """Raise where this process has threads."""
        count = len(os.listdir("/proc/self/task"))
        if count != 1:
            raise RuntimeError(f"{count} threads where there must be one: forks of this process would hang")

    def start(self, job: Job, prepare: Callable[[], None] = lambda: None) -> int:
        """Start a stage in a session of its own; its process number. ``prepare`` is called in the new process."""
        log = self.scratch / "said.txt"
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            self._be(job, log.with_name(f"said-{os.getpid()}.txt"), prepare)
        self.sessions.append(pid)
        return pid

    def said(self, pid: int) -> str:
        """What a stage printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.scratch / f"said-{pid}.txt").read_text("utf-8", errors="replace")
        return ""

    def wait(self, pid: int, begun: float) -> Ended:
        """Wait for the end of a stage; kill it, workers and all, where it hangs."""
        stirred, seen, looked = begun, -1.0, begun
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            now = time.monotonic()
            if done:
                return Ended(os.waitstatus_to_exitcode(status), now - begun, self.said(pid), pid)
            if now - looked > 1:
                busy, worked = self.work_of(pid)
                if busy or worked > seen + 0.03:
                    stirred, seen = now, worked
                looked = now
            if now - stirred > QUIET:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGUSR2)  # where is it?
                    time.sleep(0.5)
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return Ended(None, now - begun, self.said(pid), pid)
            time.sleep(0.005)

    def run(self, job: Job, prepare: Callable[[], None] = lambda: None) -> Ended:
        """Run a stage to its end."""
        begun = time.monotonic()
        return self.wait(self.start(job, prepare), begun)

    def _be(self, job: Job, log: Path, prepare: Callable[[], None]) -> None:
        """Be that stage, and never return."""
        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
            faulthandler.register(signal.SIGUSR2)
            os.chdir(self.checkout)
            program = WSSS if job.stage == WSSS else str(self.root / "stages" / f"{job.stage}.py")
            sys.argv = [program, *job.argv]
            prepare()
            if job.stage == WSSS:
                runpy.run_module(WSSS, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")
            code = 0
        except SystemExit as request:
            code = request.code if isinstance(request.code, int) else int(request.code is not None)
        except KeyboardInterrupt:
            traceback.print_exc()
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                threading._shutdown()
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def left(self) -> dict[int, list[str]]:
        """Process number -> fields of its ``stat`` from the state on, of what is left of the stages started here."""
        ours, found = set(self.sessions), {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if fields[0] != "Z" and int(fields[3]) in ours:
                        found[int(entry.name)] = fields
        return found

    def work_of(self, session: int) -> tuple[bool, float]:
        """Whether a stage's processes run or wait for a disk or a core just now, and the seconds that they have run."""
        fields = [one for one in self.left().values() if int(one[3]) == session]
        seconds = sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")
        return any(one[0] in "RD" for one in fields), seconds
