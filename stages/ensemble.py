r"""Put the maps of several recipes together: mean, max, geometric mean, noisy-or, or a mean weighted by calibration.

Reads the index and the members' maps (and their scores, for rule calibrated); writes HDF5 shards of one map per class
at stride 4, and agreement.csv: how far the members' masks agree, pair by pair (maps read at 0.3). What is made is kept
when a killed run is started again.

    python stages/ensemble.py --index results/scenes/index --members results/scenes/s0/cams/vanilla \
        results/scenes/s0/cams/p-noc --settings '{"source": "ensemble", "members": ["vanilla", "p-noc"]}' \
        --out results/scenes/s0/cams/both
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import EnsembleSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=EnsembleSettings,
    inputs={"index": "dataset index"},
    several={
        "members": "maps of the members, in the order of the settings",
        "scores": "scores of the members in the same order, for rule calibrated",
    },
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
