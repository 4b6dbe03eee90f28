"""Parts of maps that do not belong together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.parts.maps import Parts
from wsss.store.map_writer import MapWriter


def test_parts_of_networks_with_different_strides(tmp_path: Path) -> None:
    form = {"scales": np.ones(1), "flip": False, "round_to": 8, "relative": 1}
    shards = [SimpleNamespace(path=tmp_path / f"{n}.h5", attributes=form | {"stride": n}) for n in (8, 16)]
    with pytest.raises(WsssError, match="16.h5 has another format than 8.h5; delete the folder"):
        Parts.format(SimpleNamespace(_shards=shards))  # type: ignore[arg-type]


def test_a_part_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Maps that lie among the parts of an artefact and belong to another one are not used."""
    path = tmp_path / "parts" / "0123456789abcdef" / "rest-0.h5"
    path.parent.mkdir(parents=True)
    with MapWriter(path, scales=(1.0,), flip=False, stride=16, attributes={"key": "other"}) as writer:
        writer.add("a", [0], (32, 32), [np.ones((1, 2, 2), np.float32)])
    assert "a" not in Parts(path.parent, alone=True, tag="rest") and not path.exists()
    said = f"rest-0.h5 is made again: {path} was made with other settings, inputs or versions\n"
    assert capsys.readouterr().err == said
