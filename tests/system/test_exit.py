"""How a stage ends after Ctrl-C."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_ctrl_c() -> None:
    program = (
        "from pathlib import Path\nfrom wsss.system.exit import orderly\n"
        "with orderly('x.py', Path('out')): raise KeyboardInterrupt"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "x.py: stopped by Ctrl-C; the same command resumes from what is saved\n"
