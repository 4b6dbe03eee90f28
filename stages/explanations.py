"""Put the explanations of a dataset together: explanations.csv for programs, explanations.md for people, pictures.

Reads the index and folders of stages/explanation.py.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={"explanations": "folders of explanations"},
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"}},
)


if __name__ == "__main__":
    stage.main()
