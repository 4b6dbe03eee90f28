"""The page of all images: every file it names is there, and its data are those of the index and the scores."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from tests.report.browser import Browser
from tests.report.test_report import own_ious
from wsss.report.html.browse import as_script, browse
from wsss.store.masks import MaskFolder
from wsss.system.packs import write_packs


def known(found: SimpleNamespace) -> dict:
    page = (found.base / "report" / "images.html").read_text("utf-8")
    (line,) = re.findall(r"^const KNOWN = (.*);$", page, re.M)
    return json.loads(line)


@pytest.mark.parametrize("run", ["scored", "unscored"])
def test_every_image_and_every_file(run: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(run)
    data = known(found)
    assert [image[0] for image in data["images"]] == [item.id for item in found.index.items]
    assert [layer["name"] for layer in data["layers"]] == ["prediction net", "pseudo-label plain"]
    assert [layer["splits"] for layer in data["layers"]] == [[1], [0, 1]] and data["splits"] == [
        "training",
        "validation",
    ]
    folder = found.base / "report"
    for (id, split, tags, photo, masks, width, height, _), item in zip(data["images"], found.index.items, strict=True):
        assert (folder / unquote(photo)).resolve() == item.image.resolve() and item.image.is_file()
        assert Image.open(folder / unquote(photo)).size == (width, height)
        assert (data["splits"][split], tuple(tags)) == (
            {"train": "training", "val": "validation"}[item.split],
            item.labels,
        )
        for layer, mask in zip(data["layers"], masks, strict=True):
            assert (folder / unquote(mask)).is_file() == (split in layer["splits"]), (id, mask)


def test_figures_are_means_over_the_classes_of_an_image(scored) -> None:
    values: dict[str, list[float]] = {}
    for label in range(len(scored.index.classes)):
        for value, id in own_ious(scored, label):
            values.setdefault(id, []).append(100 * value)
    shown = {image[0]: image[-1] for image in known(scored)["images"] if image[-1] is not None}
    assert shown == pytest.approx({id: np.mean(every) for id, every in values.items()}, abs=0.051)
    assert known(scored)["figure"] == {"name": "IoU", "unit": ""}


def test_nothing_in_the_data_ends_the_script() -> None:
    name = "</script><!--\u2028"
    assert "<" not in as_script([name]) and "\u2028" not in as_script([name])
    assert json.loads(as_script([name])) == [name]


@pytest.mark.slow
def test_in_a_browser(scored, browser: Browser) -> None:
    page = scored.base / "report" / "images.html"
    for width, dark in ((1400, False), (390, True)):
        browser.open(page, width, dark)
        assert browser.said == [] and browser.ask("document.documentElement.scrollWidth") == width
        assert browser.ask("document.querySelectorAll('.browse figure').length") == len(scored.index.items)
    over = "[...document.querySelectorAll('.browse .over')].map(i => i.alt.slice(0, 10))"
    assert browser.ask(over) == ["prediction" if item.split == "val" else "pseudo-lab" for item in scored.index.items]
    load = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode(); })).then(() => 1)"
    assert browser.ask(load) == 1  # each photo and mask is a picture
    choose = "((id, value) => { const e = document.getElementById(id); e.value = value;"
    choose += " e.dispatchEvent(new Event('input')); return document.getElementById('count').textContent; })"
    number, val = len(scored.index.items), len(scored.index.split("val"))
    assert browser.ask(f"{choose}('split', 1)") == f"{val} of {number} images"
    assert browser.ask(f"{choose}('order', 'low')").endswith(f" of {number} images")
    figures = browser.ask("[...document.querySelectorAll('.browse b')].map(b => Number(b.textContent.slice(4)))")
    assert figures == sorted(figures) and len(figures) > 2
    assert browser.ask(f"{choose}('tag', 0)") == (
        f"{sum(0 in item.labels and item.split == 'val' for item in scored.index.items)} of {number} images"
    )
    assert browser.ask(f"{choose}('name', 'no such image')") == f"0 of {number} images"
    assert browser.said == []


def test_packed_masks_are_no_layer_and_the_page_says_so(scored, tmp_path) -> None:
    items, folders = scored.index.items, {}
    for kind, name in (("masks", "plain"), ("segmenters", "net")):
        made = scored.base / "s0" / {"masks": "masks", "segmenters": "predictions"}[kind] / name
        folders[kind] = SimpleNamespace(recipe=name, splits=("val",), folder=made)
    packed, masks = tmp_path / "masks", MaskFolder(folders["masks"].folder / "masks")
    inside = [(f"{item.id}.png", masks.path_of(item.id).read_bytes()) for item in items]
    write_packs(packed, inside, len(inside))
    folders["masks"].folder = tmp_path
    scores = SimpleNamespace(by="", figures={})
    page = browse("photos", scored.index, folders, scores, scored.base / "report")
    (line,) = re.findall(r"^const KNOWN = (.*);$", page, re.M)
    assert [layer["name"] for layer in json.loads(line)["layers"]] == ["prediction net"]
    assert all(len(image[4]) == 1 for image in json.loads(line)["images"])
    assert page.count("are packed") == 1 and "The masks of pseudo-label plain are packed" in page
