"""Read by every Python that is started while ``WSSS_REACHED`` is set, see ``../reached.py``."""

import os
import sys
from pathlib import Path

if os.environ.get("WSSS_REACHED"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from reached import install

    install(os.environ["WSSS_REACHED"])
    del sys.path[0]
