r"""Train the edge network on affinity labels: it learns where objects end, which no label says.

Reads the index and a folder of affinity labels; writes model.safetensors and metrics.jsonl. The backbone is frozen: its
ImageNet weights, or those of a classifier (--warm-start). Resumes like the classifiers.

    python stages/affinity.py --index results/scenes/index --labels results/scenes/s0/affinity-labels/p-noc \
        --warm-start results/scenes/s0/classifiers/p-noc --out results/scenes/s0/affinity/p-noc \
        --settings '{"cams": "p-noc", "warm_start": "p-noc", "backbone": "resnet10t", "crop": 96, "radius": 5}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import AffinitySettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=AffinitySettings,
    inputs={"index": "dataset index", "labels": "affinity labels to learn from"},
    optional={"warm_start": "classifier whose backbone is frozen and read"},
    distributed=True,
)


if __name__ == "__main__":
    stage.main()
