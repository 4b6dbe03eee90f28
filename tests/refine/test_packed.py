"""Masks in packs beside masks that are files of their own: the same masks, the same digests, nothing lost."""

from __future__ import annotations

import errno
import json
import pickle

import numpy as np
import pytest

from tests.refine.shared import SETTINGS, make
from wsss.data.images import read_mask
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.parts import collecting
from wsss.parts.collecting import LooseMasks, SpooledMasks
from wsss.provenance import outputs
from wsss.runtime.shard import Shard
from wsss.settings import ChoiceSettings, ExternalMasksSettings, VoteSettings
from wsss.stages.choice import make as choose
from wsss.stages.external_masks import make as take_in
from wsss.stages.vote import make as write_votes
from wsss.store.masks import FileOf, MaskFolder
from wsss.system import packs
from wsss.system.exit import Interrupted
from wsss.system.failures import DiskFull
from wsss.system.workers import over


@pytest.fixture
def both(at, monkeypatch):
    """The same votes, as files of their own and packed."""
    monkeypatch.setattr(packs, "FILES", 4)
    return make(at, "vote", 1, "loose"), make(at, "packed", 3, "in packs", threads=2)


def test_every_reader_finds_the_same(both, members):
    loose, packed = (MaskFolder(run.out / "masks") for run in both)
    items = Index.load(members["index"]).items
    assert {path.suffix for path in packed.path.rglob("*")} == {".zip", ".json"}
    assert len(list(packed.path.iterdir())) == 4 and packed.ids() == loose.ids() == sorted(item.id for item in items)
    slow = {item.id: (loose.path / f"{item.id}.png").read_bytes() for item in items}
    for item in items:
        assert item.id in packed and packed.file(item.id).read_bytes() == slow[item.id]
        for read in (packed.read, lambda id: read_mask(packed.file(id))):
            np.testing.assert_array_equal(read(item.id), loose.read(item.id))
        target = pickle.loads(pickle.dumps(FileOf(packed)))(item)
        assert target.read_bytes() == slow[item.id] and str(target).endswith(f".zip/{item.id}.png")
    packed.require(items, "")
    assert "x" not in packed and not packed.file("x").is_file()
    with pytest.raises(WsssError, match="'x' has no mask"):
        packed.read("x")
    runs = [outputs.digest(run.out / "masks") for run in both]
    assert runs[0] == runs[1] == both[0].digests["masks"] == both[1].digests["masks"]
    assert both[0].identity == both[1].identity and both[0].facts == both[1].facts
    assert (both[0].recorded.get("storage"), both[1].recorded["storage"]) == (None, "packed")


def test_what_reads_masks_takes_both(both, make_run, members, tmp_path):
    """Votes of packed masks, masks taken in, the choice; each from packs into packs, and into files."""
    index = members["index"]
    found = {}
    for source, storage in ((0, "png"), (1, "png"), (1, "packed")):
        folder = both[source].out
        given = {"index": index, **{f"members.{n}": folder for n in range(2)}}
        for name, settings, work, inputs in (
            ("vote", VoteSettings(members=("a", "b"), storage=storage), write_votes, given),
            ("choice", ChoiceSettings(members=("a", "b"), by="masks", storage=storage), choose, given),
            (
                "external_masks",
                ExternalMasksSettings(path=str(folder / "masks"), storage=storage),
                take_in,
                {"index": index},
            ),
        ):
            if name == "choice":  # its figures need ground truth
                run = make_run(name, settings, inputs, f"{name} {source} {storage}")
                from wsss.stages.choice import copy

                copy(MaskFolder(folder / "masks"), list(Index.load(index).items), run, None)
            else:
                run = make_run(name, settings, inputs, f"{name} {source} {storage}")
                work(run)
            assert packs.is_packed(run.out / "masks") == (storage == "packed")
            found.setdefault(name, []).append(outputs.digest(run.out / "masks"))
    assert all(len(set(digests)) == 1 for digests in found.values())


def test_what_was_made_the_other_way_is_kept(at, counted):
    """The setting changes while a run is stopped: finished images stay, either way, and the end is the same."""
    whole = outputs.digest(make(at, "vote", 1, "alone").out / "masks")
    for first, then in (("vote", "packed"), ("packed", "vote")):
        counted.clear()
        write_votes(at(first, first, Shard(0, 2)))
        assert len(counted) == 4
        run = at(then, first)
        write_votes(run)
        assert len(counted) == 9
        assert outputs.digest(run.out / "masks") == whole == run.digests["masks"]


