"""Put the checkout's own library first on the path, so that a stage runs from any folder and never meets an older
copy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
