"""What the report refuses to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.errors import WsssError
from wsss.report.provenance import read_scored
from wsss.store.manifest import write_manifest


def test_scores_that_are_not_whole(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"seed": 0, "inputs": {}})
    with pytest.raises(WsssError, match=r"no whole scores \(FileNotFoundError"):
        read_scored(tmp_path)
