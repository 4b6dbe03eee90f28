r"""Make a memory of what a segmentation network has learnt: few images, compressed, to replay when it learns more.

Reads the index and a segmentation network, perhaps maps and the memory of the step before; writes memory.h5 (see
wsss.store.exemplars: five lines read it), memory.csv (a row per exemplar), metrics.json and pictures.png. What is made
is kept when a killed run is started again.

    python stages/memory.py --index results/scenes/index --segmenter results/scenes/s0/segmenters/step-0 \
        --settings '{"segmenter": "step-0", "method": "salient", "budget_kib": 300}' --out out/memory
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import MemorySettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=MemorySettings,
    inputs={"index": "dataset index", "segmenter": "network that has learnt the classes"},
    optional={"previous": "memory of the step before", "cams": "maps that point at boxes"},
)


if __name__ == "__main__":
    stage.main()
