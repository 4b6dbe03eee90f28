"""What all tests share: the checkout's own library, and few threads, because several programs run at once."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if os.environ.get("WSSS_REACHED"):  # see tests/docs/reached.py
    os.environ["WSSS_REACHED"] = os.path.abspath(os.environ["WSSS_REACHED"])
    recorder = str(ROOT / "tests" / "docs" / "recorder")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (recorder, os.environ.get("PYTHONPATH"))))
    sys.path.insert(0, recorder)
    import sitecustomize  # noqa: F401
