"""What can be done with the report in a real browser: sort, filter and save tables, read charts, enlarge pictures."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser import WAIT, Browser

pytestmark = pytest.mark.slow
SIZES = [(1400, False), (390, True)]
CODES = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
         "ArrowDown": 40}  # fmt: skip
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "",
                         windowsVirtualKeyCode=CODES.get(key, ord(key[0].upper())))  # fmt: skip


def mouse(browser: Browser, kind: str, x: float, y: float, **more: Any) -> None:
    held = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseWheel" else {}
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **{**held, **more})


def table(browser: Browser, caption: str) -> list[list[str]]:
    """Rows that are shown of a table, its heads first; rows that only name a group are left out."""
    return browser.ask(
        f"[...[...document.querySelectorAll('table')].find(t => t.caption.textContent === {json.dumps(caption)}).rows]"
        ".filter(r => !r.hidden && !r.classList.contains('group'))"
        ".map(r => [...r.cells].map(c => c.textContent.trim()))"
    )


def in_tools(caption: str, what: str) -> str:
    return f"document.querySelector('.tools[aria-label={json.dumps(caption)}] {what}')"


def head(caption: str, name: str) -> str:
    return (
        f"[...[...document.querySelectorAll('table')].find(t => t.caption.textContent === {json.dumps(caption)})"
        f".querySelectorAll('thead button')].find(b => b.textContent === {json.dumps(name)})"
    )


MAPS = "Class activation maps"


def test_tables_are_sorted_by_mouse_and_keyboard(scored, browser: Browser) -> None:
    for width, dark in SIZES:
        browser.open(scored.page, width, dark)
        browser.ask(OPEN_ALL)
        heads, *given = table(browser, MAPS)
        column = heads.index("recall")
        figures = [float(row[column].split(" ")[0]) for row in given]
        assert figures != sorted(figures) and figures != sorted(figures, reverse=True)
        sort, state = head(MAPS, "recall"), f"{head(MAPS, 'recall')}.parentElement.ariaSort"
        assert browser.ask(state) == "none"
        found = []
        browser.ask(f"{sort}.focus()")
        for expected in ("descending", "ascending", "none"):
            press(browser, "Enter")
            assert browser.ask(state) == expected
            found.append(table(browser, MAPS)[1:])
        by_figure = sorted(given, key=lambda row: float(row[column].split(" ")[0]))
        assert [row[column] for row in found[0]] == [row[column] for row in by_figure[::-1]]
        assert found[1] == by_figure and found[2] == given

        browser.ask(f"{head(MAPS, 'threshold chosen')}.click()")
        place = heads.index("threshold chosen")
        named = [row[place] for row in table(browser, MAPS)[1:]]
        assert named == sorted(named)
        assert browser.ask(state) == "none"  # one column at a time

        every = "Every stage and recipe"
        browser.ask(f"{head(every, 'validation')}.click()")
        groups = browser.ask(
            "[...[...document.querySelectorAll('table')].find(t => t.caption.textContent === "
            f"{json.dumps(every)}).tBodies].map(b => [...b.rows].map(r => r.cells[0].textContent))"
        )
        assert groups[-1] == ["Predicted masks of the segmentation networks, mIoU in %", "bound", "net"]
        browser.ask(f"{head(every, 'validation')}.click()")
        assert [row[0] for row in table(browser, every)[-2:]] == ["net", "bound"]
        browser.ask(f"{head(every, 'training')}.click()")
        assert [row[0] for row in table(browser, every)[-2:]] == ["bound", "net"]  # both missing: as they were
        assert browser.ask("document.documentElement.scrollWidth") == width and browser.said == []


def test_missing_figures_come_last_and_texts_in_the_order_of_their_numbers(scored, browser: Browser, tmp_path) -> None:
    rows = [("x10", "−1.5"), ("x2", "–"), ("X1", "1,200"), ("y", "3.0 ± 9.0"), ("x3", "+20 %")]
    cells = "".join(f"<tr><th>{name}</th><td>{figure}</td></tr>" for name, figure in rows)
    text = scored.page.read_text(encoding="utf-8")
    extra = (
        f'<div class="scroll"><table><caption>Own</caption><thead><tr><th>name</th><th>figure</th></tr></thead>{cells}'
    )
    page = tmp_path / "page.html"
    page.write_text(text.replace("</main>", f"{extra}</table></div></main>"), encoding="utf-8")
    browser.open(page, 1400, False)
    orders = []
    for column in ("figure", "figure", "name", "name"):
        browser.ask(f"{head('Own', column)}.click()")
        orders.append([row[0] for row in table(browser, "Own")[1:]])
    assert orders == [
        ["X1", "x3", "y", "x10", "x2"],
        ["x10", "y", "x3", "X1", "x2"],
        ["X1", "x2", "x3", "x10", "y"],
        ["y", "x10", "x3", "x2", "X1"],
    ]


def test_what_is_shown_is_copied_and_saved(scored, browser: Browser, tmp_path: Path) -> None:
    browser.open(scored.page, 1400, False)
    browser.ask(OPEN_ALL)
    whole = table(browser, MAPS)
    search = f"(i => {{ i.value = 'TRAIN oracle'; i.dispatchEvent(new Event('input')); }})({in_tools(MAPS, 'input')})"
    browser.ask(search)
    shown = table(browser, MAPS)
    expected = [row for row in whole[1:] if "train" in row and "oracle" in " ".join(row)]
    assert shown[1:] == expected and 0 < len(expected) < len(whole) - 1
    assert browser.ask(f"{in_tools(MAPS, '.said')}.textContent") == f"{len(expected)} of {len(whole) - 1} rows"

    browser.ask("navigator.clipboard.writeText = async text => { window.copied = text; }")
    copy = f"{in_tools(MAPS, 'button')}.click()"
    browser.ask(copy)
    given = [["" if cell == "–" else cell for cell in row] for row in shown]
    assert list(csv.reader(io.StringIO(browser.ask("copied")))) == given
    browser.ask("navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }")
    browser.ask("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    browser.ask("window.copied = ''")
    browser.call("Runtime.evaluate", expression=copy, userGesture=True)  # or this way is refused, too
    assert list(csv.reader(io.StringIO(browser.ask("copied")))) == given  # where the clipboard itself is refused

    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.ask(f"{in_tools('Every stage and recipe', 'button:last-of-type')}.click()")
    end = time.monotonic() + WAIT
    while not (files := [*tmp_path.glob("*.csv")]):
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.05)
    assert files[0].name == "report-of-little-large-every-stage-and-recipe.csv"
    saved = list(csv.reader(io.StringIO(files[0].read_text("utf-8-sig"))))
    assert saved[0] == ["group", "recipe", "validation", "training", "seeds", "supervision"]
    assert [row[1:3] for row in saved[1:]] == [row[:2] for row in table(browser, "Every stage and recipe")[1:]]
    assert saved[-1][0].startswith("Predicted masks") and saved[-1][3] == ""
    assert browser.said == []


def test_charts_say_their_values(scored, browser: Browser) -> None:
    content = json.loads((scored.base / "s0" / "scores" / "cams" / "plain" / "scores.json").read_text("utf-8"))
    curve = content["splits"]["val"]["curve"]
    chart, tip = "document.querySelector('#thresholds svg')", "document.querySelector('#thresholds .tip')"
    for width, dark in SIZES:
        browser.open(scored.page, width, dark)
        browser.ask(f"{chart}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        assert browser.ask(f"{tip}.hidden") is True
        browser.ask(f"{chart}.focus({{focusVisible: true}})")
        lines = []
        for keys in ((), ("ArrowRight",), ("End",), ("ArrowRight",), ("Home",), ("ArrowDown",)):
            press(browser, *keys)
            lines.append(browser.ask(f"{tip}.textContent").split("\n"))
        said = [
            f"plain, seed 0: {100 * curve['miou'][k]:.1f} % at threshold {curve['threshold'][k]:.4g}"
            for k in (0, 1, -1, -1, 0)
        ]
        assert [line[0] for line in lines[:5]] == said and lines[5][0].startswith("plain, seed 3: ")
        press(browser, "ArrowDown")
        assert browser.ask(f"{tip}.textContent").startswith("plain, fixed: 0.3, ")
        press(browser, "Escape")
        assert browser.ask(f"{tip}.hidden") is True

        x, y = browser.ask(
            f"(m => {{ const b = m.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; }})"
            f"({chart}.querySelector('.mark.diamond'))"
        )
        mouse(browser, "mouseMoved", x + 1, y + 1, buttons=0)
        assert "plain, oracle: " in browser.ask(f"{tip}.textContent")
        box = browser.ask(f"(b => [b.left, b.right])({tip}.getBoundingClientRect())")
        assert box[0] >= 0 and box[1] <= width
        mouse(browser, "mouseMoved", 1, 1, buttons=0)
        assert browser.ask(f"{tip}.hidden") is True
        assert browser.ask(f"{chart}.querySelectorAll('title').length") == 0  # or two tips lie on each other

        dots = "document.querySelector('#scores .dots')"
        browser.ask(f"{dots}.focus()")
        assert browser.ask(f"{dots}.querySelector('.tip').textContent").startswith("validation images: ")
        assert browser.ask("document.documentElement.scrollWidth") == width and browser.said == []


def seen(browser: Browser) -> tuple[float, float, float, float]:
    """Zoom, left, top (shares of the frame) of the large picture, and the divider in percent."""
    style = browser.ask(
        "(v => ['--move', '--cut'].map(n => v.style.getPropertyValue(n)))(document.querySelector('.views'))"
    )
    move = [float(number) for number in re.findall(r"[-\d.]+(?:e-\d+)?", style[0])]
    return move[2], move[0] / 100, move[1] / 100, float(style[1].rstrip("%"))


def test_a_picture_is_enlarged_and_moved(scored, browser: Browser) -> None:
    for width, dark in SIZES:
        browser.open(scored.page, width, dark)
        browser.ask("document.querySelector('button.layer[data-layer=segmenters]').click()")
        left, top, wide, high = browser.ask(
            "(b => [b.left, b.top, b.width, b.height])(document.querySelector('.views').getBoundingClientRect())"
        )

        def at(x: float, y: float, left=left, top=top, wide=wide, high=high) -> tuple[float, float]:
            return left + x * wide, top + y * high

        def drag(start: tuple[float, float], end: tuple[float, float], at=at) -> None:
            mouse(browser, "mousePressed", *at(*start))
            mouse(browser, "mouseMoved", *at(*end))
            mouse(browser, "mouseReleased", *at(*end), buttons=0)

        drag((0.8, 0.5), (0.6, 0.9))  # the whole picture cannot be moved: the divider is
        assert seen(browser) == (1, 0, 0, pytest.approx(30, abs=0.5))
        assert browser.ask("document.querySelector('#viewer input').value") == "30"

        mouse(browser, "mouseWheel", *at(0.75, 0.25), deltaX=0, deltaY=-300)
        zoom, x, y, cut = seen(browser)
        assert zoom > 1.5 and cut == pytest.approx(30, abs=0.5)
        assert x + 0.75 * zoom == pytest.approx(0.75, abs=0.01) and y + 0.25 * zoom == pytest.approx(0.25, abs=0.01)

        drag((0.8, 0.5), (0.9, 0.55))
        assert seen(browser) == (zoom, *(pytest.approx(v, abs=0.01) for v in (x + 0.1, y + 0.05)), cut)
        drag((0.3, 0.5), (0.5, 0.5))  # at the divider
        assert seen(browser)[3] == pytest.approx(50, abs=0.5) and seen(browser)[1] == pytest.approx(x + 0.1, abs=0.01)
        drag((0.8, 0.5), (5, 5))  # beyond its edge it does not go
        assert seen(browser)[:3] == (zoom, 0, 0)
        # What the clip leaves of the right picture begins at the divider, however far it is enlarged and moved.
        edge = browser.ask(
            "(i => { const b = i.getBoundingClientRect(), [, , , cut] = getComputedStyle(i).clipPath.match(/[-\\d.]+/g)"
            "; return b.left + b.width * cut / 100; })(document.querySelector('.views .b'))"
        )
        assert edge == pytest.approx(at(0.5, 0)[0], abs=1)

        press(browser, "ArrowRight", "ArrowDown")
        assert seen(browser)[1:3] == (pytest.approx(-0.1), pytest.approx(-0.1))
        press(browser, "0", "+", "+", "-")
        assert seen(browser)[0] == pytest.approx(1.5)
        title = "document.querySelector('#viewer h3').textContent"
        first = browser.ask(title)
        press(browser, "n")
        assert browser.ask(title) != first and seen(browser)[0] == 1
        press(browser, "ArrowLeft")  # twice in a row: the keys still arrive
        assert browser.ask(title) == first

        browser.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        for kind, apart in (("touchStart", 0.1), ("touchMove", 0.2), ("touchMove", 0.3)):
            points = [dict(zip("xy", at(0.5 + side * apart, 0.5), strict=True), id=k)
                      for k, side in enumerate((-1, 1))]  # fmt: skip
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
        assert seen(browser)[0] == pytest.approx(3, rel=0.05)
        assert browser.ask("document.documentElement.scrollWidth") == width and browser.said == []
