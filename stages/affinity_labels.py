r"""Label the pixels of the training images that maps (and saliency) are sure of: what an edge network learns from.

Reads the index, maps and, if given, saliency maps; writes one palette PNG per image of the training split: 0
background, c + 1 the object class c, 255 not sure. With saliency, saliency decides what is background and the maps
decide the class; without, two thresholds on the maps do. The result is the same for any number of threads
and of jobs that share the images (--shard I/N); labels that are made are kept when a killed run is started again.

    python stages/affinity_labels.py --index results/scenes/index --cams results/scenes/s0/cams/p-noc \
        --saliency results/scenes/s0/saliency-maps/c2am-h --out results/scenes/s0/affinity-labels/p-noc
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import AffinityLabelSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=AffinityLabelSettings,
    inputs={"index": "dataset index", "cams": "maps that claim pixels for classes"},
    optional={"saliency": "saliency maps that decide what is background"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
