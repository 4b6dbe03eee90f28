"""Masks snapped to regions: by hand, pixel by pixel, in any order, and from files."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.mask import encode

from wsss.errors import WsssError
from wsss.refine.regions import Region, merged, read_regions
from wsss.runtime.shard import Shard
from wsss.settings import RegionMasksSettings
from wsss.stages.regions import make as write_regions
from wsss.store.manifest import write_manifest
from wsss.store.masks import MaskFolder

RNG = np.random.default_rng


def region(inside, iou=0.0):
    return Region(np.flatnonzero(inside), iou)


def rectangle(shape, top, bottom, left, right):
    inside = np.zeros(shape, bool)
    inside[top:bottom, left:right] = True
    return inside


def slow_merge(mask, regions, covered=0.5, covering=0.85, whole=0.95):
    """With sets of pixels and loops alone; the painted label of a pixel is that of the best region over it."""
    height, width = mask.shape
    places = list(itertools.product(range(height), range(width)))
    value = {place: int(mask[place]) for place in places}
    of = {c: {p for p in places if value[p] == c} for c in set(value.values()) - {0, 255}}
    chosen, inside = [], set()
    for pixels, iou in regions:
        cells = {divmod(int(p), width) for p in pixels}
        if not cells or len(cells) > whole * len(places):
            continue
        inside |= cells
        passing = [
            (len(of[c] & cells), len(of[c] & cells) / len(of[c]), c)
            for c in of
            if len(of[c] & cells) > covered * len(cells)
            or (of[c] & cells and len(of[c] & cells) >= covering * len(of[c]))
        ]
        best = [one for one in passing if one[:2] == max(other[:2] for other in passing)]
        if len(best) == 1:
            chosen.append((cells, iou, best[0][2]))
    result = np.zeros_like(mask)
    for p in places:
        over = [(len(cells), -iou, c) for cells, iou, c in chosen if p in cells]
        result[p] = value[p] if p not in inside or value[p] == 255 else 0
        while over:  # the smallest, then the surest; where those differ in class, the next ones
            top = min(one[:2] for one in over)
            classes = {c for size, iou, c in over if (size, iou) == top}
            if len(classes) == 1:
                result[p] = classes.pop()
                break
            over = [one for one in over if one[:2] != top]
    return result


def random_case(seed):
    rng = RNG(seed)
    shape = (int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    mask = rng.choice([0, 0, 1, 2, 3, 255], shape).astype(np.uint8)
    if seed % 2:
        mask = np.sort(mask, axis=seed % 4 // 2)  # whole areas
    regions = []
    for _ in range(rng.integers(0, 9)):
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        inside = rectangle(shape, top, top + rng.integers(1, 6), left, left + rng.integers(1, 6))
        regions.append(region(inside, float(rng.choice([0.5, 0.9]))))
    return mask, regions


@pytest.mark.parametrize("seed", range(60))
def test_against_sets_of_pixels_in_any_order(seed):
    mask, regions = random_case(seed)
    given = {"covered": 0.5, "covering": 0.6 if seed % 3 else 0.85, "whole": 0.95}
    expected = slow_merge(mask, regions, **given)
    for order in range(3):
        shuffled = [regions[k] for k in RNG(order).permutation(len(regions))]
        np.testing.assert_array_equal(merged(mask, shuffled, **given).mask, expected)
    # nor do the numbers of the classes matter
    names = np.arange(256, dtype=np.uint8)
    names[[1, 2, 3]] = [3, 1, 2]
    np.testing.assert_array_equal(merged(names[mask], regions, **given).mask, names[expected])


def test_three_rectangles_by_hand():
    shape = (6, 10)
    mask = np.zeros(shape, np.uint8)
    mask[1:5, 1:4] = 1  # 12 pixels
    mask[1:3, 6:9] = 2  # 6 pixels
    mask[5, 9] = 255
    mask[0, 0] = 3
    body = rectangle(shape, 1, 5, 1, 6)  # 20 pixels, 12 of class 1: covered 0.6
    wide = rectangle(shape, 0, 4, 5, 10)  # 20 pixels, all 6 of class 2: covered 0.3, covering 1
    miss = rectangle(shape, 5, 6, 0, 10)  # a row without objects, over the pixel that is left out
    found = merged(mask, [region(body), region(wide), region(miss)])
    expected = np.zeros(shape, np.uint8)
    expected[1:5, 1:6] = 1
    expected[0:4, 5:10] = 2  # as large as the body: what both claim, nobody gets ...
    expected[1:4, 5] = 0  # ... and so is what it was
    expected[5, 9] = 255
    expected[0, 0] = 3  # outside all regions
    np.testing.assert_array_equal(found.mask, expected)
    assert (found.regions, found.taken) == (3, 2)
    surer = merged(mask, [region(body, 0.9), region(wide, 0.8), region(miss)]).mask
    assert (surer[1:4, 5] == 1).all()
    everything = [region(np.ones(shape, bool))]
    np.testing.assert_array_equal(merged(mask, everything).mask, mask)
    np.testing.assert_array_equal(merged(mask, []).mask, mask)


def test_what_is_left_out_stays_unless_a_region_takes_it():
    mask = np.array([[1, 1, 255, 0, 0, 255, 0, 0]], np.uint8)
    head, tail = rectangle((1, 8), 0, 1, 0, 3), rectangle((1, 8), 0, 1, 4, 8)
    np.testing.assert_array_equal(merged(mask, [region(head), region(tail)]).mask, [[1, 1, 1, 0, 0, 255, 0, 0]])


def coded(inside, compressed=True, **more):
    if compressed:
        code = encode(np.asfortranarray(inside.astype(np.uint8)))
        code = {"size": code["size"], "counts": code["counts"].decode()}
    else:
        flat = inside.ravel(order="F").astype(int)
        runs = [len(list(group)) for _, group in itertools.groupby(flat)]
        code = {"size": list(inside.shape), "counts": ([0] if flat[0] else []) + runs}
    return {"segmentation": code, "area": int(inside.sum()), **more}


def test_files_of_both_kinds(tmp_path):
    rng = RNG(0)
    masks = [rng.random((5, 8)) > 0.6 for _ in range(3)]
    masks[0][0, 0] = True
    path = tmp_path / "a.json"
    records = [coded(masks[0], predicted_iou=0.75), coded(masks[1], compressed=False), coded(masks[2])]
    path.write_text(json.dumps(records))
    found = read_regions(path, (5, 8))
    assert [one.iou for one in found] == [0.75, 0.0, 0.0]
    for one, inside in zip(found, masks, strict=True):
        np.testing.assert_array_equal(one.pixels, np.flatnonzero(inside))
    labels = rng.integers(0, 5, (5, 8))
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "b.png")
    Image.fromarray((300 * labels).astype(np.uint16)).save(tmp_path / "c.png")
    for name in "bc":
        found = read_regions(tmp_path / f"{name}.png", (5, 8))
        assert len(found) == 4
        for value, one in enumerate(found, start=1):
            np.testing.assert_array_equal(one.pixels, np.flatnonzero(labels == value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no", "cannot be read as regions"),
        ("{}", "it holds no list"),
        ('[{"bbox": [0, 0, 1, 1]}]', "wanted is a list of records with 'segmentation'"),
        ('[{"segmentation": {"size": [5, 8], "counts": [3, 4]}}]', "do not add up"),
        ('[{"segmentation": {"size": [8, 5], "counts": [40]}}]', "of an image of 8 x 5 pixels, the image is 5 x 8"),
    ],
)
def test_files_that_do_not_fit(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(WsssError, match=said) as error:
        read_regions(path, (5, 8))
    assert str(path) in str(error.value)


def test_pictures_that_do_not_fit(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 5)).save(path)
    with pytest.raises(WsssError, match="its colour mode is RGB"):
        read_regions(path, (5, 8))
    Image.new("L", (5, 8)).save(path)
    with pytest.raises(WsssError, match="has 8 x 5 pixels, the image 5 x 8"):
        read_regions(path, (5, 8))


@pytest.fixture
def chain(tmp_path, pictures):
    """An index, masks of it, and regions of both kinds; the images without tags have none."""
    index, rng = pictures(tmp_path / "index"), RNG(3)
    for number, item in enumerate(index.items):
        mask = np.zeros((item.height, item.width), np.uint8)
        for place, c in enumerate(item.labels):
            mask[2:9, 1 + 8 * place : 8 + 8 * place] = c + 1
        MaskFolder(tmp_path / "given" / "masks").write(item.id, mask)
        path = tmp_path / "sam" / item.id
        path.parent.mkdir(parents=True, exist_ok=True)
        if not item.labels:
            continue
        if number % 2:
            labels = np.kron(rng.integers(0, 300, (6, 8)), np.ones((6, 6)))[: item.height, : item.width]
            Image.fromarray(labels.astype(np.uint16)).save(f"{path}.png")
        else:
            inside = rectangle((item.height, item.width), 1, 12, 0, 10)
            path.with_name(f"{path.name}.json").write_text(json.dumps([coded(inside, predicted_iou=0.5)]))
    write_manifest(tmp_path / "given", {"settings": {"splits": ["train", "val"]}, "inputs": {}})
    return index, {"index": index.folder, "masks": tmp_path / "given"}, tmp_path / "sam"


def test_the_stage_and_its_shards(chain, make_run):
    index, inputs, path = chain
    settings = RegionMasksSettings(masks="given", regions=str(path))
    run = make_run("regions", settings, inputs)
    write_regions(run)
    given, made = (MaskFolder(folder / "masks") for folder in (inputs["masks"], run.out))
    changed = pixels = 0
    for item in index.items:
        regions = []
        for file in path.glob("**/*"):
            if file.is_file() and file.stem == item.id.split("/")[-1]:
                regions = read_regions(file, (item.height, item.width))
        before, after = given.read(item.id), made.read(item.id)
        np.testing.assert_array_equal(after, slow_merge(before, regions))
        changed, pixels = changed + int((before != after).sum()), pixels + before.size
    assert changed and run.facts["changed_share"] == round(changed / pixels, 4)
    assert 0 < run.facts["regions_taken"] <= run.facts["regions"]
    for shard in (Shard(0, 2), None):
        again = make_run("regions", settings, inputs, "again", shard=shard)
        write_regions(again)
    assert again.facts == run.facts
    for item in index.items:
        assert MaskFolder(again.out / "masks").file(item.id).read_bytes() == made.file(item.id).read_bytes()


def test_what_is_missing_is_listed_at_once(chain, make_run, tmp_path):
    index, inputs, path = chain
    lost, twice = [item for item in index.items if item.labels][:2]
    for suffix in (".json", ".png"):
        (path / f"{lost.id}{suffix}").unlink(missing_ok=True)
        (path / f"{twice.id}{suffix}").touch()
    run = make_run("regions", RegionMasksSettings(masks="given", regions=str(path)), inputs)
    with pytest.raises(WsssError) as error:
        write_regions(run)
    assert "2 of 9 failed" in str(error.value) and f"{lost.id}.json is missing, and .png too" in str(error.value)
    assert "for one image; take one of them away" in str(error.value) and not (run.out / "masks").exists()
    nowhere = RegionMasksSettings(masks="given", regions=str(tmp_path / "nowhere"))
    with pytest.raises(WsssError, match="nowhere is no folder"):
        write_regions(make_run("regions", nowhere, inputs))
