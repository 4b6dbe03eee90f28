"""Put the scores of a dataset together: summary.csv for programs, summary.md for people, panels/*.png to look at.

Reads the index and folders of scores; from their manifests it finds the maps, masks and predictions to picture.
"""

from pathlib import Path

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import EvaluationSettings

VERSION = 4
stage = Stage(
    __doc__,
    settings=EvaluationSettings,
    inputs={"index": "dataset index"},
    several={"scores": "folders of scores"},
    extra={
        "--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"},
        "--results": {"type": Path, "metavar": "DIR", "help": "results/DATASET, to picture what has no scores"},
    },
    paths=("results",),
)


if __name__ == "__main__":
    stage.main()
