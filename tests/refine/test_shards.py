"""Images shared out between jobs: the same bytes, nothing lost, nothing made twice."""

from __future__ import annotations

import pytest

import wsss.stages.ensemble
import wsss.stages.vote
from tests.refine.shared import KINDS, SETTINGS, WRITE, content, make
from wsss.errors import WsssError
from wsss.parts import maps
from wsss.runtime.shard import Shard
from wsss.stages.ensemble import make as write_ensemble
from wsss.store.map_shards import shard_name
from wsss.system import packs


def test_shards_are_the_list():
    for total in (1, 2, 3, 7, 20):
        shards = [Shard(number, total).of(range(9)) for number in range(total)]
        assert sum(shards, []) == list(range(9))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_shards_by_name():
    assert Shard.read("2/3") == Shard(2, 3) and str(Shard(2, 3)) == "2-of-3"
    for text in ("3/3", "-1/3", "1", "1/0", "a/b"):
        with pytest.raises(Exception, match="is no I/N with I from 0 to N - 1"):
            Shard.read(text)


@KINDS
def test_the_same_bytes_for_any_number_of_shards_and_threads(at, stage, monkeypatch):
    monkeypatch.setattr(maps, "IMAGES_A_FILE", 4)
    monkeypatch.setattr(maps, "IMAGES_A_PART", 2)
    monkeypatch.setattr(packs, "FILES", 4)
    alone = make(at, stage, 1, "alone")
    files = content(alone.out)
    assert len(files) == {"ensemble": 4, "vote": 10, "packed": 5}[stage]
    for jobs, threads in ((2, 1), (3, 2), (7, 1), (20, 1)):
        run = make(at, stage, jobs, f"by {jobs}", threads)
        assert content(run.out) == files
        assert run.facts == alone.facts


@KINDS
def test_putting_together_makes_nothing_again(at, stage, counted):
    make(at, stage, 3, "out")
    assert len(counted) == 9


@KINDS
def test_a_shard_alone_is_no_artefact(at, stage):
    run = at(stage, "out", Shard(1, 3))
    WRITE[stage](run)
    assert content(run.out) == {} and run.facts["images"] == 3
    assert run.recorded["shard"] == "1-of-3"


@KINDS
def test_what_other_numbers_of_shards_made_is_kept(at, stage, counted):
    files = content(make(at, stage, 1, "alone").out)
    counted.clear()
    WRITE[stage](at(stage, "out", Shard(0, 2)))  # 4 images
    WRITE[stage](at(stage, "out", Shard(1, 3)))  # 3 images, one of them made already
    assert len(counted) == 4 + 2
    run = at(stage, "out")
    WRITE[stage](run)
    assert len(counted) == 9 and content(run.out) == files


@KINDS
def test_an_image_that_nobody_makes_is_an_error(at, stage, monkeypatch):
    module = wsss.stages.ensemble if stage == "ensemble" else wsss.stages.vote
    original = module.over
    monkeypatch.setattr(module, "over", lambda items, *rest: list(original(items, *rest))[:-1])
    run = at(stage, "out")
    with pytest.raises(WsssError, match="1 images were not made, the first is 'deep/é 8'"):
        WRITE[stage](run)
    assert not (run.out / "masks").exists() and not list(run.out.glob("shard-*"))


@KINDS
def test_other_settings_keep_nothing(at, stage, counted):
    make(at, stage, 3, "out")
    other = {"rule": "max" if stage == "ensemble" else "agreement"}
    values = {**SETTINGS[stage].model_dump(mode="json"), **other}
    changed = at(stage, "out", settings=type(SETTINGS[stage]).read(values))
    counted.clear()
    WRITE[stage](changed)
    assert len(counted) == 9
    assert [path.name for path in (changed.out / "parts").iterdir()] == [changed.identity]
    counted.clear()
    again = at(stage, "out", settings=type(SETTINGS[stage]).read({**values, "shards": 5}))
    if stage == "ensemble":  # the masks were moved to where they belong
        WRITE[stage](again)
        assert not counted
    assert again.identity == changed.identity


def test_old_shards_go(at):
    run = at("ensemble", "out")
    for name in (shard_name(1, 4), ".shard-00000-of-00004.h5.1.tmp"):
        (run.out / name).write_bytes(b"old")
    write_ensemble(run)
    assert sorted(path.name for path in run.out.glob("*shard-*")) == [shard_name(0, 1)]
