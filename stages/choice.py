"""Pass on the pseudo-labels of the best of several recipes, chosen by what may be looked at.

By agreement, which looks at no mask: the member with the best mean of the mIoU with each of the others, on the tagged
training images. By masks: the member with the best mIoU on a few ground-truth masks of training images, those that
calibrated thresholds look at. The first among equals. Reads the index and the members' masks; writes copies of the
chosen one's files, and into the manifest which it was and by which figures.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import ChoiceSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=ChoiceSettings,
    inputs={"index": "dataset index"},
    several={"members": "pseudo-labels to choose from, in the order of the settings"},
)


if __name__ == "__main__":
    stage.main()
