"""Put the audits of a dataset together: audits.csv for programs, audits.md for people.

Reads the index and folders of stages/audit.py.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={"audits": "folders of audits"},
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"}},
)


if __name__ == "__main__":
    stage.main()
