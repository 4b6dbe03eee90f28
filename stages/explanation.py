"""Explain what a classifier or a segmentation network predicts, and measure the explanations.

Reads the index and a network; writes HDF5 shards of raw signed maps, metrics.json, classes.csv, detections.csv and
pictures.png (see wsss.stages.explanation). What is made is kept when a killed run is started again. Several jobs may
share the images (--shard I/N).
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import ExplanationSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=ExplanationSettings,
    inputs={"index": "dataset index"},
    optional={
        "classifier": "classifier to look into",
        "segmenter": "segmentation network to look into, instead of a classifier",
    },
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
