"""Records of owners where the file system gives a lock to everybody."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsss.errors import WsssError
from wsss.runtime import owners
from wsss.runtime.shard import Shard, locked

HOLD = """
import fcntl, sys, time
from pathlib import Path
fcntl.flock = lambda *_: None
from wsss.runtime import owners
from wsss.runtime.shard import Shard, locked
owners.BEAT = 0.2
shard = Shard.read(sys.argv[2]) if sys.argv[2:] else None
with locked(Path(sys.argv[1]), shard):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def lying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody gets every lock; nobody beats in time to be waited for."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(owners, "POLL", 0.05)
    monkeypatch.setattr(owners, "SILENCE", 600.0)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Any]:
    """Starts a process that works in ``out`` until it is told to end."""
    started: list[subprocess.Popen[str]] = []

    def start(*shard: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, tmp_path / "out", *shard]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None and started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def records(out: Path) -> list[Path]:
    return sorted(out.rglob(".owner-*"))


def elsewhere(out: Path, **changes: Any) -> Path:
    """A record of an owner whose processes cannot be seen from here."""
    record: dict[str, Any] = {
        **{"host": "node7", "process": 12, "born": "5", "world": "other", "job": None, "cluster": None},
        **{"user": "anna", "since": "2026-01-02 03:04:05 +0000", "what": ""},
        **{"lock": ".lock", "exclusive": True, "beat": 3},
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / ".owner-node7-12-lock.json"
    path.write_text(json.dumps(record | changes))
    return path


def test_a_living_process_of_this_machine_is_named(tmp_path: Path, hold: Any) -> None:
    other = hold()
    said = rf"out: another copy of this stage is at work here \(process {other.pid} of .* on .*, since \d{{4}}-.*delete"
    with pytest.raises(WsssError, match=said), locked(tmp_path / "out"):
        pass
    assert [str(other.pid) in path.name for path in records(tmp_path)] == [True], "the one refused leaves none"


def test_a_process_that_was_killed_is_followed(tmp_path: Path, hold: Any, caplog: pytest.LogCaptureFixture) -> None:
    other = hold()
    other.kill()
    other.wait()
    assert len(records(tmp_path)) == 1
    with locked(tmp_path / "out"):
        assert f"process {other.pid} of" in caplog.text and "is gone without a word" in caplog.text
        assert [json.loads(path.read_text())["process"] for path in records(tmp_path)] == [os.getpid()]
    assert records(tmp_path) == []


def test_shards_work_beside_shards_only(tmp_path: Path, hold: Any) -> None:
    hold("0/2")
    with locked(tmp_path / "out", Shard(1, 2)):
        assert len(records(tmp_path)) == 4
    for shard in (Shard(0, 2), None):
        with pytest.raises(WsssError, match="shard 0-of-2, since"), locked(tmp_path / "out", shard):
            pass


def test_one_who_beats_elsewhere_is_alive(tmp_path: Path) -> None:
    path = elsewhere(tmp_path / "out")
    later = threading.Timer(0.3, elsewhere, [tmp_path / "out"], {"beat": 4})
    later.start()
    with pytest.raises(WsssError, match=r"process 12 of anna on node7, since 2026-01-02 03:04:05"), locked(path.parent):
        pass
    later.join()
    assert records(tmp_path) == [path]


def test_one_who_ends_while_listened_to_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = elsewhere(tmp_path / "out")
    later = threading.Timer(0.3, path.unlink)
    later.start()
    with locked(path.parent):
        later.join()
    assert "gone without a word" not in caplog.text


def test_one_who_is_silent_elsewhere_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owners, "SILENCE", 0.3)
    path = elsewhere(tmp_path / "out")
    with locked(path.parent):
        assert not path.exists()
    assert "process 12 of anna on node7, since 2026-01-02 03:04:05 +0000, is gone without a word" in caplog.text


@pytest.mark.parametrize("left", ["", '{"host": "no', "[]"])
def test_what_a_power_failure_left_is_cleared_away(tmp_path: Path, left: str) -> None:
    path = elsewhere(tmp_path / "out")
    path.write_text(left)
    with locked(path.parent):
        assert not path.exists()
    assert records(tmp_path) == []


@pytest.mark.parametrize(
    ("queue", "alive"),
    [
        ("echo SUSPENDED", True),
        ("exit 0", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", None),
        ("echo RUNNING", None),
    ],
)
def test_the_scheduler_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str, alive: bool | None
) -> None:
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\n{queue}\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent))
    if alive is None:  # listened to instead
        monkeypatch.setattr(owners, "SILENCE", 0.3)
    path = elsewhere(tmp_path / "out", job="71")
    if alive:
        with pytest.raises(WsssError, match="on node7, SLURM job 71, since"), locked(path.parent):
            pass
    else:
        with locked(path.parent):
            assert not path.exists()
    assert (tmp_path / "asked").read_text().split()[:3] == ["--noheader", "--jobs", "71"]


def test_one_whose_place_was_taken_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT", 0.1)
    stopped = threading.Event()
    monkeypatch.setattr(
        owners.os, "kill", lambda process, number: (process, number) == (os.getpid(), 15) and stopped.set()
    )
    with locked(tmp_path / "out"):
        (own,) = records(tmp_path)
        elsewhere(tmp_path / "out")
        own.unlink()
        assert stopped.wait(60)
    assert signal.SIGTERM == 15 and [path.name for path in records(tmp_path)] == [".owner-node7-12-lock.json"]


def test_a_record_beats_and_comes_back_where_nobody_took_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT", 0.1)
    with locked(tmp_path / "out"):
        (own,) = records(tmp_path)
        own.unlink()
        for _ in range(600):
            if own.exists() and json.loads(own.read_text())["beat"] > 1:
                break
            threading.Event().wait(0.1)
        else:
            pytest.fail("it does not beat")
    assert records(tmp_path) == []
