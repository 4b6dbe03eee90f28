"""Shards of images that are stopped, killed or spoilt: what is whole is kept, the rest is made again."""

from __future__ import annotations

import multiprocessing
import os
import signal

import h5py
import numpy as np
import pytest

import wsss.stages.ensemble
import wsss.stages.vote
from tests.refine.shared import KINDS, WRITE, content, make
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.parts import maps
from wsss.runtime.shard import Shard
from wsss.stages.ensemble import make as write_ensemble
from wsss.store.map_shards import MapShard
from wsss.store.masks import MaskFolder
from wsss.system.exit import Interrupted
from wsss.system.packs import record


@KINDS
@pytest.mark.parametrize("threads", [1, 2])
def test_stopped_at_every_image(at, stage, monkeypatch, threads):
    """A signal comes with each image; none is made twice, and the end is the same."""
    alone = make(at, stage, 1, "alone")
    run, made, stops = at(stage, "out", threads=threads), [], 0
    module = wsss.stages.ensemble if stage == "ensemble" else wsss.stages.vote

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
    monkeypatch.setattr(maps, "IMAGES_A_PART", 2)
    owner, name = (wsss.stages.ensemble, "combine") if stage == "ensemble" else (MaskFolder, "write")
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
    if path.suffix == ".spool":
        path.write_bytes(record("deep/é 3.png", encode_mask(np.zeros((3, 3), np.uint8))))
    elif path.suffix == ".png":
        MaskFolder(path.parent).write(path.stem, np.zeros((3, 3), np.uint8))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["key"] = "0123456789abcdef"


@KINDS
@pytest.mark.parametrize("spoil", [spoil_truncated, spoil_lost, spoil_foreign])
def test_a_spoilt_shard_is_made_again(at, stage, spoil, counted):
    files = content(make(at, stage, 1, "alone").out)
    counted.clear()
    for number in range(3):
        WRITE[stage](at(stage, "out", Shard(number, 3)))
    parts = sorted(
        path for path in (at(stage, "out").out / "parts").rglob("*") if path.suffix in (".h5", ".png", ".spool")
    )
    spoil(parts[1])
    run = at(stage, "out")
    WRITE[stage](run)
    assert content(run.out) == files
    lost = {"ensemble": 3, "vote": 1, "packed": 1 if spoil is spoil_truncated else 3}[stage]
    assert len(counted) == 9 + lost


def test_values_that_cannot_be_read_are_never_zeros(at):
    """A part whose tables are whole and whose values are not is an error that names it, and then made again."""
    run = at("ensemble", "out", Shard(0, 1))
    write_ensemble(run)
    (part,) = (run.out / "parts").rglob("*.h5")
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
