"""Full disks, too little memory and killed processes: what a user is told, and what is left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wsss.errors import WsssError
from wsss.system.failures import DiskFull, describe, writing
from wsss.system.files import atomic_path, flush_all, sweep
from wsss.system.workers import over


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("write failed: time = now, errno = 28, error message = 'No space'"), "the disk is full"),
        (MemoryError(), "); give the job more"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "); give the job more"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("can't start new thread"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "the GPU's memory is full; lower 'batch_size'"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "a process that loads images died"),
    ],
)
def test_each_failure_is_one_sentence_with_a_cure(error: Exception, said: str) -> None:
    told = describe(error, Path("results/x"))
    assert told is not None and told.startswith("results/x: ") and said in told and "\n" not in told
    assert told.endswith("give the same command again; what is done is kept")


def test_what_caused_an_error_is_looked_at_too() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 576 vs 534") from error
    except RuntimeError as error:
        assert "the disk is full" in describe(error, Path("x"))


def test_other_errors_are_left_alone() -> None:
    assert describe(ValueError("shapes differ"), Path("x")) is None
    with pytest.raises(ValueError), writing("x"):
        raise ValueError("shapes differ")


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(DiskFull, match="a.json: the disk is full; make room"):
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("ne")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "old"


def _no_room(item: str) -> None:
    with writing(item):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_stop_at_a_full_disk_and_name_one_file(threads: int) -> None:
    with pytest.raises(DiskFull, match=r"^[a-h]\.png: the disk is full") as told:
        list(over([f"{letter}.png" for letter in "abcdefgh"], _no_room, threads, "masks"))
    assert isinstance(told.value, WsssError) and "failed" not in str(told.value)


def test_sweeping_takes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    keep = ("manifest.json", ".lock", "shard.h5", "notes.tmp")
    for name in (*keep, ".manifest.json.7.tmp", "index.part", ".tmpQrOLoR"):
        (tmp_path / name).touch()
    for name in ("masks", ".masks.tmp", ".masks.7.old", "state"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".a.png.7.tmp").touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*keep, "masks", "state"}
    assert len(list((tmp_path / "masks").iterdir())) == 1  # of the folder itself only


def test_flushing_all_reaches_the_system(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    flush_all(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        flush_all(tmp_path / "nowhere")
