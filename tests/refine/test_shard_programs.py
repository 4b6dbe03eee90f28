"""Jobs that share a stage's images: receipts and the manifest, locks, signals, files that show late."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal

import pytest

from tests.refine.shared import KINDS, SETTINGS, WRITE, content
from wsss.parts import folder
from wsss.refine import votes
from wsss.runtime.program import Stage
from wsss.store.manifest import read_manifest


@pytest.fixture
def program(tmp_path, members):
    """``program(stage, *flags)``: the stage's program on these inputs; its exit code, 0 where it ends."""

    def call(stage, *flags, out="program"):
        frame = Stage("", type(SETTINGS[stage]), {"index": "index"}, several={"members": "members"}, scattered=True)
        frame.parser.prog = "vote.py" if stage == "packed" else f"{stage}.py"
        folders = [str(members[f"members.{n}"]) for n in range(2)]
        argv = ["--index", str(members["index"]), "--out", str(tmp_path / out), "--members", *folders, "--threads", "1"]
        argv += ["--settings", SETTINGS[stage].model_dump_json(), *flags]
        try:
            frame.main(argv, WRITE[stage])
        except SystemExit as end:
            return end.code
        return 0

    return call


@KINDS
def test_receipts_and_the_manifest(program, tmp_path, stage, counted, capsys):
    assert program(stage, out="alone") == 0
    out = tmp_path / "program"
    for number in range(3):
        assert program(stage, "--shard", f"{number}/3") == 0
    assert sorted(path.name for path in (out / "parts").glob("*.json")) == [f"{n}-of-3.json" for n in range(3)]
    assert not (out / "manifest.json").exists() and content(out).keys() == {".lock"}
    counted.clear()
    assert program(stage, "--gather", "3") == 0
    assert not counted and not (out / "parts").exists()
    made, alone = read_manifest(out), read_manifest(tmp_path / "alone")
    assert made["shards"] == 3 and len(made["shard_seconds"]) == 3 and made["shard_memory_mib"] > 0
    own = {"shards", "shard_seconds", "shard_memory_mib"}
    timed = {"wall_seconds", "peak_memory_mib", "made"}
    assert {k: v for k, v in made.items() if k not in own | timed} == {k: v for k, v in alone.items() if k not in timed}
    same = [(tmp_path / name / "manifest.json").read_bytes() for name in ("program", "alone")]
    assert same[0] == same[1], "manifests tell nothing of the run"
    assert "shards" not in made["settings"]
    assert "is missing" not in capsys.readouterr().err


def test_a_lost_receipt_is_told(program, tmp_path, counted, capsys):
    for number in (0, 2):
        assert program("vote", "--shard", f"{number}/3") == 0
    receipt = tmp_path / "program" / "parts" / "0-of-3.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "key": "another"}))
    counted.clear()
    assert program("vote", "--gather", "3") == 0
    said = capsys.readouterr().err
    assert "1-of-3.json is missing or damaged: what its shard lacks is made here" in said
    assert "0-of-3.json belongs to other settings" in said
    assert len(counted) == 3 and len(read_manifest(tmp_path / "program")["shard_seconds"]) == 1


@KINDS
def test_parts_that_show_late(program, tmp_path, stage, monkeypatch, counted):
    """A network file system shows other nodes' files late: what receipts promise is waited for, and not for ever."""
    for number in range(2):
        assert program(stage, "--shard", f"{number}/2") == 0
    (work,) = (path for path in (tmp_path / "program" / "parts").iterdir() if path.is_dir())
    late = sorted(path for path in work.iterdir() if path.is_file())
    hidden = [path.rename(tmp_path / path.name) for path in late[1:]]
    counted.clear()

    def shown(_):
        for path in hidden:
            path.rename(work / path.name)
        hidden.clear()

    with monkeypatch.context() as patch:
        patch.setattr(folder.time, "sleep", shown)
        assert program(stage, "--gather", "2") == 0
    assert not counted and not hidden
    for number in range(2):
        assert program(stage, "--shard", f"{number}/2", out="lost") == 0
    for path in (path for path in (tmp_path / "lost" / "parts").rglob("*") if path.suffix in (".h5", ".png", ".spool")):
        path.unlink()
    monkeypatch.setattr(folder, "PATIENCE", 0.01)
    counted.clear()
    assert program(stage, "--gather", "2", out="lost") == 0
    assert len(counted) == 9


