"""The review in a real browser: from a click on a photo and a stroke to the correction, and to what runs again."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.report.browser import WAIT, Browser
from tests.workflow.checkout import Checkout, changed
from tests.workflow.test_plans import AFTER_MASKS, CONFIG, RUN
from wsss.data.index import Item, write_index
from wsss.interfaces.review.server import ReviewServer
from wsss.interfaces.review.session import Session
from wsss.store.artefact import load
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 60, 80
KEYS = {" ": 32, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "Tab": 9}


@pytest.fixture
def finished(tmp_path):
    """A run that is done, with masks of three photos in it that can be read."""
    checkout = Checkout.build(tmp_path / "checkout", changed(CONFIG, "masks", "p-noc", "corrected", value="by hand"))
    (checkout.folder / "by hand").mkdir()
    checkout.finish()
    base, rng, items = checkout.folder / "results/scenes", np.random.default_rng(0), []
    for number in range(3):
        id, path = f"farm/é {number}", tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
        items.append(Item(id, "train", path, None, HEIGHT, WIDTH, (number % 2,), False))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[20:40, 10:30] = number % 2 + 1
        MaskFolder(checkout.folder / RUN / "masks/p-noc/masks").write(id, mask)
    with MapWriter(checkout.folder / RUN / "cams/p-noc/shard-00000-of-00001.h5", scales=(1.0,), flip=False, stride=8):
        pass  # no maps, in a file that can be read
    write_index(base / "index", ("cat", "dog"), items)
    write_json(base / "index/report.json", {"dataset": "scenes", "dropped": []})
    return checkout


@pytest.fixture
def page(finished, browser, monkeypatch):
    """The page of a review, opened."""
    monkeypatch.chdir(finished.folder)
    session = Session(load(finished.folder / RUN / "masks/p-noc"), finished.folder / "by hand")
    with ReviewServer(session, lambda: list(session.summary())) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Page(browser, server.address, finished.folder / "by hand")
        server.shutdown()
        thread.join()


class Page:
    def __init__(self, browser: Browser, address: str, folder: Path) -> None:
        self.browser, self.address, self.folder = browser, address, folder
        self.ask = browser.ask
        self.open(1400, False)

    def open(self, width: int, dark: bool) -> None:
        call = self.browser.call
        self.browser.said = []
        call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        call("Emulation.setEmulatedMedia", features=[scheme])
        call("Page.navigate", url=self.address)
        self.wait(f"location.href === {json.dumps(self.address)} && document.readyState === 'complete'")
        self.wait("document.getElementById('name').textContent !== ''")

    def wait(self, script: str) -> None:
        end = time.monotonic() + WAIT
        while not self.ask(script):
            assert time.monotonic() < end, (script, self.text("saved"), self.complaints())
            time.sleep(0.05)

    def text(self, id: str) -> str:
        return self.ask(f"document.getElementById({json.dumps(id)}).textContent")

    def saved(self) -> None:
        self.wait("document.getElementById('saved').textContent === 'saved'")

    def complaints(self) -> list[str]:
        """What the page complained of; that it asked its own server is none."""
        return [one for one in self.browser.said if not one.startswith(f"asked for {self.address}")]

    def key(self, key: str, shift: bool = False) -> None:
        code = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper())), "modifiers": 8 * shift}
        for kind in ("keyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", type=kind, **code)

    def mouse(self, *points: tuple[float, float]) -> None:
        """A stroke from point to point of the photo: (x, y) in its pixels."""
        left, top, width, height = self.ask(
            "(b => [b.left, b.top, b.width, b.height])(document.getElementById('labels').getBoundingClientRect())"
        )
        places = [(left + (x + 0.5) * width / WIDTH, top + (y + 0.5) * height / HEIGHT) for x, y in points]
        for kind, (x, y) in [("mousePressed", places[0]), *[("mouseMoved", p) for p in places[1:]],
                             ("mouseReleased", places[-1])]:  # fmt: skip
            held = {"button": "left", "buttons": 1, "clickCount": 1}
            self.browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def click(self, selector: str) -> None:
        """A real click, where the element is."""
        x, y = self.ask(
            f"(e => {{ e.scrollIntoView({{ block: 'center' }}); const b = e.getBoundingClientRect();"
            f" return [b.left + b.width / 2, b.top + b.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def correction(self, number: int) -> np.ndarray | None:
        masks = MaskFolder(self.folder)
        return masks.read(f"farm/é {number}") if f"farm/é {number}" in masks else None


def disc(correction: np.ndarray, x: float, y: float, size: float, value: int) -> np.ndarray:
    """Every pixel whose middle lies within half the size of a point gets the value."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.where((rows - y) ** 2 + (columns - x) ** 2 <= (size / 2) ** 2, value, correction).astype(np.uint8)


