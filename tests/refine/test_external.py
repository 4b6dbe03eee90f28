"""Maps and masks made elsewhere: what fits is taken in, what does not is listed at once."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from wsss.errors import WsssError
from wsss.settings import ExternalCamsSettings, ExternalMasksSettings
from wsss.stages.external_cams import ExternalMaps, external_shards
from wsss.stages.external_cams import make as write_external_cams
from wsss.stages.external_masks import make as write_external_masks
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.exit import Interrupted


@pytest.fixture
def chain(tmp_path, pictures, make_maps):
    """An index, and a folder of maps of it as somebody else may have made them: no manifest, classes in any order."""
    index = pictures(tmp_path / "index")
    rng = np.random.default_rng(0)
    folder = make_maps(
        tmp_path / "s3", index, lambda item: (item.labels[::-1], 3 * rng.random((len(item.labels), 4, 5))), shards=3
    )
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    return index, folder


def taken_in(make_run, index, path, name="out", **values):
    settings = ExternalCamsSettings(path=str(path), **values)
    run = make_run("external_cams", settings, {"index": index.folder}, name, seed=3)
    write_external_cams(run)
    write_manifest(run.out, {})
    return run, MapStore(run.out)


def test_folder_of_shards(chain, make_run, tmp_path):
    index, folder = chain
    run, store = taken_in(make_run, index, tmp_path / "s{seed}", supervision="image-text pairs")
    write_manifest(folder, {})
    given = MapStore(folder)
    assert store.relative and store.attributes["stride"] == 4
    for item in index.items:
        record = store[item.id]
        assert record.classes.tolist() == list(item.labels)
        np.testing.assert_array_equal(store.full(item.id), given.full(item.id)[::-1])
    assert run.facts["supervision"] == "image-text pairs" and run.facts["images"] == 9 and run.facts["others"] == 0
    run, store = taken_in(make_run, index, folder, "val", splits="val")
    assert sorted(store.ids) == sorted(item.id for item in index.split("val")) and run.facts["others"] == 6


def one_file(path, index, of, shape=None, attributes=None, leave_out=(), again=()):
    """One HDF5 file written by hand, without the writer's checks."""
    items = [item for item in index.items if item.id not in leave_out] + list(again)
    rows = [of(item) for item in items]
    with h5py.File(path, "w") as file:
        file["id"] = np.array([item.id.encode() for item in items])
        file["size"] = np.array([shape or (item.height, item.width) for item in items], np.int32)
        file["shape"] = np.array([[maps.shape[1:]] for _, maps in rows], np.int32)
        file["classes"] = np.array([c for classes, _ in rows for c in classes], np.int32)
        file["class_end"] = np.cumsum([len(classes) for classes, _ in rows])
        file["data"] = np.concatenate([maps.ravel() for _, maps in rows])
        file["data_end"] = np.cumsum([maps.size for _, maps in rows])
        usual = {"format": "wsss-maps", "version": 1, "scales": [1.0], "flip": 0, "stride": 8, "round_to": 1}
        file.attrs.update({**usual, **(attributes or {})})
    return path


def fitting(item):
    return item.labels, np.full((len(item.labels), 2, 3), 0.25 + 0.5 * (item.height % 2))


def test_one_file_of_absolute_doubles(chain, make_run, tmp_path):
    index, _ = chain
    path = one_file(tmp_path / "clip.h5", index, fitting, attributes={"relative": 0})
    _, store = taken_in(make_run, index, path)
    assert not store.relative and store.attributes["round_to"] == 1
    for item in index.items:
        assert store[item.id].maps[0].dtype == np.float32
        np.testing.assert_allclose(store.full(item.id), 0.25 + 0.5 * (item.height % 2), rtol=1e-6)
    (tmp_path / "any").mkdir()
    path.rename(tmp_path / "any" / "clip.h5")
    assert len(taken_in(make_run, index, tmp_path / "any", "again")[1]) == 9


