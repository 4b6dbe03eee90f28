"""Put the steps of class-incremental learning of a dataset together: continual.csv and continual.md.

Reads the index, segmentation networks of the objective continual, their predictions (in the same order) of validation
images, and memories.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={
        "segmenters": "folders of networks",
        "predictions": "folders of their predictions, in the same order",
        "memories": "folders of memories",
    },
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables (default: the index's)"}},
)


if __name__ == "__main__":
    stage.main()
