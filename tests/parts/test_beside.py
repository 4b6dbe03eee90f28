"""Masks that are finished in threads while a GPU makes the next probabilities."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import wsss.parts.collecting
import wsss.parts.masks
from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.parts.collecting import SpooledMasks
from wsss.parts.masks import Written, finished
from wsss.system.failures import DiskFull

BYTES = 64
FREE = SimpleNamespace(check_stop=lambda: None)


def pairs(count: int, made: list[str]) -> Iterator[tuple[Item, np.ndarray]]:
    for number in range(count):
        made.append(f"p{number}")
        yield Item(made[-1], "val", Path(), None, 4, 4, (), True), np.zeros((1, 4, 4), np.float32)


def written(pair: tuple[Item, np.ndarray]) -> Written:
    return Written(pair[0].id, 0, None)


def test_they_come_in_order_and_few_wait(monkeypatch):
    monkeypatch.setattr(wsss.parts.masks, "WAITING", 3 * BYTES)
    made: list[str] = []
    found: list[str] = []
    most = 0

    def late(pair):
        time.sleep(0.02 if pair[0].id in ("p0", "p4") else 0)
        return written(pair)

    for one in finished(pairs(12, made), late, True, 3, FREE, beside=True):
        found.append(one.id)
        most = max(most, len(made) - len(found))
    assert found == made == [f"p{n}" for n in range(12)] and 0 < most <= 3


def test_threads_work_at_the_same_time_as_probabilities_are_made():
    together, made = threading.Barrier(3, timeout=60), []

    def wait(pair):
        together.wait()  # raises unless three are here in time
        return written(pair)

    assert len(list(finished(pairs(6, made), wait, True, 3, FREE, beside=True))) == 6
    with pytest.raises(threading.BrokenBarrierError):
        together = threading.Barrier(3, timeout=0.2)
        list(finished(pairs(6, made), wait, False, 3, FREE, beside=True))  # one after the other


def test_all_that_fail_are_named_and_a_full_disk_ends_it_at_once():
    def fail(pair):
        if pair[0].id in ("p1", "p3"):
            raise WsssError(f"no image of {pair[0].id}")
        return written(pair)

    found = []
    with pytest.raises(WsssError, match="masks: 2 of 5 failed:\n  p1: no image of p1\n  p3: no image of p3"):
        for one in finished(pairs(5, []), fail, True, 2, FREE, beside=True):
            found.append(one.id)
    assert found == ["p0", "p2", "p4"]

    def full(pair):
        raise DiskFull("full")

    with pytest.raises(DiskFull):
        list(finished(pairs(5, []), full, True, 2, FREE, beside=True))


def test_a_stop_waits_for_no_more_than_what_is_at_work():
    done, go = [], threading.Event()

    class Stopped(Exception):
        pass

    def stop():
        if len(made) == 8:
            go.set()
            raise Stopped

    def wait(pair):
        go.wait(60)
        time.sleep(0.1)
        done.append(pair[0].id)
        return written(pair)

    made: list[str] = []
    with pytest.raises(Stopped):
        list(finished(pairs(20, made), wait, True, 2, SimpleNamespace(check_stop=stop), beside=True))
    assert len(made) == 8 and len(done) < 8


def test_threads_append_to_a_pack_one_after_the_other(tmp_path, monkeypatch):
    plain = wsss.parts.collecting.record
    monkeypatch.setattr(wsss.parts.collecting, "record", lambda *given: (time.sleep(0.005), plain(*given))[1])
    masks = SpooledMasks(tmp_path, "rest")
    contents = {f"p{n}": bytes([n]) * (10 + n) for n in range(16)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(masks.put, contents, contents.values()))
    assert {id: masks.file(id).read_bytes() for id in contents} == contents
    assert len(list(tmp_path.glob("*.spool"))) == 1
