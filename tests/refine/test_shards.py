"""Images shared out between jobs, and stages that are killed: the same bytes, nothing lost, nothing made twice."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from wsss import map_parts, shards
from wsss.errors import WsssError
from wsss.refine import ensembles, votes
from wsss.refine.ensembles import write_ensemble
from wsss.refine.votes import write_votes
from wsss.settings import EnsembleSettings, VoteSettings
from wsss.shards import shard_key
from wsss.sharing import Share
from wsss.stage import Interrupted, Stage
from wsss.store.manifest import read_manifest
from wsss.store.maps import MapShard, shard_name
from wsss.store.masks import MaskFolder

WRITE = {"ensemble": write_ensemble, "vote": write_votes}
SETTINGS = {"ensemble": EnsembleSettings(members=("m0", "m1")), "vote": VoteSettings(members=("m0", "m1"))}
KINDS = pytest.mark.parametrize("stage", ["ensemble", "vote"])


@pytest.fixture
def inputs(tmp_path, pictures, make_maps):
    """Two members that are maps and masks in one."""
    index = pictures(tmp_path / "index")
    folders = []
    for number in range(2):
        rng = np.random.default_rng(number)

        def of(item, rng=rng):
            return item.labels, rng.random((len(item.labels), 5, 6))

        folder = make_maps(tmp_path / f"m{number}", index, of)
        for item in index.items:
            mask = rng.choice([0, 1, 3, 255], (item.height, item.width)).astype(np.uint8)
            MaskFolder(folder / "masks").write(item.id, mask)
        folders.append(folder)
    return {"index": index.folder, "members.0": folders[0], "members.1": folders[1]}


@pytest.fixture
def at(make_run, inputs):
    """``at(stage, name, shard=..., threads=...)``: a run on these inputs."""

    def make(stage, name="out", shard=None, **more):
        return make_run(stage, more.pop("settings", SETTINGS[stage]), inputs, name, shard=shard, **more)

    return make


@pytest.fixture
def counted(monkeypatch):
    """Grows with each image that is worked on in this process."""
    seen = []

    def counting(original):
        return lambda *given: (seen.append(1), original(*given))[1]

    monkeypatch.setattr(ensembles, "combine", counting(ensembles.combine))
    monkeypatch.setattr(votes, "count_pairs", counting(votes.count_pairs))
    return seen


def content(out):
    """Every file of an artefact but its parts."""
    files = (path for path in out.rglob("*") if path.is_file() and "parts" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def make(at, stage, jobs, name, threads=1):
    for number in range(jobs) if jobs > 1 else ():
        WRITE[stage](at(stage, name, Share(number, jobs), threads=threads))
    run = at(stage, name, threads=threads)
    WRITE[stage](run)
    return run


def test_shares_are_the_list():
    for total in (1, 2, 3, 7, 20):
        shares = [Share(number, total).of(range(9)) for number in range(total)]
        assert sum(shares, []) == list(range(9))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_by_name():
    assert Share.read("2/3") == Share(2, 3) and str(Share(2, 3)) == "2-of-3"
    for text in ("3/3", "-1/3", "1", "1/0", "a/b"):
        with pytest.raises(Exception, match="is no I/N with I from 0 to N - 1"):
            Share.read(text)


@KINDS
def test_the_same_bytes_for_any_number_of_shards_and_threads(at, stage, monkeypatch):
    monkeypatch.setattr(map_parts, "IMAGES_A_FILE", 4)
    monkeypatch.setattr(map_parts, "IMAGES_A_PART", 2)
    alone = make(at, stage, 1, "alone")
    files = content(alone.out)
    assert len(files) == (4 if stage == "ensemble" else 10)
    for jobs, threads in ((2, 1), (3, 2), (7, 1), (20, 1)):
        run = make(at, stage, jobs, f"by {jobs}", threads)
        assert content(run.out) == files
        assert run.facts == alone.facts


@KINDS
def test_putting_together_makes_nothing_again(at, stage, counted):
    make(at, stage, 3, "out")
    assert len(counted) == 9


@KINDS
def test_a_share_alone_is_no_artefact(at, stage):
    run = at(stage, "out", Share(1, 3))
    WRITE[stage](run)
    assert content(run.out) == {} and run.facts["images"] == 3
    assert run.facts["key"] == shard_key(run) and run.facts["shard"] == "1-of-3"


@KINDS
def test_what_other_numbers_of_shards_made_is_kept(at, stage, counted):
    files = content(make(at, stage, 1, "alone").out)
    counted.clear()
    WRITE[stage](at(stage, "out", Share(0, 2)))  # 4 images
    WRITE[stage](at(stage, "out", Share(1, 3)))  # 3 images, one of them made already
    assert len(counted) == 4 + 2
    run = at(stage, "out")
    WRITE[stage](run)
    assert len(counted) == 9 and content(run.out) == files


@KINDS
@pytest.mark.parametrize("threads", [1, 2])
def test_stopped_at_every_image(at, stage, monkeypatch, threads):
    """A signal comes with each image; none is made twice, and the end is the same."""
    alone = make(at, stage, 1, "alone")
    run, made, stops = at(stage, "out", threads=threads), [], 0
    module = {"ensemble": ensembles, "vote": votes}[stage]

    def stopping(items, *rest, original=module.over):
        for result in original(items, *rest):
            run.stop = "a test"
            made.append(result)
            yield result

    monkeypatch.setattr(module, "over", stopping)
    while run.stop or not made:
        run.stop = None
        try:
            WRITE[stage](run)
        except Interrupted:
            stops += 1
    assert stops == len(made) == 9
    assert content(run.out) == content(alone.out) and run.facts == alone.facts


@KINDS
def test_killed_outright(at, stage, monkeypatch, counted):
    """SIGKILL while the fifth image is made: the four that were written are not made again."""
    alone = make(at, stage, 1, "alone")
    counted.clear()
    monkeypatch.setattr(map_parts, "IMAGES_A_PART", 2)
    owner, name = {"ensemble": (ensembles, "combine"), "vote": (MaskFolder, "write")}[stage]
    original, calls = getattr(owner, name), []

    def dying(*given):
        calls.append(1)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        child = multiprocessing.get_context("fork").Process(target=WRITE[stage], args=(at(stage, "out"),))
        child.start()
        child.join()
    assert child.exitcode == -signal.SIGKILL
    assert content(at(stage, "out").out) == {}
    run = at(stage, "out")
    WRITE[stage](run)
    assert len(counted) == 5
    assert content(run.out) == content(alone.out) and run.facts == alone.facts


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def spoil_lost(path):
    path.unlink()


def spoil_foreign(path):
    """A part, or a mask, of another key."""
    if path.suffix == ".png":
        MaskFolder(path.parent).write(path.stem, np.zeros((3, 3), np.uint8))
    else:
        import h5py

        with h5py.File(path, "a") as file:
            file.attrs["key"] = "0123456789abcdef"


@KINDS
@pytest.mark.parametrize("spoil", [spoil_truncated, spoil_lost, spoil_foreign])
def test_a_spoilt_share_is_made_again(at, stage, spoil, counted):
    files = content(make(at, stage, 1, "alone").out)
    counted.clear()
    for number in range(3):
        WRITE[stage](at(stage, "out", Share(number, 3)))
    parts = sorted(path for path in (at(stage, "out").out / "parts").rglob("*") if path.suffix in (".h5", ".png"))
    spoil(parts[1])
    run = at(stage, "out")
    WRITE[stage](run)
    assert content(run.out) == files
    assert len(counted) == 9 + (3 if stage == "ensemble" else 1)


def test_values_that_cannot_be_read_are_never_zeros(at):
    """A part whose tables are whole and whose values are not is an error that names it, and then made again."""
    run = at("ensemble", "out", Share(0, 1))
    write_ensemble(run)
    (part,) = (run.out / "parts").rglob("*.h5")
    import h5py

    with h5py.File(part, "a") as file:
        values = file["data"][:]
        del file["data"]
        data = file.create_dataset("data", values.shape, "float32", chunks=(64,), fletcher32=True)
        data[:] = values
        where = data.id.get_chunk_info(1).byte_offset
    with part.open("r+b") as raw:
        raw.seek(where)
        raw.write(b"spoilt")
    run = at("ensemble", "out")
    with pytest.raises(WsssError, match=f"{part.name}: the maps of image .* so the part is deleted"):
        write_ensemble(run)
    write_ensemble(run)
    assert sum(len(MapShard(path).ids) for path in run.out.glob("shard-*.h5")) == 9


@KINDS
def test_an_image_that_nobody_makes_is_an_error(at, stage, monkeypatch):
    module = {"ensemble": ensembles, "vote": votes}[stage]
    original = module.over
    monkeypatch.setattr(module, "over", lambda items, *rest: list(original(items, *rest))[:-1])
    run = at(stage, "out")
    with pytest.raises(WsssError, match="1 images were not made, the first is 'deep/é 8'"):
        WRITE[stage](run)
    assert not (run.out / "masks").exists() and not list(run.out.glob("shard-*"))


@KINDS
def test_other_settings_keep_nothing(at, stage, counted):
    make(at, stage, 3, "out")
    other = {"ensemble": {"rule": "max"}, "vote": {"rule": "agreement"}}[stage]
    values = {"members": ["m0", "m1"], **other}
    changed = at(stage, "out", settings=type(SETTINGS[stage]).read(values))
    counted.clear()
    WRITE[stage](changed)
    assert len(counted) == 9
    assert [path.name for path in (changed.out / "parts").iterdir()] == [shard_key(changed)]
    counted.clear()
    again = at(stage, "out", settings=type(SETTINGS[stage]).read({**values, "shards": 5}))
    if stage == "ensemble":  # the masks were moved to where they belong
        WRITE[stage](again)
        assert not counted
    assert shard_key(again) == shard_key(changed)


def test_old_shards_go(at):
    run = at("ensemble", "out")
    for name in (shard_name(1, 4), ".shard-00000-of-00004.h5.1.tmp"):
        (run.out / name).write_bytes(b"old")
    write_ensemble(run)
    assert sorted(path.name for path in run.out.glob("*shard-*")) == [shard_name(0, 1)]


# --- the program ------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path, inputs):
    """``program(stage, *flags)``: the stage's program on these inputs; its exit code, 0 where it ends."""

    def call(stage, *flags, out="program"):
        frame = Stage("", type(SETTINGS[stage]), {"index": "index"}, several={"members": "members"}, scattered=True)
        frame.parser.prog = f"{stage}.py"
        members = [str(inputs[f"members.{n}"]) for n in range(2)]
        argv = ["--index", str(inputs["index"]), "--out", str(tmp_path / out), "--members", *members, "--threads", "1"]
        argv += ["--settings", SETTINGS[stage].model_dump_json(), *flags]
        try:
            with frame.run(argv) as run:
                WRITE[stage](run)
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
    timed = {"wall_seconds", "peak_memory_mib", "made", "inputs"}
    assert {k: v for k, v in made.items() if k not in own | timed} == {k: v for k, v in alone.items() if k not in timed}
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
    assert "0-of-3.json was made with other settings" in said
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
        patch.setattr(shards.time, "sleep", shown)
        assert program(stage, "--gather", "2") == 0
    assert not counted and not hidden
    for number in range(2):
        assert program(stage, "--shard", f"{number}/2") == 0
    for path in (path for path in (tmp_path / "program" / "parts").rglob("*") if path.suffix in (".h5", ".png")):
        path.unlink()
    monkeypatch.setattr(shards, "PATIENCE", 0.01)
    counted.clear()
    assert program(stage, "--gather", "2") == 0
    assert len(counted) == 9


def test_who_may_work_beside_whom(program, tmp_path, at, capsys):
    """Shares run beside other shares, and nothing beside itself or beside the whole."""
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


def test_a_signal_to_a_share_leaves_what_is_made(program, tmp_path, monkeypatch, counted):
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
