"""Class activation maps of the tagged classes, at several scales with the mirrored image.

Reads the index and a classifier; writes HDF5 shards of the network's own small maps (see wsss.store.maps for how to
read them). Shards that are complete are kept when a killed run is started again.
"""

import _house  # noqa: F401

from wsss.settings import CamsSettings
from wsss.stage import Stage

stage = Stage(
    __doc__,
    settings=CamsSettings,
    inputs={"index": "dataset index", "classifier": "classifier to look into"},
    scattered=True,
)

if __name__ == "__main__":
    with stage.run() as run:
        from wsss.apply import write_cams

        write_cams(run)
