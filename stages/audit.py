"""Audit a network's explanations: can they be steered by changes that nobody sees? Defensive: for networks of your own.

Reads the index and a classifier or a segmentation network; writes audit.csv (one row per image, eps and condition:
clean, attack, and two controls of equal size), metrics.json, pictures.png and, if settings say so, perturbed.h5 and
detection.csv (see wsss.stages.audit). What is made is kept when a killed run is started again. Several jobs may share
the images (--shard I/N).
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import AuditSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=AuditSettings,
    inputs={"index": "dataset index"},
    optional={"classifier": "classifier to audit", "segmenter": "segmentation network to audit"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
