"""A classifier that knows less than the one it started from says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wsss.stages.classifier import warn_if_worse
from wsss.system.files import write_rows

ITEMS = [SimpleNamespace(id=f"i{n}", labels=(n % 2,)) for n in range(6)]
RIGHT = np.array([[0.9, 0.1] if n % 2 == 0 else [0.2, 0.8] for n in range(6)])


@pytest.fixture
def start(tmp_path: Path) -> Path:
    rows = [[item.id, "val", *row] for item, row in zip(ITEMS, RIGHT, strict=True)]
    write_rows(tmp_path / "linear" / "predictions.csv", ["id", "split", "cat", "dog"], rows)
    return tmp_path / "linear"


def test_it_is_said_with_both_figures(start: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_worse(start, ITEMS, 1 - RIGHT, ("cat", "dog"))
    # all three of a class come last, and together: precision 3/6
    assert "mAP 50.0 on 6 validation images, linear has 100.0" in caplog.text


def test_nothing_is_said_of_equals_or_of_what_cannot_be_compared(start: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_worse(start, ITEMS, RIGHT, ("cat", "dog"))
    other = [*ITEMS, SimpleNamespace(id="new", labels=(0,))]
    warn_if_worse(start, other, np.zeros((7, 2)), ("cat", "dog"))
    warn_if_worse(start.parent / "guided", ITEMS, 1 - RIGHT, ("cat", "dog"))
    untagged = [SimpleNamespace(id=item.id, labels=()) for item in ITEMS]
    warn_if_worse(start, untagged, 1 - RIGHT, ("cat", "dog"))
    assert caplog.text == ""
