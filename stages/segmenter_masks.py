r"""Turn the predictions of trained segmentation networks into pseudo-labels, for another round of training.

Reads the index, one or several segmenters, and the masks that they correct (the prior). Probabilities are averaged over
networks, scales and mirror, restricted to the tags of the image, mixed with the prior, and refined by a dense CRF; 255
is left out, where the result differs from the prior and the networks are not sure. Writes one palette PNG per image of
the splits; the manifest has the shares of pixels that were left out and that changed, and how far networks and prior
agree: above a mean IoU of 0.95 another round brings nothing. With keep_probabilities also the probabilities of the tags
before prior and CRF, as map shards, for a segmenter with a soft_weight. The result is the same for any number of
threads and of jobs that share the images (--shard I/N); what is made is kept when a killed run is started again.

    python stages/segmenter_masks.py --index results/scenes/index --out results/scenes/s0/masks/round-1 \
        --segmenters results/scenes/s0/segmenters/p-noc --prior results/scenes/s0/masks/p-noc \
        --settings '{"source": "segmenter", "segmenters": ["p-noc"], "prior": "p-noc"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import SegmenterMasksSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=SegmenterMasksSettings,
    inputs={"index": "dataset index"},
    optional={"prior": "the masks that are corrected, where the settings name some"},
    several={"segmenters": "trained segmentation networks, in the order of the settings"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
