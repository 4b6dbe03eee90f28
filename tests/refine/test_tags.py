"""Tags as the judge of masks and maps made elsewhere: what is corrupted on purpose is found, all of it."""

from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Index, Item, write_index
from wsss.data.palette import IGNORE
from wsss.refine.tags import COLUMNS, UNTAGGED, WITHOUT, judge, without_untagged
from wsss.report.provenance import Scored, supervision
from wsss.report.tables import tags_table
from wsss.settings import ExternalCamsSettings, ExternalMasksSettings
from wsss.stages.external_cams import make as write_external_cams
from wsss.stages.external_masks import make as write_external_masks
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

CLASSES = ("cat", "dog", "red cow", "sheep")
NUMBER = 40


def slow_judge(mask, labels):
    """Class by class, pixel by pixel."""
    untagged = []
    for c in range(254):
        pixels = sum(int(value) == c + 1 for row in mask for value in row)
        if pixels and c not in labels:
            untagged.append((c, pixels))
    return untagged, [c for c in labels if not any(int(value) == c + 1 for row in mask for value in row)]


@pytest.mark.parametrize("become", ["background", "ignore"])
def test_against_pixel_by_pixel(become):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.choice([0, 1, 2, 3, 7, 255], (6, 9)).astype(np.uint8)
        labels = tuple(sorted(rng.permutation(8)[: rng.integers(0, 4)].tolist()))
        judged = judge(mask, labels)
        assert (judged.untagged, judged.absent) == slow_judge(mask, labels)
        cleaned = without_untagged(mask, judged, become)
        for before, after in zip(mask.ravel().tolist(), cleaned.ravel().tolist(), strict=True):
            kept = before in (0, 255) or before - 1 in labels
            assert after == (before if kept else {"background": 0, "ignore": 255}[become])