def test_corrections_lie_over_packed_masks(at, members, tmp_path, monkeypatch):
    """Also when the run is killed while they are laid over, and begun again: nothing is made twice."""
    item = Index.load(members["index"]).items[2]
    by_hand = np.full((item.height, item.width), 255, np.uint8)
    by_hand[:5] = 2
    MaskFolder(tmp_path / "by hand").write(item.id, by_hand)
    settings = {"members": ("m0", "m1"), "corrected": str(tmp_path / "by hand")}
    loose = at("vote", "loose", settings=VoteSettings(**settings))
    write_votes(loose)
    run = at("packed", "packed", settings=VoteSettings(**settings, storage="packed"))
    settle = SpooledMasks.settle
    monkeypatch.setattr(SpooledMasks, "settle", lambda *_: (_ for _ in ()).throw(Interrupted))
    with pytest.raises(Interrupted):
        write_votes(run)
    monkeypatch.setattr(SpooledMasks, "settle", settle)
    monkeypatch.setattr("wsss.stages.vote.count_pairs", lambda *_: pytest.fail("an image is made twice"))
    write_votes(run)
    mask = MaskFolder(run.out / "masks").read(item.id)
    assert (mask[:5] == 2).all() and run.facts == loose.facts
    assert outputs.digest(run.out / "masks") == run.digests["masks"] == loose.digests["masks"]


def test_packed_masks_are_no_corrections(both, at):
    run = at("vote", "corrected", settings=VoteSettings(members=("a", "b"), corrected=str(both[1].out / "masks")))
    with pytest.raises(WsssError, match="its masks are packed; unpack them with wsss export --masks"):
        write_votes(run)


class Put:
    """Puts a mask: what a worker process does."""

    def __init__(self, masks):
        self.masks = masks

    def __call__(self, id):
        return self.masks.write(id, np.full((2, 3), int(id), np.uint8))


def test_few_files_however_many_processes_come_and_go(tmp_path):
    spool, made = SpooledMasks(tmp_path, "rest"), {}
    for begin in range(0, 30, 6):
        ids = [str(n) for n in range(begin, begin + 6)]
        made |= dict(zip(ids, over(ids, Put(spool), 2, "a test"), strict=True))
    made["30"] = spool.write("30", np.full((2, 3), 30, np.uint8))
    files = sorted(path.name for path in tmp_path.glob("*.spool"))
    assert set(files) <= {f"rest-00000-{n:03d}.spool" for n in range(3)} and "rest-00000-000.spool" in files
    again = SpooledMasks(tmp_path, "rest")
    again.take_stock(made.items())
    assert all((again.read(id) == int(id)).all() for id in made)
    again.write("31", np.zeros((1, 1), np.uint8))
    assert (tmp_path / "rest-00001-000.spool").is_file(), "a run never appends to what another has left"


@pytest.mark.parametrize("cut", [1, 3, 40, 60])
def test_half_a_record_is_no_mask(tmp_path, cut):
    spool = SpooledMasks(tmp_path, "rest")
    made = {id: spool.write(id, np.eye(4, dtype=np.uint8) * n) for n, id in enumerate(("a", "é b/c", "d"))}
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-cut])
    again = SpooledMasks(tmp_path, "rest")
    again.take_stock(made.items())
    assert ("a" in again, "é b/c" in again, "d" in again) == (True, True, False)
    loose = LooseMasks(tmp_path)
    loose.take_stock(made.items())
    assert loose.ids() == ["a", "é b/c"]


def test_a_full_disk_leaves_no_half_record(tmp_path, monkeypatch):
    spool = SpooledMasks(tmp_path, "rest")
    made = {"a": spool.write("a", np.zeros((4, 4), np.uint8))}
    file = spool._writer[1]

    class Full:
        name, tell, truncate, seek = file.name, file.tell, file.truncate, file.seek
        calls = 0

        def write(self, content):
            self.calls += 1
            if self.calls == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return file.write(content[:7])

    spool._writer = (spool._writer[0], Full())
    with pytest.raises(DiskFull, match="the disk is full"):
        spool.write("b", np.ones((4, 4), np.uint8))
    spool._writer = (spool._writer[0], file)
    made["c"] = spool.write("c", np.ones((4, 4), np.uint8))
    again = SpooledMasks(tmp_path, "rest")
    again.take_stock({**made, "b": 0}.items())
    assert [id for id in "abc" if id in again] == ["a", "c"]


def test_a_mask_that_is_no_image(tmp_path):
    folder = tmp_path / "masks"
    packs.write_packs(folder, [("a.png", b"no image"), ("deep/b.png", b"\x89PNG\r\n\x1a\n")], 2)
    for id in ("a", "deep/b"):
        with pytest.raises(WsssError, match=rf"zip/{id}\.png: the mask of image '{id}' .*it is no image"):
            MaskFolder(folder).read(id)
        with pytest.raises(WsssError, match=rf"zip/{id}\.png: cannot be read as a mask"):
            read_mask(MaskFolder(folder).file(id))
    assert "0x" not in json.dumps(str(pytest.raises(WsssError, MaskFolder(folder).read, "a").value))


def test_the_setting_is_a_flag_too(at):
    assert SETTINGS["packed"].canonical() == SETTINGS["vote"].canonical(), "a change re-runs nothing"
    assert isinstance(collecting.collected(at("vote"), at("vote").out), LooseMasks)
    assert isinstance(collecting.collected(at("packed"), at("packed").out), SpooledMasks)
