"""Every reader of foreign files under a fixed budget of damage, and that the harness sees what it is there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

pytestmark = pytest.mark.slow
CASES, SEED = os.environ.get("WSSS_FUZZ_CASES", "100"), os.environ.get("WSSS_FUZZ_SEED", "0")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(reader: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        reader,
        "--cases",
        CASES,
        "--seed",
        SEED,
        "--folder",
        tmp_path / "work",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    last = (tmp_path / "work" / "number").read_text()
    assert done.returncode == 0, f"case {last} was the last\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"


FAULTY = """
import sys
from tests.fuzz import __main__ as fuzz
from tests.fuzz.readers import Reader
from wsss.errors import WsssError

def read(folder):
    kind = (folder / "a.txt").read_text()[:1]
    if kind == "k": {}["a"]
    if kind == "m": bytearray(1 << 31)
    if kind == "h":
        while True: pass
    if kind == "n": raise WsssError("something is wrong")
    if kind == "f": raise WsssError(f"{folder / 'a.txt'}: is wrong")

fuzz.LONGEST = 1
turns = iter("kmhnfg")
good = lambda folder: (folder / "a.txt").write_text("g")
faulty = Reader(good, {".txt": lambda rng, data: next(turns).encode()}, read)
sys.exit(fuzz.main({"faulty": faulty}))
"""


def test_failures_of_every_kind_are_seen(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAULTY, "faulty", "--cases", "6", "--folder", tmp_path / "work"]
    done = subprocess.run(command, capture_output=True, text=True)
    *failures, last = done.stdout.splitlines()
    told = {one["case"]: one["what"].partition(":")[0] for one in map(json.loads, failures)}
    assert told == {0: "KeyError", 1: "MemoryError", 2: "Hang", 3: "names no file"}, done.stderr
    assert last == "faulty: 4 kinds of failure, 2 refused, 1 read" and done.returncode == 1
    assert (tmp_path / "work" / "failure-2" / "a.txt").read_text() == "h"
