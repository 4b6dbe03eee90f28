r"""Take in maps made elsewhere, in the documented format: a folder of HDF5 shards or one HDF5 file.

Reads the index and the files that the settings name ({seed} in the path stands for --seed; relative paths start at the
working folder). Every image of the splits must be there, with exactly the tagged classes, at its size, values finite
and not negative; all that is wrong is listed at once. With "veto": "tags" maps of other classes are left out, and tags
without a map get one of zeros; tags.csv names both. Writes HDF5 shards like stages/cams.py.
How such a file looks: python -c "import wsss.store.map_shards; help(wsss.store.map_shards)";
wsss.store.map_writer writes one.

    python stages/external_cams.py --index results/scenes/index --out results/scenes/s0/cams/clip \
        --settings '{"source": "external", "path": "clip/s{seed}", "supervision": "image-text pairs"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import ExternalCamsSettings

VERSION = 1
stage = Stage(__doc__, settings=ExternalCamsSettings, inputs={"index": "dataset index"}, scattered=True)


if __name__ == "__main__":
    stage.main()
