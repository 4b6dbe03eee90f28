"""The ways to die. Each starts a stage, ends it somehow, and says what was wrong right then."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checkout import Job
from tests.chaos.judge import KEPT, Tree
from tests.chaos.kill_points import NEVER, Points, address_space, read_notes
from tests.chaos.processes import Ended, Processes

POINTS_OF_ALL = 0.75
"""Share of the kills at a counted moment; the others come at a random time, in the middle of whatever is done."""
MOVING = 0.4
"""Share of these that come while artefacts are moved, where any are."""
MIB = 1 << 20


@dataclass
class Usual:
    """A stage's undisturbed run: what it leaves, moments of itself (the first of them until its work begins) and of its
    workers, seconds, bytes on the disk, bytes of address space that it takes beyond those of the processes."""

    tree: Tree
    points: int = 0
    moving: int = 0
    worker_points: int = 0
    seconds: float = 0.0
    size: int = 0
    memory: int = 0


@dataclass
class Scene:
    """A stage about to die."""

    processes: Processes
    job: Job
    usual: Usual
    rng: random.Random
    notes: Path
    durable: set[tuple[int, int, int]] = field(default_factory=set)

    @property
    def out(self) -> Path:
        return self.processes.checkout / self.job.out

    @property
    def places(self) -> tuple[Path, Path]:
        """Where its artefacts lie: in place, and kept."""
        return self.out, self.out.parent / KEPT

    def points(self, **options: Any) -> Points:
        """The watch over a stage's process, see ``Points``."""
        return Points(str(self.processes.checkout), tuple(map(str, self.places)), self.notes, **options)

    def moment(self) -> int:
        """One of its moments."""
        moving = self.usual.moving and self.rng.random() < MOVING
        return self.rng.randint(1, max(1, self.usual.moving if moving else self.usual.points))

    def files(self) -> list[Path]:
        """All files of its artefacts."""
        return sorted(path for place in self.places for path in place.rglob("*") if path.is_file())

    def prepare(self, at: int = NEVER, act: Callable[[], None] = lambda: None, in_worker: bool = False) -> Callable:
        """What a stage's process does before it begins: count moments, and act at one of them."""
        return self.points(at=at, act=act, in_worker=in_worker).install


@dataclass
class Died:
    """``hit``: whether the stage was reached at all; ``what`` was done, in words; ``wrong``: sentences."""

    hit: bool
    what: str
    ended: Ended
    wrong: list[str] = field(default_factory=list)


def expect(ended: Ended, codes: tuple[int, ...], plain: bool = True) -> list[str]:
    """Complaints about an end: it hung, its exit code is none of ``codes``, or it showed a traceback (``plain``)."""
    if ended.code is None:
        return ["it hung"]
    wrong = [] if ended.code in codes else [f"exit code {ended.code}, not {' or '.join(map(str, codes))}"]
    if plain and "Traceback" in ended.said and not unheard(ended.said):
        wrong.append("a traceback instead of a sentence")
    return wrong


def unheard(said: str) -> bool:
    """Whether Ctrl-C came before the stage listened to anything, or when its work was over and libraries cleaned up."""
    at_work = re.search(r"in main\n +(work\(|self\._declare|if not self\._is_needed)", said)
    return "KeyboardInterrupt" in said and at_work is None


def signalled(number: int, whole_group: bool, codes: tuple[int, ...], again: bool = False) -> Callable[[Scene], Died]:
    """A signal to the stage's main process or to all its processes, at a counted moment or at a random time; ``again``:
    and a second one soon after."""

    def die(scene: Scene) -> Died:
        name = signal.Signals(number).name + (" to the group" if whole_group else "") + (" twice" if again else "")

        def strike(pid: int) -> None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(pid, number)

        if scene.rng.random() < POINTS_OF_ALL:
            at = scene.moment()
            what = f"{name} at moment {at} of {scene.usual.points}"
            begun = time.monotonic()
            pid = scene.processes.start(scene.job, scene.prepare(at, lambda: strike(os.getpid())))
            pause = scene.rng.uniform(0, scene.usual.seconds / 2)
        else:
            after = scene.rng.uniform(0.02, 1) * scene.usual.seconds
            what, pause = f"{name} after {after:.2f} s", scene.rng.uniform(0, 0.2)
            begun = time.monotonic()
            pid = scene.processes.start(scene.job, scene.prepare())
            time.sleep(after)
            strike(pid)
        if again:
            time.sleep(pause)
            strike(pid)
        ended = scene.processes.wait(pid, begun)
        hit = ended.code != 0
        # -number: it came before the stage listened
        return Died(hit, what, ended, expect(ended, (*codes, -number, 0), plain=not again and -number not in codes))

    return die


def power_cut(scene: Scene) -> Died:
    """All processes end at once, and so does what was written and not flushed to the disk.

    As on a file system with a journal: renames and removals keep their order, contents do not wait for them.
    """
    after_the_end = scene.rng.random() < 0.3
    at = scene.usual.points + 1 if after_the_end else scene.moment()
    begun = time.monotonic()
    pid = scene.processes.start(scene.job, scene.prepare(at, lambda: os.killpg(0, signal.SIGKILL)))
    ended = scene.processes.wait(pid, begun)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    while any(int(fields[3]) == pid for fields in scene.processes.left().values()):
        time.sleep(0.01)
    lost = lose(scene)
    when = "after the end" if ended.code == 0 else f"at moment {at} of {scene.usual.points}"
    what = f"power cut {when}"
    shown = f", {len(lost)} files not flushed" if lost else ""
    return Died(True, what + shown, ended, expect(ended, (-signal.SIGKILL, 0)))


