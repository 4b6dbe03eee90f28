r"""Spread maps by a random walk over pixel affinities: within what edges enclose, and not across them.

Reads the index, maps, and a trained edge network; writes HDF5 shards of maps at stride 4 (see wsss.store.maps). What
is made is kept when a killed run is started again.

    python stages/walk.py --index results/scenes/index --cams results/scenes/s0/cams/p-noc \
        --affinity results/scenes/s0/affinity/p-noc --out results/scenes/s0/cams/p-noc-walk \
        --settings '{"cams": "p-noc", "affinity": "p-noc"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import WalkSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=WalkSettings,
    inputs={"index": "dataset index", "cams": "maps to spread", "affinity": "trained edge network"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
