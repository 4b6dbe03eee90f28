#!/usr/bin/env python3
"""Cancel jobs: cancel.py "NUMBER FILE" ..., each as submit.py printed it."""

from __future__ import annotations

import subprocess
import sys

from scheduler import HERE

if __name__ == "__main__":
    sys.exit(subprocess.run([HERE.cancel, *(job.partition(" ")[0] for job in sys.argv[1:])]).returncode)
