"""A build of C++ that its source has left behind is not used unnoticed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wsss.provenance.native import ROOT, check, digest, source
from wsss.refine import crf_backends, random_walk

FAST = "int twice(int n) { return 2 * n; }  // fast\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "native" / "_fast").mkdir(parents=True)
    (tmp_path / "native" / "_fast" / "fast.cpp").write_text(FAST)
    monkeypatch.setattr("wsss.provenance.native.ROOT", tmp_path)
    return tmp_path


def module(stamp):
    return SimpleNamespace(__name__="_fast", __file__="/x/_fast.so", SOURCE=stamp)


def test_a_build_belongs_to_its_source(checkout):
    stamp = digest("_fast", checkout)
    assert check(module(stamp)).SOURCE == stamp
    path = checkout / "native" / "_fast" / "fast.cpp"
    path.write_text(FAST.replace("fast", "very fast"))
    check(module(stamp))
    path.write_text(FAST.replace("2", "3"))
    with pytest.raises(ImportError, match="_fast.so was built from other source than .*native/_fast"):
        check(module(stamp))


def test_without_source_there_is_nothing_to_compare(tmp_path, monkeypatch):
    """Installed as a wheel, the source is not there."""
    monkeypatch.setattr("wsss.provenance.native.ROOT", tmp_path)
    assert source("_fast", tmp_path) is None and digest("_fast", tmp_path) is None
    check(module("anything"))


@pytest.mark.parametrize("name, built", [("_wsss_crf", crf_backends.built), ("_wsss_walk", random_walk.built)])
def test_the_build_that_runs_here_is_of_this_checkout(name, built):
    assert built().SOURCE == digest(name, ROOT)
