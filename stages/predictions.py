"""Apply a trained segmentation network to images: palette PNG masks at the images' own size.

Reads the index and a segmenter; logits of several scales and of the mirror are averaged; a dense CRF is optional, and
so is a classifier that says which classes an image may hold.
Masks that are made are kept when a killed run is started again; jobs may share the images (--shard I/N).
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import PredictSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=PredictSettings,
    inputs={"index": "dataset index", "segmenter": "trained segmentation network"},
    optional={"tags_from": "classifier that says which classes an image may hold"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
