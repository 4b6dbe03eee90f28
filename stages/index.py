"""Check a dataset and write its index: what every later stage knows of the images.

Reads the files that the settings name; writes index.csv (one row per image), classes.txt (one name per line; line c is
mask value c) and report.json (counts, co-occurrence, what was dropped, notes); generated images and masks go to images/
and masks/. Everything wrong is listed at once, each with file, id and cure (exit code 2; problems.json has the list).

    python stages/index.py --dataset scenes --settings '{kind: scenes}' --out results/scenes/index
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import Dataset

VERSION = 1
stage = Stage(__doc__, settings=Dataset, extra={"--dataset": {"required": True, "help": "name of the dataset"}})


if __name__ == "__main__":
    stage.main()
