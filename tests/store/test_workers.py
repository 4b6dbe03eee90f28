"""Worker processes: order, failures, deaths."""

from __future__ import annotations

import os
import signal
import time

import pytest

from wsss.errors import WsssError
from wsss.system.workers import over


def _square(x):
    time.sleep(0.001 * (x % 3))
    return x * x


def _odd(x):
    if x % 2 == 0:
        raise WsssError(f"{x} is even")
    return x


def _bug(x):
    return 1 / (x - 3)


def _die(x):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("threads", [1, 2, 99])
def test_order(threads):
    assert list(over(range(20), _square, threads, "squares")) == [x * x for x in range(20)]
    assert list(over([], _square, threads, "squares")) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_failures_are_collected_and_named(threads):
    seen = []
    with pytest.raises(WsssError, match="2 of 5 failed:\n  n2: 2 is even\n  n4: 4 is even"):
        for result in over([1, 2, 3, 4, 5], _odd, threads, "odd", lambda x: f"n{x}"):
            seen.append(result)
    assert seen == [1, 3, 5]


@pytest.mark.parametrize("threads", [1, 2])
def test_mistakes_of_the_program_keep_their_traceback(threads):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(over([1, 2, 3, 4], _bug, threads, "bug"))


def test_killed_worker_is_told():
    with pytest.raises(WsssError, match="killed"):
        list(over([1, 2, 3], _die, 2, "dying"))
