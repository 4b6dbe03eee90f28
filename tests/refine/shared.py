"""Ensembles and votes of two members, made alone or shared out between jobs; votes as files of their own, or packed."""

from __future__ import annotations

import pytest

from wsss.runtime.shard import Shard
from wsss.settings import EnsembleSettings, VoteSettings
from wsss.stages.ensemble import make as write_ensemble
from wsss.stages.vote import make as write_votes

WRITE = {"ensemble": write_ensemble, "vote": write_votes, "packed": write_votes}
SETTINGS = {
    "ensemble": EnsembleSettings(members=("m0", "m1")),
    "vote": VoteSettings(members=("m0", "m1")),
    "packed": VoteSettings(members=("m0", "m1"), storage="packed"),
}
KINDS = pytest.mark.parametrize("stage", list(WRITE))


def content(out):
    """Every file of an artefact but its parts."""
    files = (path for path in out.rglob("*") if path.is_file() and "parts" not in path.relative_to(out).parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def make(at, stage, jobs, name, threads=1):
    for number in range(jobs) if jobs > 1 else ():
        WRITE[stage](at(stage, name, Shard(number, jobs), threads=threads))
    run = at(stage, name, threads=threads)
    WRITE[stage](run)
    return run
