"""``python -m wsss``: the console program without an installation."""

import sys

from wsss.cli import main

if __name__ == "__main__":
    sys.exit(main())
