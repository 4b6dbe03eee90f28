"""Put the explanations of a dataset together: explanations.csv for programs, explanations.md for people, pictures.

Reads the index and folders of stages/explanation.py.
"""

import _house  # noqa: F401

from wsss.runtime.program import Stage
from wsss.runtime.run import Run

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={"explanations": "folders of explanations"},
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"}},
)


def work(run: Run) -> None:
    from wsss.stages.explanations import write_comparison

    write_comparison(run)


if __name__ == "__main__":
    stage.main(work)