@KINDS
def test_what_is_made_already_is_not_made_again(program, tmp_path, stage, counted, capsys):
    """Not by a shard either; and every file stays the one that it was."""
    out = tmp_path / "program"
    assert program(stage) == 0
    before, times = content(out), {path: path.stat().st_mtime_ns for path in (out / "masks").rglob("*")}
    counted.clear()
    (out / "manifest.json").unlink()  # as the workflow does when a job begins
    assert program(stage, "--shard", "0/2") == program(stage, "--shard", "1/2") == 0
    assert program(stage, "--gather", "2") == 0
    assert not counted and content(out) == before
    assert {path: path.stat().st_mtime_ns for path in (out / "masks").rglob("*")} == times
    assert "made already" in (said := capsys.readouterr().err) and "up to date" in said


@KINDS
def test_other_settings_keep_what_was_there_and_it_comes_back(program, tmp_path, stage, counted):
    out = tmp_path / "program"
    assert program(stage) == 0
    before = content(out)
    made = read_manifest(out)
    assert program(stage, "--seed", "1") == 0
    assert read_manifest(out)["identity"] != made["identity"]
    assert (tmp_path / ".kept" / made["identity"] / "manifest.json").is_file()
    counted.clear()
    assert program(stage) == 0
    assert not counted and content(out) == before
    assert [one.name for one in (tmp_path / ".kept").iterdir()] != [made["identity"]]


@KINDS
def test_somebody_may_want_it_made_anew(program, tmp_path, stage, counted):
    out = tmp_path / "program"
    assert program(stage) == 0
    before = content(out)
    (out / ".again").touch()
    counted.clear()
    assert program(stage) == 0
    assert len(counted) == 9 and not (out / ".again").exists()
    assert {name: text for name, text in content(out).items() if name != "run.json"} == {
        name: text for name, text in before.items() if name != "run.json"
    }


def test_who_may_work_beside_whom(program, tmp_path, at, capsys):
    """Shards run beside other shards, and nothing beside itself or beside the whole."""
    out = tmp_path / "program"

    def beside(name, how, *flags):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        with (out / name).open("a+") as file:
            fcntl.flock(file, how)
            file.write("somebody")
            file.flush()
            code = program("vote", *flags)
        return code, capsys.readouterr().err

    assert beside("parts/.lock-0-of-3", fcntl.LOCK_EX, "--shard", "1/3")[0] == 0
    assert beside(".lock", fcntl.LOCK_SH, "--shard", "0/3")[0] == 0
    for held in (
        ("parts/.lock-2-of-3", fcntl.LOCK_EX, "--shard", "2/3"),
        (".lock", fcntl.LOCK_EX, "--shard", "2/3"),
        (".lock", fcntl.LOCK_SH),
        (".lock", fcntl.LOCK_EX),
    ):
        code, said = beside(*held)
        assert code == 2 and f"{out}: another copy of this stage is at work here" in said and "somebody" in said
    assert program("vote") == 0


def test_a_file_system_without_locks_is_told(program, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert program("vote") == 0
    assert "this file system has no locks ([Errno 37] No locks available)" in capsys.readouterr().err


def test_a_signal_to_a_shard_leaves_what_is_made(program, tmp_path, monkeypatch, counted):
    original = votes.majority

    def signalled(masks):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(masks)

    with monkeypatch.context() as patch:
        patch.setitem(votes.RULES, "majority", signalled)
        assert program("vote", "--shard", "0/2") == 75
    out = tmp_path / "program"
    assert not (out / "parts" / "0-of-2.json").exists() and len(counted) == 1
    assert program("vote", "--shard", "0/2") == 0
    assert len(counted) == 4