def mark_durable(scene: Scene) -> None:
    """All that lies there now has been on the disk for long."""
    scene.durable |= {mark(path) for path in scene.files()}


def mark(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def lose(scene: Scene) -> list[Path]:
    """Cut short or empty what no flush has covered; the paths."""
    lines = read_notes(scene.notes)
    safe = scene.durable | {tuple(line["file"]) for line in lines if "file" in line}
    before = max((line["before"] for line in lines if "before" in line), default=0)
    lost = []
    for path in scene.files():
        if path.name.startswith(".lock"):
            continue
        if path.stat().st_size and mark(path) not in safe and mark(path)[2] > before:
            fate = scene.rng.random()
            if fate < 0.75:
                os.truncate(path, 0 if fate < 0.5 else scene.rng.randrange(path.stat().st_size))
                lost.append(path)
    mark_durable(scene)
    return lost


def worker_killed(scene: Scene) -> Died:
    """One of the stage's own processes is killed, as by the kernel when memory runs out."""
    if not scene.usual.worker_points:
        return signalled(signal.SIGKILL, False, (-signal.SIGKILL,))(scene)
    at = scene.rng.randint(1, scene.usual.worker_points)
    once = scene.notes.with_name("struck")
    once.unlink(missing_ok=True)

    def act() -> None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)

    ended = scene.processes.run(scene.job, scene.prepare(at, act, in_worker=True))
    died = Died(once.exists(), f"a worker killed at its moment {at}", ended)
    if died.hit:
        died.wrong = expect(ended, (0, 1, 2))
    return died


def disk_full(scene: Scene) -> Died:
    """The artefact folder lies on a disk (a tmpfs) that is too small; where none can be mounted, files may not grow
    beyond a size."""
    small = scene.rng.randint(8 << 10, max(12 << 10, scene.usual.size))
    before = list(scene.out.iterdir()) if scene.out.exists() else []
    mounted = not before and mount(scene.out, small)

    def limit() -> None:
        scene.prepare()()
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (small // 4, small // 4))

    ended = scene.processes.run(scene.job, limit)
    what = f"{'disk' if mounted else 'largest file'} of {(small if mounted else small // 4) >> 10} KiB"
    died = Died(ended.code != 0, what, ended)
    if died.hit:
        died.wrong = expect(ended, (1, 2))
        if "disk" not in ended.said and "large" not in ended.said or str(scene.job.out) not in ended.said:
            died.wrong.append("the message does not name the file and the full disk")
    if mounted:
        subprocess.run(["mount", "-o", "remount,size=1g", scene.out], check=True)
    return died


def mount(folder: Path, size: int) -> bool:
    """Put a tmpfs of ``size`` bytes over a folder; False where one may not."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Take the tmpfs away, if there is one."""
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)


def memory_out(scene: Scene) -> Died:
    """The stage may not take all the memory that it needs."""
    more = scene.rng.randint(0, max(1, scene.usual.memory))

    def limit() -> None:
        scene.prepare()()
        most = address_space() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    ended = scene.processes.run(scene.job, limit)
    died = Died(ended.code != 0, f"{more // MIB} of {scene.usual.memory // MIB} MiB", ended)
    crashes = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS)
    if died.hit:
        died.wrong = expect(ended, (1, 2, *crashes), plain=ended.code not in crashes)
    return died


def second_copy(scene: Scene) -> Died:
    """The same command is given while it runs: the second is refused, the first ends well."""
    at = scene.moment()
    begun = time.monotonic()
    pid = scene.processes.start(scene.job, scene.prepare(at, lambda: os.kill(os.getpid(), signal.SIGSTOP)))
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
        time.sleep(0.002)
    second = scene.processes.run(scene.job)
    os.kill(pid, signal.SIGCONT)
    first = scene.processes.wait(pid, begun)
    died = Died(True, f"a second copy at moment {at} of {scene.usual.points}", first, expect(first, (0,)))
    if second.code == 2 and "another copy" not in second.said:
        died.wrong.append(f"the second copy was not told why it may not run: {second.said.strip()[-300:]}")
    if second.code not in (0, 2):
        died.wrong.append(f"the second copy ended with {second.code}: {second.said.strip()[-300:]}")
    return died


KINDS: dict[str, Callable[[Scene], Died]] = {
    "kill": signalled(signal.SIGKILL, False, (-signal.SIGKILL,)),
    "kill all": signalled(signal.SIGKILL, True, (-signal.SIGKILL,)),
    "power cut": power_cut,
    "terminate": signalled(signal.SIGTERM, False, (75,)),
    "terminate all": signalled(signal.SIGTERM, True, (75,)),
    "terminate twice": signalled(signal.SIGTERM, True, (75, 128 + signal.SIGTERM), again=True),
    "Ctrl-C": signalled(signal.SIGINT, True, (130,)),
    "hang up": signalled(signal.SIGHUP, True, (-signal.SIGHUP,)),
    "worker killed": worker_killed,
    "disk full": disk_full,
    "out of memory": memory_out,
    "second copy": second_copy,
}
