"""Locks of folders that belong to another user."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsss.errors import WsssError
from wsss.runtime.shard import Shard, locked, owner


@pytest.mark.parametrize("shard", [None, Shard(0, 2)])
def test_results_of_another_user(shard: Shard | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not write there is told who owns the folder. Patched, because root may write everywhere."""

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("wsss.runtime.shard.owner", lambda path: "anna")
    said = "p-noc: these are the results of another user (anna), and you may not write here; ask them to share the"
    with pytest.raises(WsssError, match=re.escape(said)), locked(tmp_path / "p-noc", shard):
        pass


def test_the_owner_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, of the folder where there is no such file yet, and as a number where the user has no name here."""
    (tmp_path / "file").touch()
    assert owner(tmp_path / "file") == owner(tmp_path / "none") == (tmp_path / "file").owner()

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("wsss.runtime.shard.pwd.getpwuid", unknown)
    assert owner(tmp_path / "file") == str((tmp_path / "file").stat().st_uid)
