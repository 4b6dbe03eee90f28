"""Apply a disentangler, a saliency network or a cut: how salient each pixel is, at several scales with the mirror.

Reads the index and the network; writes HDF5 shards with one class, 0 = salient, for every image of the splits (see
wsss.store.maps for how to read them). What is made is kept when a killed run is started again.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import SaliencyMapSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=SaliencyMapSettings,
    inputs={"index": "dataset index", "saliency": "trained disentangler or saliency network, or that of token-cut"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
