"""Pictures of the report: the page is made from the scores of a study, and shown by a headless Chromium."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from sheets import Study

from tests.report.browser import Browser, program

ROOT = Path(__file__).resolve().parents[1]
WIDTH, SHOWN = 1200, 1000
"""Pixels: of the window, and of the picture, which is smaller than a window where all figures stand in a row."""
HEAD = "[0, document.querySelector('#pictures article.card').getBoundingClientRect().bottom + scrollY + 8]"
"""Down to the first picture."""
THRESHOLDS = """(() => {
  const box = document.getElementById('thresholds').getBoundingClientRect();
  return [box.top + scrollY, box.bottom + scrollY];
})()"""


def screenshots(study: Study) -> tuple[Image.Image, Image.Image] | None:
    """``shots`` of the report of a study; None where there is no Chromium."""
    if program() is None:
        return None
    with TemporaryDirectory() as name:
        folder = Path(name)
        scores = sorted(path.parent for path in study.folder.glob("s0/scores/*/*/manifest.json"))
        command = [sys.executable, ROOT / "stages/report.py", "--index", study.folder / "index", "--scores", *scores]
        command += ["--dataset", study.folder.name, "--out", folder / "report", "--threads", "1"]
        subprocess.run(command, check=True)
        browser = Browser(folder / "profile")
        try:
            return shots(browser, folder / "report.html", folder)
        finally:
            browser.close()


def shots(browser: Browser, page: Path, folder: Path) -> tuple[Image.Image, Image.Image]:
    """What a report begins with, in light, and its thresholds, in dark; ``folder`` is for files in between."""
    found = []
    for dark, place in ((False, HEAD), (True, THRESHOLDS)):
        browser.open(page, WIDTH, dark)
        top, bottom = browser.ask(place)
        browser.shoot(folder / "shot.png", top, bottom - top)
        with Image.open(folder / "shot.png") as shot:
            size = (SHOWN, round(shot.height * SHOWN / shot.width))
            found.append(shot.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    return found[0], found[1]
