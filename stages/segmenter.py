r"""Train a segmentation network on pseudo-labels, or on the true ones (the upper bound); or take a guided classifier.

Reads the index and a folder of pseudo-labels, with soft_weight also the probabilities beside them, or a classifier;
with objective: continual also the network of the step before and a memory, with architecture_from a search, which says
which network it is. Writes model.safetensors and metrics.jsonl.
Resumes like the classifiers.

    python stages/segmenter.py --index results/scenes/index --masks results/scenes/s0/masks/p-noc \
        --out results/scenes/s0/segmenters/p-noc --settings '{"masks": "p-noc", "backbone": "resnet10t", ...}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import Segmenter

VERSION = 1
stage = Stage(
    __doc__,
    settings=Segmenter,
    inputs={"index": "dataset index"},
    optional={
        "masks": "pseudo-labels to learn from (with supervision: pseudo)",
        "classifier": "guided classifier that is the network (with supervision: classifier)",
        "warm_start": "network of the step before (with objective: continual)",
        "memory": "memory of exemplars to replay (with objective: continual)",
        "architecture_from": "search that says which network is trained (with the setting architecture_from)",
    },
    distributed=True,
)


if __name__ == "__main__":
    stage.main()
