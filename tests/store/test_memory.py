"""The memory that a manifest tells of is the stage's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wsss.store.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = '{"kind": "scenes", "train": 4, "val": 2, "size": 64, "classes": 3}'
STARTER = """
import subprocess, sys
held = b"x" * (384 << 20)
subprocess.run([sys.executable, *sys.argv[1:]], check=True)
"""


def test_what_started_a_stage_does_not_count(tmp_path):
    """Linux hands a process's largest size on to the programs that it starts."""
    stage = [str(ROOT / "stages" / "index.py"), "--dataset", "scenes", "--settings", SETTINGS]
    subprocess.run([sys.executable, "-c", STARTER, *stage, "--out", str(tmp_path / "index")], check=True)
    assert 10 < read_manifest(tmp_path / "index")["peak_memory_mib"] < 384