def test_all_that_is_wrong_is_listed_at_once(chain, make_run, tmp_path):
    index, _ = chain
    lost, tags, nan, low, empty = index.items[:5]
    assert not empty.labels

    def of(item):
        classes, maps = fitting(item)
        if item.id == tags.id:
            classes, maps = (7,), np.zeros((1, 2, 2))
        if item.id == nan.id:
            maps[0, 0, 0] = np.nan
        if item.id == low.id:
            maps[0, 0, 0] = -1e-3
        if item.id == empty.id:
            classes, maps = (0,), np.zeros((1, 2, 2))
        return classes, maps

    path = one_file(tmp_path / "bad.h5", index, of, leave_out=(lost.id,))
    with pytest.raises(WsssError) as error:
        taken_in(make_run, index, path)
    named = ", ".join(index.classes[c] for c in tags.labels)
    for said in (
        f"{path} does not fit the index {index.folder}",
        "5 of 9 failed",
        f"{lost.id}: no maps of it",
        f"{tags.id}: it is tagged with {named}, its maps are of class 7",
        f"{nan.id}: its maps hold NaN, infinite or negative values",
        f"{low.id}: its maps hold NaN, infinite or negative values",
        f"{empty.id}: it is tagged with nothing, its maps are of cat",
    ):
        assert said in str(error.value)
    assert not list((tmp_path / "out").glob("shard-*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shape": (3, 4)}, "pixels, its maps are for 3 x 4"),
        ({"attributes": {"relative": 0}, "of": lambda item: (item.labels, np.full((len(item.labels), 2, 2), 1.5))},
         "exceed 1, although the attribute 'relative' is 0"),
        ({"attributes": {"scales": [1.0, 2.0]}}, "it has maps at 1 scales, the attribute 'scales' has 2"),
        ({"of": lambda item: (item.labels, np.zeros((len(item.labels), 0, 2)))}, "its maps have no cells"),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit(chain, make_run, tmp_path, options, said):
    path = one_file(tmp_path / "bad.h5", chain[0], **{"of": fitting, **options})
    with pytest.raises(WsssError, match=said):
        taken_in(make_run, chain[0], path)


def test_files_that_do_not_fit(chain, tmp_path):
    index, folder = chain
    with pytest.raises(WsssError, match="nowhere does not exist; 'path' is a folder"):
        external_shards(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WsssError, match=r"holds no \*.h5"):
        external_shards(tmp_path / "empty")
    with pytest.raises(WsssError, match="cannot be read as a map shard"):
        external_shards(index.folder / "index.csv")
    (folder / "shard-00001-of-00003.h5").rename(tmp_path / "aside.h5")
    with pytest.raises(WsssError, match="missing shard-00001-of-00003.h5"):
        external_shards(folder)
    several = tmp_path / "several"
    several.mkdir()
    one_file(several / "a.h5", index, fitting)
    one_file(several / "b.h5", index, fitting, attributes={"stride": 16}, leave_out=[i.id for i in index.items[1:]])
    with h5py.File(several / "a.h5", "a") as file:
        del file.attrs["round_to"]
    with pytest.raises(WsssError) as error:
        external_shards(several)
    for said in ("a.h5 lacks the attributes round_to", "b.h5 has stride 16, a.h5 has 8", "stands in a.h5 already"):
        assert said in str(error.value)


def test_rows_that_cannot_be_read_are_named(chain, make_run, tmp_path):
    index, _ = chain
    path = one_file(tmp_path / "bad.h5", index, fitting)
    with h5py.File(path, "a") as file:
        file["shape"][1] = (5, 5)
    with pytest.raises(WsssError, match=f"1 of 9 failed:\n  {index.items[1].id}: row 1 of bad.h5 cannot be read"):
        taken_in(make_run, index, path)


