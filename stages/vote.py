"""Let pseudo-labels of several recipes vote, pixel by pixel: majority, or agreement of all, else ignore (255).

Reads the index and the members' masks, in which 255 is an abstention; writes one palette PNG per image of the splits,
and agreement.csv: how far the members agree, pair by pair. Masks that are made are kept when a killed run is
started again; jobs may share the images (--shard I/N).
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import VoteSettings

VERSION = 2
stage = Stage(
    __doc__,
    settings=VoteSettings,
    inputs={"index": "dataset index"},
    several={"members": "pseudo-labels of the members, in the order of the settings"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
