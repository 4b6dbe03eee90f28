"""Messages that no other test reaches: small mistakes, each with the words that name it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsss.config.loader import load
from wsss.config.yaml import read_yaml
from wsss.data.images import check_image
from wsss.data.index import Index, Item
from wsss.data.kinds.coco import _images
from wsss.data.kinds.folder import collect
from wsss.data.kinds.voc import read_foreign_mask
from wsss.data.lists import read_tags, read_text
from wsss.data.sampling import Order
from wsss.data.validate import check_classes
from wsss.errors import WsssError
from wsss.evaluate.counting import CoverageCounter, true_mask
from wsss.report.provenance import read_scored
from wsss.settings import FolderSettings
from wsss.stages.ablation_table import write_study
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapShard, MapWriter, shard_paths
from wsss.store.masks import MaskFolder
from wsss.store.weights import load_weights


def photos(at: Path, table: str = "id,labels\na,\n", suffix: str = ".png") -> None:
    (at / "images").mkdir()
    Image.new("RGB", (4, 4)).save(at / "images" / f"a{suffix}")
    (at / "tags.csv").write_text(table)
    collect(FolderSettings(images=str(at / "images"), labels=str(at / "tags.csv")), at)


def picture(at: Path, image: Image.Image) -> None:
    image.save(at / "a.tiff")
    check_image((at / "a.tiff").read_bytes())


def table(at: Path) -> None:
    (at / "tags.csv").write_text('id,labels\na,"cat\n')
    read_tags(at / "tags.csv", ";")


def index(at: Path) -> None:
    for name, text in {"classes.txt": "cat\n", "report.json": "{}", "index.csv": "id,split\n"}.items():
        (at / name).write_text(text)
    Index.load(at)


def sbd(at: Path) -> None:
    savemat(at / "a.mat", {"other": np.zeros(1)})
    read_foreign_mask(at / "a.mat")


def shards(at: Path) -> None:
    for name in ("shard-00000-of-00001.h5", "shard-00000-of-00002.h5"):
        (at / name).touch()
    shard_paths(at)


def cut_off(at: Path) -> None:
    path = at / "shard-00000-of-00001.h5"
    with MapWriter(path, scales=(1.0,), flip=False, stride=16) as writer:
        writer.add("a", np.array([0]), (32, 32), [np.ones((1, 2, 2), np.float32)])
    with h5py.File(path, "a") as file:
        kept = file["data"][:-1]
        del file["data"]
        file["data"] = kept
    MapShard(path)


def many_values(at: Path) -> None:
    from wsss.data.validate import Entry, _look

    Image.new("RGB", (16, 16)).save(at / "a.png")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(at / "mask.png")
    _, problems, _ = _look(Entry("a", "train", at / "a.png", at / "mask.png"), {"cat": 0}, "")
    raise WsssError("\n".join(map(str, problems)))


def several_classes(at: Path) -> None:
    raise WsssError("\n".join(map(str, check_classes([f"c{k}" for k in range(255)]))))


ITEM = Item("a", "train", Path("a.png"), None, 4, 5, (0,), True)


def coverage(at: Path) -> None:
    masks = MaskFolder(at)
    masks.write("a", np.zeros((5, 4), np.uint8))
    counter = CoverageCounter(masks, None, 1)
    counter.add(counter.start(), ITEM)


def scores(at: Path) -> None:
    write_manifest(at, {"seed": 0, "inputs": {}})
    read_scored(at)


def study(at: Path) -> None:
    layout = json.dumps([["priors", "vanilla", {"CAM": ["cams", "v"]}]])
    write_study(SimpleNamespace(args=SimpleNamespace(layout=layout), several=lambda name: []))


MISTAKES: dict[str, Callable[[Path], object]] = {
    "255 classes; a dataset has 1 to 254 object classes": several_classes,
    "holds 2 (1 pixels), 3 (1 pixels), 4 (1 pixels), 5 (1 pixels), 6 (1 pixels), ...; allowed are 0": many_values,
    "the folder of images is not there; unpack it there": lambda at: _images(at, "train2014"),
    "holds no image (.": lambda at: photos(at, suffix=".gif"),
    "no row has a label; fill the column 'labels'": photos,
    "it holds values that are not finite": lambda at: picture(at, Image.new("F", (4, 4), float("nan"))),
    "its colours are CIE L*a*b*; save it as RGB": lambda at: picture(at, Image.new("LAB", (4, 4))),
    "the columns of index.csv must be id,split,image": index,
    "the list of ids cannot be read (Is a directory)": lambda at: read_text(at, "the list of ids"),
    "is not comma-separated values (unexpected end of data); mend the quotes": table,
    "only 3 training images for a batch of 4; lower batch_size to at most 3": lambda at: Order(3, 4, 1, 0),
    "a batch of 4 cannot be shared evenly by 3 devices": lambda at: Order(9, 4, 1, 0, ranks=3),
    "holds no GTcls.Segmentation": sbd,
    "holds shards of several sets (shard-00000-of-00001.h5, shard-00000-of-00002.h5)": shards,
    "is damaged: 3 values, not as many as its table says": cut_off,
    "it is to be scored and has no true mask; build the index again": lambda at: true_mask(ITEM),
    "it is 4 x 5 pixels, what is to be scored (5, 4)": coverage,
    "no whole scores (FileNotFoundError": scores,
    "scores of cams v were not given (--scores)": study,
    "no such file of weights; check the path": lambda at: load_weights(at / "a.safetensors"),
}
"""The words -> what provokes them, in an empty folder."""


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named(said: str, tmp_path: Path) -> None:
    with pytest.raises((WsssError, ValueError), match=re.escape(said)):
        MISTAKES[said](tmp_path)


SCENES = {"dataset": "a", "datasets": {"a": {"kind": "scenes"}}}
RECIPES = {
    "classifiers": {"v": {"objective": "vanilla"}},
    "cams": {"c": {"classifier": "v"}},
    "saliency": {"s": {"objective": "c2am"}},
}
BAND = {"foreground": 0.4, "background": 0.1}
TURNED = {"foreground": 0.1, "background": 0.4}
REFUSED = [
    ("affinity", {"cams": "c", "width": 30}, "width (30) must be a multiple of 4"),
    ("affinity", {"cams": "c", "crop": 64}, "crop (64) must be at least 8 x radius (80) for pairs to fit"),
    ("affinity", {"cams": "c", "labels": TURNED}, "labels.background (0.4) must not exceed labels.foreground (0.1)"),
    ("cams", {"classifier": "v", "normalise": "softmax"}, "classifiers.v is 'vanilla'; use 'class', or a guided"),
    (
        "cams",
        {"classifier": "v", "normalise": "softmax", "explainer": "grad-cam"},
        "normalise: softmax reads a guided classifier's own maps, and the explainer is 'grad-cam'; leave one of them",
    ),
    ("classifiers", {"objective": "vanilla", "kur_alpha": 2.0}, "kur_alpha has no effect without head: kur"),
    (
        "classifiers",
        {"objective": "puzzle", "crop": 48, "tiles": 2},
        "crop (48) must be a multiple of tiles x output_stride",
    ),
    ("classifiers", {"objective": "vanilla", "ema": 0.9, "average_last": 2}, "ema and average_last are two ways"),
    ("classifiers", {"objective": "vanilla", "processes": 3}, "batch_size (16) must be a multiple of processes (3)"),
    ("classifiers", {"objective": "vanilla", "average_last": 99}, "average_last (99) must not exceed epochs (15)"),
    ("classifiers", {"objective": "vanilla", 3: 4}, "the key 3 is not text; put it in quotes"),
    ("masks", {"cams": "c", "threshold": {"per_class": True}}, "per_class thresholds are chosen on masks"),
    ("masks", {"cams": "c", "ignore": TURNED}, "background (0.4) must not exceed foreground (0.1)"),
    ("masks", {"cams": "c", "saliency": "s", "ignore": BAND}, "with 'saliency' the background score is 1 - saliency"),
    (
        "masks",
        {"cams": "c", "crf": "psa", "threshold": {"per_class": True, "policy": "oracle"}},
        "thresholds of each class give labels, no scores; set crf.unary to labels",
    ),
]
"""Kind, recipe, what is said of it."""


@pytest.mark.parametrize("kind, recipe, said", REFUSED)
def test_a_recipe_is_refused(kind: str, recipe: dict, said: str) -> None:
    config = SCENES | RECIPES
    with pytest.raises(WsssError, match=re.escape(f"{kind}.new") + ".*" + re.escape(said)):
        load(config | {kind: {**config.get(kind, {}), "new": recipe}})


def test_code_counts_in_one_of_two_ways() -> None:
    assert (load(SCENES).code, load(SCENES | {"code": "strict"}).code) == ("declared", "strict")
    said = "code: unknown value \"strickt\"; did you mean 'strict'? (allowed: declared, strict)"
    with pytest.raises(WsssError, match=re.escape(said)):
        load(SCENES | {"code": "strickt"})


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice in one block, in lines 1 and 3; keep one"),
        ("a: [1\n", "not valid YAML."),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_of_settings_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(WsssError, match=r"my\.yaml.*" + re.escape(said)):
        read_yaml(tmp_path / "my.yaml")
