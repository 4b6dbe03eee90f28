r"""Take in masks made elsewhere: a folder of 8-bit PNG, one ID.png an image.

Reads the index and the folder that the settings name ({seed} in the path stands for --seed; relative paths start at the
working folder). Values: 0 background, c the c-th class, 255 ignore. Every image of the splits must have one of its
size; all that is wrong is listed at once. Classes that an image is not tagged with are counted and reported; with
"veto": "tags" they are taken out, and tags.csv names them. Writes palette PNG.

    python stages/external_masks.py --index results/scenes/index --out results/scenes/s0/masks/sam \
        --settings '{"source": "external", "path": "sam/s{seed}", "supervision": "text, 11 M masks", "veto": "tags"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import ExternalMasksSettings

VERSION = 1
stage = Stage(__doc__, settings=ExternalMasksSettings, inputs={"index": "dataset index"}, scattered=True)


if __name__ == "__main__":
    stage.main()
