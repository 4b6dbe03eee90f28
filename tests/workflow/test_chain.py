"""Folders and targets for which a configuration has no job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsss.errors import WsssError
from wsss.workflow.chain import Chain


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("dataset: a\ndatasets: {a: {kind: scenes}}\n")
    return Chain.read([])


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("results/a/b/c/d/e", "is no folder that config.yaml makes (results/DATASET/sSEED/KIND/NAME)"),
        ("results/a/s0/pictures/b", "no stage writes into a folder 'pictures'"),
    ],
)
def test_a_folder_that_no_job_writes(folder: str, said: str, chain: Chain) -> None:
    with pytest.raises(WsssError, match=re.escape(said)):
        chain.at(folder)


def test_a_target_without_recipes(chain: Chain) -> None:
    with pytest.raises(WsssError, match="config.yaml has no 'explanations'"):
        chain.wanted("explain")
    with pytest.raises(WsssError, match="config.yaml has no 'audits' and no 'memories' and no 'searches'"):
        chain.wanted("beyond")
