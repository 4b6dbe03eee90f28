r"""Spread maps by a random walk over how alike the features of neighbouring pixels are; nothing is trained for it.

Reads the index, maps, and the stages of a backbone with ImageNet's weights or a classifier's (--warm-start); writes
HDF5 shards of maps at the stride of the walk's grid (see wsss.store.maps). What is made is kept when a killed run is
started again.

    python stages/feature_walk.py --index results/scenes/index --cams results/scenes/s0/cams/p-noc \
        --warm-start results/scenes/s0/classifiers/vanilla --out results/scenes/s0/cams/p-noc-features \
        --settings '{"source": "feature-walk", "cams": "p-noc", "warm_start": "vanilla", "backbone": "resnet10t",
            "output_stride": 8, "grid_stride": 4, "steps": 16}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import FeatureWalkSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=FeatureWalkSettings,
    inputs={"index": "dataset index", "cams": "maps to spread"},
    optional={"warm_start": "classifier whose backbone is read"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