def test_from_a_click_and_a_stroke_to_what_runs_again(page, finished) -> None:
    expected = {"masks p-noc", *AFTER_MASKS}
    assert finished.plan() == set()
    page.click("#list li:nth-child(2) button")
    page.wait("document.querySelector('#list li:nth-child(2) button').ariaCurrent === 'true'")
    number = int(page.text("name")[-1])
    page.click("#classes input[value='2']")
    page.ask("(s => { s.value = 10; s.dispatchEvent(new Event('input')); })(document.getElementById('size'))")
    page.mouse((40, 30), (60, 30))
    page.saved()
    drawn = page.correction(number)
    assert drawn is not None and set(np.unique(drawn)) == {2, 255}
    around = disc(disc(np.full((HEIGHT, WIDTH), 255), 40, 30, 8, 2), 60, 30, 8, 2)
    around[27:34, 40:61] = 2
    beyond = disc(disc(np.full((HEIGHT, WIDTH), 255), 40, 30, 12, 2), 60, 30, 12, 2)
    beyond[24:37, 40:61] = 2
    assert ((drawn == 2) >= (around == 2)).all() and ((drawn == 2) <= (beyond == 2)).all()
    state = json.loads((page.folder / "review.json").read_text())["images"]
    assert state[f"farm/é {number}"] == "corrected" and page.text("progress") == "2 of 3 seen"
    page.click("#done")
    page.wait("document.getElementById('end').open")
    assert page.text("said") == (
        "2 of 3 photos seen: 0 accepted, 0 rejected, 1 corrected\n"
        "1 correction in by hand; make what depends on it: wsss run"
    )
    assert page.complaints() == []
    assert finished.plan() == expected


def test_everything_by_keyboard(page) -> None:
    first = int(page.text("name")[-1])
    page.ask("document.getElementById('labels').focus()")
    page.ask("(s => { s.value = 6; s.dispatchEvent(new Event('input')); })(document.getElementById('size'))")
    page.key("2")
    page.key("ArrowRight")  # half the size
    page.key("ArrowDown", shift=True)
    page.key(" ")
    page.saved()
    once = disc(np.full((HEIGHT, WIDTH), 255), WIDTH / 2 + 3, HEIGHT / 2 + 1, 6, 2)
    np.testing.assert_array_equal(page.correction(first), once)
    page.key("x")
    for _ in range(4):
        page.key("ArrowLeft")
    page.key(" ")
    page.saved()
    twice = disc(once, WIDTH / 2 - 9, HEIGHT / 2 + 1, 6, 254)
    np.testing.assert_array_equal(page.correction(first), twice)
    for key, expected in (("z", once), ("y", twice), ("z", once)):
        page.key(key)
        page.saved()
        np.testing.assert_array_equal(page.correction(first), expected)
    page.key("e")
    for _ in range(4):
        page.key("ArrowRight")
    page.key(" ")
    page.saved()
    assert page.correction(first) is None and page.text("state") == "seen"
    page.key("f")  # the region under the cursor: the background
    page.key("1")
    page.key(" ")
    page.saved()
    filled = page.correction(first)
    assert (filled[20:40, 10:30] == 255).all() and (filled == 1).sum() == HEIGHT * WIDTH - 400
    page.key("u")
    page.saved()
    page.key("r")
    page.wait(f"document.getElementById('name').textContent !== 'farm/é {first}'")
    page.saved()
    assert (page.correction(first) == 254).all()
    second = page.text("name")
    page.key("a")
    page.wait(f"document.getElementById('name').textContent !== {json.dumps(second)}")
    page.key("p")
    page.wait(f"document.getElementById('name').textContent === {json.dumps(second)}")
    page.saved()
    assert page.text("state") == "accepted" and page.correction(int(second[-1])) is None
    state = json.loads((page.folder / "review.json").read_text())["images"]
    assert state == {f"farm/é {first}": "rejected", second: "accepted"} | {
        id: "seen" for id in state if id not in (f"farm/é {first}", second)
    }
    assert page.text("progress") == "3 of 3 seen" and page.complaints() == []


def test_the_label_follows_the_tags(page) -> None:
    """To begin with the first tag of the photo; background and leaving out are kept."""
    label, tags = "document.querySelector('input[name=label]:checked').value", {0: "1", 1: "2", 2: "1"}
    for key, kept in ((None, None), ("n", None), ("n", None), ("x", "254"), ("p", "254"), ("0", "0"), ("p", "0")):
        name = page.text("name")
        if key is not None:
            page.key(key)
        if key in ("n", "p"):
            page.wait(f"document.getElementById('name').textContent !== {json.dumps(name)}")
        assert page.ask(label) == (kept or tags[int(page.text("name")[-1])])


def test_filters_opacity_light_and_dark(page) -> None:
    count = "document.querySelectorAll('#list li').length"
    set_to = "((id, v) => { const s = document.getElementById(id); s.value = v; s.dispatchEvent(new Event('change')); "
    assert page.ask(count) == 3
    page.ask(f"{set_to} }})('of-class', '2')")
    assert page.ask(count) == 1
    page.wait("document.getElementById('name').textContent === 'farm/é 1'")
    page.ask(f"{set_to} }})('of-class', '0')")
    page.key("a")
    page.saved()
    page.ask(f"{set_to} }})('of-state', 'accepted')")
    page.wait(f"{count} === 1")
    page.ask("(s => { s.value = 20; s.dispatchEvent(new Event('input')); })(document.getElementById('opacity'))")
    assert page.ask("getComputedStyle(document.getElementById('labels')).opacity") == "0.2"
    grounds = set()
    for width, dark in ((1400, False), (1400, True), (390, False), (390, True)):
        page.open(width, dark)
        assert page.ask("document.documentElement.scrollWidth") == width, (width, dark)
        grounds.add((dark, page.ask("getComputedStyle(document.body).backgroundColor")))
        assert page.complaints() == []
    assert len(grounds) == 2
    light = page.ask("getComputedStyle(document.body).backgroundColor")
    for _ in range(2):  # auto (dark here), light, dark
        page.click("#theme")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == light
    assert urlsplit(page.address).hostname == "127.0.0.1"
