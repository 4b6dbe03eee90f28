r"""Train a classifier with a CAM head on images and their tags.

Reads the index; writes model.safetensors, metrics.jsonl and predictions.csv (tag probabilities of the validation
images). 'objective' is one of vanilla, puzzle, oc-cse, p-oc, p-noc and guided; the three with oc need --ordinary,
a trained classifier that judges erased images; guided learns from a few ground-truth masks too.
A killed training resumes from its checkpoint when the same command is given again; on a CPU it ends with the same bits.

    python stages/classifier.py --index results/scenes/index --out results/scenes/s0/classifiers/vanilla \
        --settings '{"objective": "vanilla", "backbone": "resnet10t", "pretrained": false, "crop": 96, \
                     "long_side": [80, 112]}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import Classifier

VERSION = 1
stage = Stage(
    __doc__,
    settings=Classifier,
    inputs={"index": "dataset index"},
    optional={
        "ordinary": "classifier that judges erased images (objectives that erase)",
        "warm_start": "classifier whose weights to start from",
    },
    distributed=True,
)


if __name__ == "__main__":
    stage.main()
