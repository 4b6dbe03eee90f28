"""Score classifiers, class activation maps, saliency, pseudo-labels or predicted masks against what the index knows.

Writes scores.json (every split, threshold policy and class) and scores.csv (the same in long form). Every image of the
index's list is scored, or the stage fails and names those that are missing.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import EvaluationSettings

VERSION = 2
stage = Stage(
    __doc__,
    settings=EvaluationSettings,
    inputs={"index": "dataset index", "artefact": "folder to score; for segmenters that of the predictions"},
    extra={
        "--kind": {
            "required": True,
            "choices": ("classifiers", "cams", "saliency", "saliency-masks", "masks", "segmenters"),
            "help": "what it is; saliency is that of the maps",
        }
    },
)


if __name__ == "__main__":
    stage.main()
