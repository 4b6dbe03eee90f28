r"""Maps of CLIP for the tagged classes, by what the classes are called; nothing is trained.

Reads the index and the weights that the settings name: a file, or a tag of open_clip's list that was fetched before
(wsss fetch). Needs the package open_clip_torch (pip install '.[foundation]'). Writes HDF5 shards of maps with a cell
for each patch, of absolute values in 0..1 (see wsss.store.maps); the manifest names every text, and every background
word that was dropped. What is made is kept when a killed run is started again.

    python stages/text_cams.py --index results/scenes/index --out results/scenes/s0/cams/clip \
        --settings '{"source": "text", "method": "grad-cam", "weights": "weights/openai/clip.safetensors"}'
"""

import _path  # noqa: F401

from wsss.runtime.program import Stage
from wsss.settings import TextCamsSettings

VERSION = 1
stage = Stage(__doc__, settings=TextCamsSettings, inputs={"index": "dataset index"}, scattered=True)


if __name__ == "__main__":
    stage.main()
