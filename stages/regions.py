r"""Snap pseudo-labels to regions that were cut out elsewhere: masks of SAM or SAM 2, or superpixels.

Reads the index, masks, and the folder that the settings name ({seed} in the path stands for --seed; relative paths
start at the working folder): for each image ID.json, a list of regions in COCO's run-length encoding as
segment-anything's amg.py --convert-to-rle writes it, or ID.png, one channel of 8 or 16 bits, 0 no region, other
values a region each. The rule (wsss.refine.regions) depends neither on the order of the regions nor on that of the
classes. Images without an object in their mask need no regions. Writes palette PNG. tools/sam_regions.py makes such
files with transformers.

    python stages/regions.py --index results/scenes/index --masks results/scenes/s0/masks/p-noc \
        --out results/scenes/s0/masks/snapped \
        --settings '{"source": "regions", "masks": "p-noc", "regions": "sam/"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import RegionMasksSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=RegionMasksSettings,
    inputs={"index": "dataset index", "masks": "pseudo-labels to snap to regions"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
