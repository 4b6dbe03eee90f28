"""Make the report of a dataset: one HTML file with tables, curves and pictures that needs nothing beside it.

Reads the index and folders of scores; from their manifests it finds the maps, masks and trainings to show. The page is
written beside the artefact folder, under the folder's name: for --out results/scenes/report it is
results/scenes/report.html. The folder holds pictures.csv: which images are shown, and why.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 6
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={"scores": "folders of scores"},
    extra={"--dataset": {"metavar": "NAME", "help": "name of the dataset in the report (default: the index's)"}},
)


if __name__ == "__main__":
    stage.main()
