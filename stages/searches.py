"""Put the searches of a dataset together: searches.csv for programs, searches.md for people, with a verdict.

Reads the index, folders of stages/search.py, and folders and scores of the networks that were trained in full: those
that searches found, and their teachers.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={
        "searches": "folders of searches",
        "segmenters": "folders of trained networks: those of a recipe with architecture_from, and teachers",
        "scores": "folders of the scores of these networks",
    },
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"}},
)


if __name__ == "__main__":
    stage.main()
