"""Class activation maps of the tagged classes, at several scales with the mirrored image.

Reads the index and a classifier; writes HDF5 shards of the network's own small maps (see wsss.store.maps for how to
read them). What is made is kept when a killed run is started again. Several jobs may share the images:

    for i in 0 1 2; do python stages/cams.py ARGUMENTS --out DIR --shard $i/3 & done; wait
    python stages/cams.py ARGUMENTS --out DIR
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import CamsSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=CamsSettings,
    inputs={"index": "dataset index", "classifier": "classifier to look into"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
