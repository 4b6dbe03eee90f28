"""The report in a real browser: nothing fails, everything loads, nothing is wider than the window."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from tests.report.browser import Browser

SIZES = [(1400, False), (1400, True), (390, False), (390, True)]
SETTLE = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"


@pytest.mark.parametrize("run", ["scored", "unscored"])
def test_the_page_stands(run: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    found: SimpleNamespace = request.getfixturevalue(run)
    grounds = set()
    for width, dark in SIZES:
        browser.open(found.page, width, dark)
        for shut in (True, False):
            browser.ask(f"document.querySelectorAll('details').forEach(d => d.open = {str(not shut).lower()})")
            browser.ask(SETTLE)
            wide = browser.ask("[document.documentElement.scrollWidth, innerWidth]")
            far = browser.ask(
                "[...document.querySelectorAll('body *')].filter(e => {"
                "  if (e.getBoundingClientRect().right <= innerWidth + 1) return false;"
                "  for (let p = e.parentElement; p; p = p.parentElement)"
                "    if (getComputedStyle(p).overflowX !== 'visible') return false;"
                "  return true; }).map(e => e.outerHTML.slice(0, 200))"
            )
            assert wide == [width, width], (width, dark, shut, far)
        unloaded = browser.ask("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)")
        assert unloaded == [] and browser.ask("document.images.length") > 20
        assert browser.said == []
        grounds.add((dark, browser.ask("getComputedStyle(document.body).backgroundColor")))
        assert browser.ask("getComputedStyle(document.querySelector('.figures dd')).color") not in {
            g for _, g in grounds
        }
    assert len(grounds) == 2  # one in light and another in dark, at every width


def test_script_that_fails_and_a_picture_that_does_not_load_are_seen(scored, browser, tmp_path) -> None:
    """The looking glass itself: a broken page is not taken for a whole one."""
    text = scored.page.read_text(encoding="utf-8")
    page = tmp_path / "broken.html"
    wrong = '<img alt="x" src="data:image/png;base64,AAAA"><div style="width:2000px">wide</div>'
    page.write_text(
        text.replace("'use strict';", "'use strict'; nothing.here();", 1).replace("</main>", f"{wrong}</main>")
    )
    browser.open(page, 390, False)
    assert any("nothing" in said for said in browser.said)
    assert browser.ask("[...document.images].filter(i => !i.naturalWidth).length") == 1
    assert browser.ask("document.documentElement.scrollWidth") > 390


def test_layers_and_themes_answer(scored, browser) -> None:
    browser.open(scored.page, 1400, False)
    over = "getComputedStyle(document.querySelector('.over')).opacity"
    assert browser.ask(over) == "0.75"
    move = "s => { s.value = 20; s.dispatchEvent(new Event('input')); }"
    browser.ask(f"({move})(document.getElementById('strength'))")
    assert browser.ask(over) == "0.2" and browser.ask("document.getElementById('strength-value').textContent") == "20 %"

    browser.ask("document.querySelector('button.layer[data-layer=segmenters]').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    assert browser.ask("document.getElementById('viewer').open") is True
    chosen = "[...document.querySelectorAll('#viewer select')].map(s => s.value)"
    assert browser.ask(chosen) == ["image", "segmenters"]
    links = browser.ask("[...document.querySelectorAll('#viewer a')].map(a => [a.textContent, a.href])")
    assert [name for name, _ in links] == ["image", "prediction"]
    assert all(Path(unquote(urlsplit(link).path)).is_file() for _, link in links)
    title = browser.ask("document.querySelector('#viewer h3').textContent")
    browser.ask("document.querySelector('#viewer .after').click()")
    assert browser.ask("document.querySelector('#viewer h3').textContent") != title
    assert browser.ask(chosen) == ["image", "segmenters"]
    browser.ask(
        "(s => { s.value = 10; s.dispatchEvent(new Event('input')); })(document.querySelector('#viewer input'))"
    )
    assert "90%" in browser.ask("getComputedStyle(document.querySelector('#viewer .a')).clipPath")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert browser.ask("document.getElementById('viewer').open") is False

    grounds = []
    for _ in range(3):
        grounds.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
        browser.ask("document.getElementById('theme').click()")
    assert grounds[0] == grounds[1] != grounds[2]  # auto (light here), light, dark
    assert browser.said == []
