"""Who is at work in a folder, where locks cannot be trusted.

Where the disk is Lustre mounted with ``localflock``, or NFS without its lock daemon, ``flock`` gives the same lock to
every node. So beside a lock each holder has a record, ``.owner-HOST-PID-LOCK.json``, and beats in it every ``BEAT``
seconds. Whoever gets the lock looks at the records of others. One is gone if its process is no longer there on this
machine, or its job no longer in SLURM's queue; if neither can tell, the record is listened to: the owner is alive if it
beats. Clocks of machines are not compared.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.system.files import read_json
from wsss.system.log import log

BEAT = 10.0
"""Seconds from one beat to the next."""
SILENCE = 4.5 * BEAT
"""Seconds without a beat after which an owner is taken for gone: a busy disk may swallow some."""
POLL = 1.0
"""Seconds between two looks at a record that is listened to."""
WAITING = ("SUSPENDED", "STOPPED", "PREEMPTED")
"""States of jobs that are alive and do not beat."""


@contextlib.contextmanager
def owned(out: Path, lock: Path, exclusive: bool, what: str = "") -> Iterator[None]:
    """Have a record beside a lock for the block, after those of others were looked at.

    Args:
        out: The folder that is worked in, for messages.
        lock: The lock's file; locks of one folder with different names do not concern each other.
        exclusive: Whether nobody else may work there; else only those who are exclusive may not.
        what: Which part, for messages.

    Raises:
        WsssError: Another owner is alive; names it, and since when it works there.
    """
    own = lock.with_name(f".owner-{platform.node()}-{os.getpid()}-{lock.name.strip('.')}.json")
    record: dict[str, Any] = {
        **{"host": platform.node(), "process": os.getpid(), "born": _born(os.getpid()), "world": _world()},
        **{"job": os.environ.get("SLURM_JOB_ID"), "cluster": os.environ.get("SLURM_CLUSTER_NAME")},
        **{"user": _user(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z"), "what": what},
        **{"lock": lock.name, "exclusive": exclusive, "beat": 0},
    }
    _write(own, record)
    try:
        for other in sorted(lock.parent.glob(".owner-*.json")):
            if other != own:
                _look_at(other, out, record)
        ended = threading.Event()
        beating = threading.Thread(target=_beat, args=(own, record, ended), daemon=True, name="owner")
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
    finally:
        own.unlink(missing_ok=True)


def _look_at(path: Path, out: Path, own: dict[str, Any]) -> None:
    """Refuse beside another owner who is alive; take the place of one that is gone."""
    try:
        record = read_json(path)
    except ValueError:  # cut short by a power failure; nobody is at work since
        path.unlink(missing_ok=True)
        return
    if record.get("lock") != own["lock"] or not (own["exclusive"] or record.get("exclusive")):
        return
    job = f", SLURM job {record['job']}" if record.get("job") else ""
    part = f", {record['what']}" if record.get("what") else ""
    who = f"process {record.get('process')} of {record.get('user')} on {record.get('host')}{job}{part}"
    alive = _is_alive(record, own)
    if alive is None:
        alive = _beats(path, record)
    if alive and path.exists():
        raise WsssError(
            f"{out}: another copy of this stage is at work here ({who}, since {record.get('since')}); wait for it or "
            f"stop it. If it is gone, delete {path}"
        )
    if path.exists():
        log.warning("%s: %s, since %s, is gone without a word; its work is taken over", out, who, record.get("since"))
        path.unlink(missing_ok=True)


def _is_alive(record: dict[str, Any], own: dict[str, Any]) -> bool | None:
    """Whether an owner is alive, by the machine's processes or SLURM's queue; None where neither can tell."""
    if record.get("world") == own["world"] is not None:
        return _born(int(record["process"])) == record.get("born")
    if not record.get("job") or record.get("cluster") != own["cluster"] or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--jobs", str(record["job"]), "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    states = done.stdout.split()
    return False if not states else True if set(states) <= {*WAITING} else None


def _beats(path: Path, record: dict[str, Any]) -> bool:
    """Whether a record changes while it is listened to."""
    end = time.monotonic() + SILENCE
    log.info("%s: waiting for a sign of life of its owner, for up to %d s", path, SILENCE)
    while time.monotonic() < end:
        time.sleep(POLL)
        now = _read(path)
        if not now:  # its owner has ended
            return False
        if now != record:
            return True
    return False


def _beat(own: Path, record: dict[str, Any], ended: threading.Event) -> None:
    """Beat until the end. Stops the process where somebody else took its place: it was away for longer than they
    waited."""
    while not ended.wait(BEAT):
        record = {**record, "beat": record["beat"] + 1}
        with contextlib.suppress(OSError):  # a full disk: the next beat may get through
            others = (_read(path) for path in own.parent.glob(".owner-*.json") if path != own)
            if not own.exists() and any(
                one.get("lock") == record["lock"] and (one.get("exclusive") or record["exclusive"]) for one in others
            ):
                log.error("%s: another process took this one for gone and works here now; this one stops", own.parent)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            _write(own, record)


def _write(path: Path, record: dict[str, Any]) -> None:
    """Put a record in its place, whole. It is not flushed to the disk: after a power cut nobody is at work."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, path)


def _read(path: Path) -> dict[str, Any]:
    """A record; empty where there is none, or none that can be read."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def _born(process: int) -> str | None:
    """When a process of this machine began, in ticks since the machine's start; None: there is none, or it ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _world() -> str | None:
    """What processes share that can see each other: a start of a machine, and a space of process numbers."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return str(os.getuid())
