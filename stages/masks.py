"""Turn maps into pseudo-labels: a background score, then a dense CRF over the tagged classes.

Reads the index and the maps (and their scores, when the threshold is calibrated or oracle; and maps of saliency, when
that gives the background score); writes one palette PNG per image of the splits: 0 background, c + 1 the object class
c, 255 what an ignore band leaves out. The result is the same for any number of threads and of jobs that share the
images (--shard I/N); masks that are made are kept when a killed run is started again.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import MasksSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=MasksSettings,
    inputs={"index": "dataset index", "cams": "class activation maps"},
    optional={
        "saliency": "maps of the saliency that the settings name",
        "scores": "scores of the maps, for threshold policies calibrated and oracle",
    },
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
