r"""Search for small segmentation networks that explain as a trained one does, and see whether that pays.

Reads the index and a trained segmentation network, the teacher; writes search.csv (one row per network that was
judged), ranked.json (the same as recipes, the best first), best.yaml (a recipe) and maps.png (see wsss.stages.search).
Candidates learn the teacher's predictions for a few steps; no mask is looked at. What is judged is kept when a killed
run is started again. Several jobs may share the search (--shard I/N).

    python stages/search.py --index results/scenes/index --teacher results/scenes/s0/segmenters/p-noc \
        --out results/scenes/s0/searches/small --settings '{"teacher": "p-noc", "size": 96, "images": 12}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import SearchSettings

VERSION = 1
stage = Stage(
    __doc__,
    settings=SearchSettings,
    inputs={"index": "dataset index", "teacher": "segmentation network whose explanations are the measure"},
    scattered=True,
)


if __name__ == "__main__":
    stage.main()