def test_a_stage_that_was_stopped_keeps_maps_of_the_same_file_only(chain, make_run, tmp_path, monkeypatch):
    index, _ = chain
    path, read, original = one_file(tmp_path / "a.h5", index, fitting), [], ExternalMaps.__call__
    run = make_run("external_cams", ExternalCamsSettings(path=str(path)), {"index": index.folder})

    def counting(self, item):
        read.append(item.id)
        if len(read) == 4:
            run.stop = "a test"
        return original(self, item)

    monkeypatch.setattr(ExternalMaps, "__call__", counting)
    with pytest.raises(Interrupted):
        write_external_cams(run)
    run.stop = None
    write_external_cams(run)
    assert len(read) == 4 + 5
    with h5py.File(path, "a") as file:
        file["data"][0] = 0.125
    import wsss.provenance.files

    wsss.provenance.files.file_content.cache_clear()  # each run is a process of its own
    write_external_cams(make_run("external_cams", run.settings, run.inputs))
    assert len(read) == 4 + 5 + 9


@pytest.fixture
def folder(tmp_path, pictures):
    """An index, and a folder of masks of it, grey and palette."""
    index, rng = pictures(tmp_path / "index"), np.random.default_rng(0)
    for number, item in enumerate(index.items):
        path = tmp_path / "sam" / f"{item.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.choice([0, 1, 3, 255], (item.height, item.width)).astype(np.uint8))
        if number % 2:
            image.putpalette(bytes(range(256)) * 3)
        image.save(path)
    return index, tmp_path / "sam"


def test_masks(folder, make_run, tmp_path):
    index, path = folder
    settings = ExternalMasksSettings(path=str(tmp_path / "s{seed}m"), supervision="boxes")
    path.rename(tmp_path / "s3m")
    for threads in (1, 2):
        run = make_run("external_masks", settings, {"index": index.folder}, f"m{threads}", seed=3, threads=threads)
        write_external_masks(run)
        masks = MaskFolder(run.out / "masks")
        assert sorted(masks.ids()) == sorted(item.id for item in index.items)
        for item in index.items:
            with Image.open(tmp_path / "s3m" / f"{item.id}.png") as image:
                np.testing.assert_array_equal(masks.read(item.id), np.asarray(image))
            with Image.open(masks.file(item.id)) as image:
                assert image.mode == "P" and image.getpalette()[3:6] == [128, 0, 0]
        assert run.facts["supervision"] == "boxes" and run.facts["images"] == 9 and run.facts["ignored_share"] > 0.1


def test_masks_that_do_not_fit_are_listed_at_once(folder, make_run, tmp_path):
    index, path = folder
    lost, small, strange, colour, broken = index.items[:5]
    (path / f"{lost.id}.png").unlink()
    Image.fromarray(np.full((3, 4), 9, np.uint8)).save(path / f"{small.id}.png")
    Image.fromarray(np.full((strange.height, strange.width), 4, np.uint8)).save(path / f"{strange.id}.png")
    Image.new("RGB", (colour.width, colour.height)).save(path / f"{colour.id}.png")
    (path / f"{broken.id}.png").write_bytes(b"no")
    run = make_run("external_masks", ExternalMasksSettings(path=str(path)), {"index": index.folder})
    with pytest.raises(WsssError) as error:
        write_external_masks(run)
    for said in (
        f"{path} does not fit the index {index.folder}",
        "5 of 9 failed",
        f"{lost.id}: {path}/{lost.id}.png is missing",
        f"{small.id}: the image is {small.height} x {small.width} pixels, its mask 3 x 4; its mask holds the",
        f"{strange.id}: its mask holds the values [4]; allowed are 0 to 3 and 255",
        "colour mode RGB",
        f"{path}/{broken.id}.png: cannot be read as a mask",
    ):
        assert said in str(error.value)
    assert not (run.out / "masks").exists()
    nowhere = ExternalMasksSettings(path=str(tmp_path / "nowhere"))
    with pytest.raises(WsssError, match="nowhere is no folder"):
        write_external_masks(make_run("external_masks", nowhere, {"index": index.folder}))
