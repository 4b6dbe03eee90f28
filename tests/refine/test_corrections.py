"""Corrections by hand: laid over the masks of any source, checked before any work, told in the manifest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import wsss.parts.corrections
import wsss.stages.choice
import wsss.stages.external_masks
import wsss.stages.masks
import wsss.stages.regions
import wsss.stages.vote
from tests.refine.shared import content
from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.parts.corrections import Corrections, corrected
from wsss.provenance.files import corrections_content, file_content
from wsss.runtime.shard import Shard
from wsss.settings import ChoiceSettings, ExternalMasksSettings, MasksSettings, RegionMasksSettings, VoteSettings
from wsss.store.masks import MaskFolder
from wsss.system.exit import Interrupted

SOURCES = {
    "vote": (wsss.stages.vote, VoteSettings, {"members": ["m0", "m1"]}),
    "choice": (wsss.stages.choice, ChoiceSettings, {"members": ["m0", "m1", "m0 again"], "splits": ["train"]}),
    "external_masks": (wsss.stages.external_masks, ExternalMasksSettings, {"splits": ["train", "val"]}),
    "regions": (wsss.stages.regions, RegionMasksSettings, {"masks": "m0"}),
    "masks": (wsss.stages.masks, MasksSettings, {"cams": "m0", "crf": None}),
}


def by_hand(mask, correction):
    """Pixel by pixel."""
    made = mask.copy()
    for place, value in np.ndenumerate(correction):
        if value == 254:
            made[place] = 255
        elif value != 255:
            made[place] = value
    return made


@pytest.fixture
def source(request, members, make_run, tmp_path):
    """``source(stage)`` gives ``made(name, shard=None, **settings)``: a run of that stage, done."""

    def of(stage):
        module, cls, values = SOURCES[stage]
        index, m0, m1 = (members[name] for name in ("index", "members.0", "members.1"))
        inputs = {
            "vote": members,
            "choice": {**members, "members.2": m0},
            "external_masks": {"index": index},
            "regions": {"index": index, "masks": m0},
            "masks": {"index": index, "cams": m0},
        }[stage]
        path = {"external_masks": {"path": str(m1 / "masks")}, "regions": {"regions": str(m1 / "masks")}}.get(stage, {})

        def made(name, shard=None, begun=None, **more):
            run = make_run(stage, cls.read({**values, **path, **more}), inputs, name, shard=shard)
            if begun is not None:
                begun(run)
            module.make(run)
            return run

        return made

    return of


@pytest.fixture
def folder(members, tmp_path):
    """Corrections of some images of both splits: strokes, a whole mask, all left out, and one that changes nothing."""
    index, rng = Index.load(members["index"]), np.random.default_rng(5)
    path = tmp_path / "corrections"
    for number, item in enumerate(index.items[n] for n in (0, 2, 3, 4, 7)):
        shape = (item.height, item.width)
        values = (
            rng.choice([0, 1, 3, 254, 255, 255], shape),
            rng.choice([0, 2], shape),
            np.full(shape, 254),
            np.full(shape, 255),
            rng.choice([2, 255], shape),
        )
        MaskFolder(path).write(item.id, values[number].astype(np.uint8))
    (path / "review.json").write_text("{}")
    return path


def test_every_pair_of_values():
    mask, correction = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    np.testing.assert_array_equal(corrected(mask, correction), by_hand(mask, correction))
    assert corrected(mask, correction).dtype == np.uint8


@pytest.mark.parametrize("stage", SOURCES)
def test_any_source_of_masks(stage, source, folder, members, tmp_path):
    made, index = source(stage), Index.load(members["index"])
    plain, run = made("plain"), made("by hand", corrected=str(folder))
    before, after, given = (MaskFolder(one) for one in (plain.out / "masks", run.out / "masks", folder))
    images = pixels = 0
    assert after.ids() == before.ids()
    for id in before.ids():
        expected = by_hand(before.read(id), given.read(id)) if id in given else before.read(id)
        np.testing.assert_array_equal(after.read(id), expected)
        images += id in given
        pixels += int((expected != before.read(id)).sum())
    assert run.facts.pop("corrected") == {"images": images, "pixels": pixels} and pixels > 500
    assert images == (4 if stage == "choice" else 5) and len(index.items) == 9
    assert run.facts == plain.facts
    with Image.open(after.file(index.items[2].id)) as image:
        assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]


@pytest.mark.parametrize("stage", ["vote", "external_masks"])
def test_the_same_bytes_for_any_number_of_shards(stage, source, folder):
    made = source(stage)
    alone = made("alone", corrected=str(folder))
    for number in range(3):
        made("shared", Shard(number, 3), corrected=str(folder))
    together = made("shared", corrected=str(folder))
    assert content(together.out) == content(alone.out) and together.facts == alone.facts
    assert together.digests == alone.digests


def test_stopped_while_they_are_laid_over(source, folder, monkeypatch):
    """Masks that are corrected already do not count as made, for their pixels would be counted as unchanged."""
    made = source("vote")
    alone = made("alone", corrected=str(folder))
    write, seen = MaskFolder.write, []

    def stopping(self, id, mask):
        seen.append(id)
        if len(seen) == 11:
            runs[-1].stop = "a test"
        return write(self, id, mask)

    runs = []
    monkeypatch.setattr(MaskFolder, "write", stopping)
    with pytest.raises(Interrupted):
        made("out", begun=runs.append, corrected=str(folder))
    assert not (runs[0].out / "masks").exists() and len(seen) == 11
    again = made("out", corrected=str(folder))
    assert content(again.out) == content(alone.out) and again.facts == alone.facts
    assert len(seen) == 11 + 2 + 5  # both that had been laid over are made again, then all five are


@pytest.mark.parametrize("stage", SOURCES)
def test_all_that_does_not_fit_is_told_before_any_work(stage, source, folder, members, monkeypatch):
    index = Index.load(members["index"])
    small, strange, colour, broken, twice = index.items[:5]
    masks = MaskFolder(folder)
    masks.write("deep/é 11", np.zeros((3, 4), np.uint8))
    masks.write(small.id, np.zeros((3, 4), np.uint8))
    masks.write(strange.id, np.full((strange.height, strange.width), 4, np.uint8))
    Image.new("RGB", (colour.width, colour.height)).save(masks.file(colour.id))
    masks.file(broken.id).write_bytes(b"no")
    masks.file(twice.id).with_suffix(".PNG").write_bytes(masks.file(twice.id).read_bytes())
    monkeypatch.setattr(wsss.parts.corrections, "SHOWN", 9)
    monkeypatch.setattr(MaskFolder, "write", lambda *_: pytest.fail("a mask is written"))
    with pytest.raises(WsssError) as error:
        source(stage)("out", corrected=str(folder))
    for said in (
        f"{folder} does not fit the index {index.folder}: 6 problems of corrections",
        f"{masks.file('deep/é 11')} (id 'deep/é 11'): no image has this id; did you mean 'deep/é 1'?; rename",
        f"{masks.file(small.id)} (id {small.id!r}): is 3 x 4 pixels, the image {small.height} x {small.width}; draw",
        f"(id {strange.id!r}): holds the values [4]; allowed are 0 to 3, 254 (leave out) and 255 (untouched); draw",
        f"(id {colour.id!r}): cannot be read as a mask (it has the colour mode RGB",
        f"(id {broken.id!r}): cannot be read as a mask (not an image of a known kind); save it as 8-bit palette PNG",
        f"{masks.file(twice.id)} (id {twice.id!r}): is a second correction beside ",
    ):
        assert said in str(error.value)
    monkeypatch.setattr(wsss.parts.corrections, "SHOWN", 2)
    with pytest.raises(WsssError, match="and 4 more$"):
        source(stage)("out", corrected=str(folder))
    with pytest.raises(WsssError, match="nowhere is no folder; 'corrected' is a folder of corrections"):
        source(stage)("out", corrected=str(folder / "nowhere"))


def test_so_many_classes_that_a_value_would_mean_two_things(folder, members):
    index = Index.load(members["index"])
    many = Index(tuple(f"class {n}" for n in range(254)), index.items, index.folder, index.name)
    with pytest.raises(WsssError, match="254 for pixels to leave out, but the dataset has 254 classes"):
        Corrections.read(folder, many)


def test_their_bytes_are_part_of_the_identity(at, folder, members):
    id = Index.load(members["index"]).items[7].id

    def identity(corrections=str(folder)):
        file_content.cache_clear()
        corrections_content.cache_clear()
        return at("vote", settings=VoteSettings(members=("m0", "m1"), corrected=corrections)).identity

    before = identity()
    (folder / "review.json").write_text('{"seen": []}')
    (folder / ".hidden.png").write_bytes(b"killed")
    assert identity() == before
    MaskFolder(folder).write(id, np.zeros_like(MaskFolder(folder).read(id)))
    assert identity() != before
    MaskFolder(folder).file(id).unlink()
    assert identity() not in (before, identity(None))
    assert identity(None) == at("vote").identity


def test_files_of_one_size_are_told_apart(tmp_path):
    told = []
    for byte in (b"a", b"b"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / "x.png").write_bytes(byte)
        file_content.cache_clear()
        corrections_content.cache_clear()
        told.append(corrections_content(str(tmp_path)))
    (tmp_path / "sub" / "x.png").rename(tmp_path / "y.png")
    corrections_content.cache_clear()
    assert len({*told, corrections_content(str(tmp_path))}) == 3
    assert corrections_content(str(tmp_path / "none")) == "absent"
