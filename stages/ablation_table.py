"""Put the scores of the ablation study into its tables: ablation.md for people, ablation.csv for programs.

Reads the index and folders of scores; the layout says which score stands where. ``snakemake ablation`` makes all of it.
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage

VERSION = 1
stage = Stage(
    __doc__,
    inputs={"index": "dataset index"},
    several={"scores": "folders of scores"},
    extra={
        "--dataset": {"metavar": "NAME", "help": "name of the dataset in the tables"},
        "--layout": {"required": True, "metavar": "JSON", "help": "rows: [part, title, {column: [kind, recipe]}]"},
    },
)


if __name__ == "__main__":
    stage.main()
