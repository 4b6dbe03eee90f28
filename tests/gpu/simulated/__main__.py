"""``python -m tests.gpu.simulated PROGRAM ARGUMENTS...``: run a program on simulated GPUs, child processes too."""

from __future__ import annotations

import os
import sys

from tests.gpu.simulated.build import environment

os.execvpe(sys.argv[1], sys.argv[1:], environment())
