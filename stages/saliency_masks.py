"""Turn saliency maps into masks: threshold, then a dense CRF over salient and not.

Reads the index and the maps; writes one palette PNG for every image that has a map: 0 background, 1 salient; images
without tags are background throughout. The result is the same for any number of threads and of
jobs that share the images (--shard I/N); masks that are made are kept when a killed run is started again.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import SaliencyMaskSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=SaliencyMaskSettings,
    inputs={"index": "dataset index", "maps": "saliency maps"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
