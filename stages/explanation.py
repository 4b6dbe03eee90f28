"""Explain a classifier's decisions, and measure the explanations.

Reads the index and a classifier; writes HDF5 shards of raw signed maps, metrics.json, classes.csv, detections.csv and
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
    inputs={"index": "dataset index", "classifier": "classifier to look into"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
