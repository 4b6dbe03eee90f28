r"""Train a network that tells objects of any class from the background.

Reads the index and, for c2am-h, the maps that hint at objects, for a saliency network the masks of another saliency;
writes model.safetensors and metrics.jsonl. Resumes like the classifiers. For token-cut nothing is trained: the network
is written as it is.

    python stages/saliency.py --index results/scenes/index --hints results/scenes/s0/cams/vanilla \
        --out results/scenes/s0/saliency/c2am-h --settings '{"objective": "c2am-h", "hints": "vanilla", \
                     "backbone": "resnet10t", "crop": 96, "long_side": [112, 112], "batch_size": 32}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import Saliency

VERSION = 1
stage = Stage(
    __doc__,
    settings=Saliency,
    inputs={"index": "dataset index"},
    optional={
        "hints": "class activation maps whose strong activations hint at objects (c2am-h)",
        "warm_start": "classifier whose backbone to start from",
        "saliency": "masks of the saliency to learn from (saliency networks)",
    },
    distributed=True,
)


if __name__ == "__main__":
    stage.main()
