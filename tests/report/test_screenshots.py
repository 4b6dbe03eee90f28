"""The pictures of the report in the documentation: made where a Chromium is, left as they are where none is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a program's own folder is."""
    monkeypatch.syspath_prepend(DOCS)


def test_the_head_in_light_and_the_thresholds_in_dark(scored, browser, tmp_path: Path) -> None:
    light, dark = import_module("screenshots").shots(browser, scored.page, tmp_path)
    assert light.width == dark.width == 1000 and min(light.height, dark.height) > 300
    assert np.median(light) > 200 and np.median(dark) < 60


def test_without_a_chromium(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    pictures = import_module("pictures")
    monkeypatch.setenv("PATH", str(tmp_path))
    pictures.report(pictures.Study(tmp_path), tmp_path)
    assert "left as they are, for no Chromium is here to show it (chromium, " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