@pytest.fixture
def corrupted(tmp_path):
    """An index of 40 photos, a folder of their true masks with an untagged class painted over a tenth of them, the
    true masks, and what was painted: id -> (class, pixels)."""
    rng = np.random.default_rng(1)
    items, truth, painted = [], {}, {}
    chosen = set(rng.permutation(NUMBER)[: NUMBER // 10].tolist())
    for number in range(NUMBER):
        height, width = 20 + number % 5, 30 + number % 7
        id = f"deep/{number}"
        labels = () if number == 7 else tuple(sorted(rng.permutation(4)[: 1 + number % 2].tolist()))
        path = tmp_path / "images" / f"{id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
        items.append(Item(id, "train", path, None, height, width, labels, False))
        mask = np.zeros((height, width), np.uint8)
        for place, c in enumerate(labels):
            mask[3:12, 2 + 12 * place : 12 + 12 * place] = c + 1
        truth[id] = mask.copy()
        if number in chosen:
            wrong = next(c for c in range(4) if c not in labels)
            mask[8:20, 5:25] = wrong + 1
            painted[id] = (wrong, int((mask == wrong + 1).sum()))
        MaskFolder(tmp_path / "sam").write(id, mask)
    write_index(tmp_path / "index", CLASSES, items)
    write_json(tmp_path / "index" / "report.json", {"dataset": "photos", "dropped": []})
    write_manifest(tmp_path / "index", {"stage": "index"})
    return Index.load(tmp_path / "index"), tmp_path / "sam", truth, painted


def miou(masks, truth):
    """Mean IoU over all classes and the background; a pixel that is left out counts as missed."""
    pairs = [(masks.read(id), true) for id, true in truth.items()]
    ious = []
    for value in range(len(CLASSES) + 1):
        both = sum(int(((mask == value) & (true == value)).sum()) for mask, true in pairs)
        either = sum(int(((mask == value) | (true == value)).sum()) for mask, true in pairs)
        ious.append(both / either)
    return float(np.mean(ious))


def taken_in(make_run, index, path, name, **values):
    settings = ExternalMasksSettings(path=str(path), supervision="text", splits=("train",), **values)
    run = make_run("external_masks", settings, {"index": index.folder}, f"s0/masks/{name}")
    write_external_masks(run)
    write_manifest(run.out, {"settings": settings.model_dump(mode="json"), "inputs": {}, **run.facts})
    return run, MaskFolder(run.out / "masks")


def test_every_painted_photo_is_caught(corrupted, make_run, tmp_path, caplog):
    index, path, truth, painted = corrupted
    (tmp_path / "s0/masks").mkdir(parents=True)
    assert len(painted) == 4
    with caplog.at_level(logging.INFO):
        raw, before = taken_in(make_run, index, path, "raw")
    share = sum(pixels for _, pixels in painted.values()) / sum(item.height * item.width for item in index.items)
    assert raw.facts["tags"]["untagged_images"] == 4 and not (raw.out / "tags.csv").exists()
    assert raw.facts["tags"]["untagged_share"] == pytest.approx(share, abs=1e-6)
    first = next(item.id for item in index.items if item.id in painted)
    assert "4 of 40 images have pixels" in caplog.text and f"first images: {first}" in caplog.text
    assert "they are kept as they are, 'veto: tags' takes them out" in caplog.text

    clean, after = taken_in(make_run, index, path, "clean", veto="tags")
    left, without = taken_in(make_run, index, path, "left", veto="tags", vetoed="ignore")
    for item in index.items:
        given, cleaned, left_out = (masks.read(item.id) for masks in (before, after, without))
        np.testing.assert_array_equal(given, MaskFolder(path).read(item.id))
        wrong = np.isin(given, [c + 1 for c in range(4) if c not in item.labels])
        assert wrong.any() == (item.id in painted)
        np.testing.assert_array_equal(cleaned, np.where(wrong, 0, given))
        np.testing.assert_array_equal(left_out, np.where(wrong, IGNORE, given))
    with open(clean.out / "tags.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == COLUMNS
    found = {row[0]: (CLASSES.index(row[1]), int(row[3])) for row in rows if row[2] == UNTAGGED}
    assert found == painted and clean.facts["tags"] == raw.facts["tags"]
    absent = {(row[0], CLASSES.index(row[1])) for row in rows if row[2] == WITHOUT}
    assert absent == {(i.id, c) for i in index.items for c in i.labels if not (before.read(i.id) == c + 1).any()}
    assert left.facts["ignored_share"] == pytest.approx(share, abs=1e-4)

    # what is painted over an object is lost with either reading; the wrong class no longer counts against its own
    figures = [miou(masks, truth) for masks in (before, after, without)]
    assert figures[0] < figures[2] < figures[1] < 1
    assert figures[1] - figures[0] > 0.05

    assert supervision(clean.out) == ["image tags", "elsewhere: text"] and supervision(raw.out) == ["elsewhere: text"]
    scored = [Scored(tmp_path, "masks", run.out.name, 0, {}, run.out) for run in (raw, clean, left)]
    table = tags_table(scored)
    assert [row[1] for row in table.rows] == ["raw", "clean", "left"]
    assert [row[4] for row in table.rows] == ["kept", "background", "ignore"]
    assert {(row[2], row[3]) for row in table.rows} == {("10.0", f"{100 * share:.1f}")}


def test_tags_without_a_pixel_are_listed_by_id(corrupted, make_run, tmp_path, caplog):
    index, path, _, _ = corrupted
    (tmp_path / "s0/masks").mkdir(parents=True)
    empty = next(item for item in index.items if len(item.labels) == 2)
    MaskFolder(path).write(empty.id, np.zeros((empty.height, empty.width), np.uint8))
    run, _ = taken_in(make_run, index, path, "clean", veto="tags")
    with open(run.out / "tags.csv", newline="", encoding="utf-8") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert [row for row in rows if row[0] == empty.id] == [
        (empty.id, CLASSES[c], WITHOUT, "0") for c in empty.labels
    ]  # fmt: skip
    assert run.facts["tags"]["tags_absent"] >= 2 and "without a pixel" in caplog.text and "tags.csv" in caplog.text


def test_shards_say_the_same(corrupted, make_run, tmp_path):
    from wsss.runtime.shard import Shard

    index, path, _, _ = corrupted
    (tmp_path / "s0/masks").mkdir(parents=True)
    whole, masks = taken_in(make_run, index, path, "clean", veto="tags")
    settings = ExternalMasksSettings(path=str(path), supervision="text", splits=("train",), veto="tags")
    for shard in (Shard(0, 3), Shard(1, 3), None):
        run = make_run("external_masks", settings, {"index": index.folder}, "again", shard=shard)
        write_external_masks(run)
        assert ("tags" in run.facts) == (shard is None)
    assert run.facts["tags"] == whole.facts["tags"]
    assert (run.out / "tags.csv").read_bytes() == (whole.out / "tags.csv").read_bytes()
    for id in masks.ids():
        assert MaskFolder(run.out / "masks").file(id).read_bytes() == masks.file(id).read_bytes()


def test_maps_of_other_classes_are_left_out(tmp_path, pictures, make_maps, make_run):
    index = pictures(tmp_path / "index")
    more, less = (item for item in index.items[:2])
    rng = np.random.default_rng(0)
    given = {}

    def of(item):
        classes = item.labels[::-1]
        if item.id == more.id:
            classes = tuple(range(3))
        if item.id == less.id:
            classes = item.labels[1:]
        given[item.id] = dict(zip(classes, rng.random((len(classes), 4, 5)).astype(np.float32), strict=True))
        return classes, np.stack(list(given[item.id].values()) or [np.zeros((4, 5))])[: len(classes)]

    folder = make_maps(tmp_path / "clip", index, of)
    settings = ExternalCamsSettings(path=str(folder), veto="tags")
    run = make_run("external_cams", settings, {"index": index.folder})
    write_external_cams(run)
    write_manifest(run.out, {"settings": {}, "inputs": {}})
    store = MapStore(run.out)
    for item in index.items:
        record = store[item.id]
        assert record.classes.tolist() == list(item.labels)
        for c, array in zip(item.labels, record.maps[0], strict=True):
            expected = given[item.id].get(c)
            np.testing.assert_array_equal(array, np.zeros_like(array) if expected is None else expected)
    names = index.classes
    assert run.facts["tags"]["untagged_images"] == 1 and run.facts["tags"]["tags_absent"] == 1
    lines = (run.out / "tags.csv").read_text().splitlines()[1:]
    wanted = [f"{more.id},{names[c]},{UNTAGGED},0" for c in range(3) if c not in more.labels]
    wanted += [f"{less.id},{names[less.labels[0]]},{WITHOUT},0"]
    assert lines == wanted
    assert json.dumps(run.facts["tags"])
