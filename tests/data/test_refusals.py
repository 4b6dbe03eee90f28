"""What the readers of datasets refuse, in the words that say what to do instead, where no other test does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from wsss.data.images import check_image
from wsss.data.index import Index
from wsss.data.kinds.coco import _images
from wsss.data.kinds.folder import collect
from wsss.data.kinds.voc import read_foreign_mask
from wsss.data.lists import read_tags, read_text
from wsss.data.sampling import Order
from wsss.data.validate import check_classes
from wsss.errors import WsssError
from wsss.settings import FolderSettings


def photos(at: Path, table: str = "id,labels\na,\n", suffix: str = ".png") -> None:
    (at / "images").mkdir()
    Image.new("RGB", (4, 4)).save(at / "images" / f"a{suffix}", "PNG")
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


def many_values(at: Path) -> None:
    from wsss.data.validate import Entry, _look

    Image.new("RGB", (16, 16)).save(at / "a.png")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(at / "mask.png")
    _, problems, _ = _look(Entry("a", "train", at / "a.png", at / "mask.png"), {"cat": 0}, "")
    raise WsssError("\n".join(map(str, problems)))


def several_classes(at: Path) -> None:
    raise WsssError("\n".join(map(str, check_classes([f"c{k}" for k in range(255)]))))


REFUSALS: dict[str, Callable[[Path], object]] = {
    "255 classes; a dataset has 1 to 254 object classes": several_classes,
    "holds 2 (1 pixels), 3 (1 pixels), 4 (1 pixels), 5 (1 pixels), 6 (1 pixels), ...; allowed are 0": many_values,
    "the folder of images is not there; unpack it there": lambda at: _images(at, "train2014"),
    "holds no image (.": lambda at: photos(at, suffix=".svg"),
    "no row has a label; fill the column 'labels'": photos,
    "it holds values that are not finite": lambda at: picture(at, Image.new("F", (4, 4), float("nan"))),
    "its colours are CIE L*a*b*; save it as RGB": lambda at: picture(at, Image.new("LAB", (4, 4))),
    "the columns of index.csv must be id,split,image": index,
    "the list of ids cannot be read (Is a directory)": lambda at: read_text(at, "the list of ids"),
    "is not comma-separated values (unexpected end of data)": table,
    "only 3 training images for a batch of 4; lower batch_size to at most 3": lambda at: Order(3, 4, 1, 0),
    "a batch of 4 cannot be shared evenly by 3 devices": lambda at: Order(9, 4, 1, 0, ranks=3),
    "holds no GTcls.Segmentation": sbd,
}
"""The words -> what provokes them, in an empty folder."""


@pytest.mark.parametrize("said", REFUSALS)
def test_refusal(said: str, tmp_path: Path) -> None:
    with pytest.raises((WsssError, ValueError), match=re.escape(said)):
        REFUSALS[said](tmp_path)
