"""What other software takes from here: networks as plain models and as files, lists of images (docs/interfaces.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsss.data.index import Index
from wsss.errors import WsssError
from wsss.system.files import write_text

if TYPE_CHECKING:
    from segmentation_models_pytorch.base import SegmentationModel


def as_smp(folder: Path | str) -> SegmentationModel:
    """A trained segmentation network as the plain model of segmentation-models-pytorch that it is, in eval mode.

    It takes normalised images (B, 3, H, W) whose sides are multiples of 32 and gives logits (B, C + 1, H, W); channel 0
    is the background. ``model.save_pretrained(DIR)`` writes it for ``segmentation_models_pytorch.from_pretrained``.

    Raises:
        WsssError: The folder holds no whole segmentation network, or a classifier in the place of one.
    """
    from wsss.models.segmenter import Segmenter, load_segmenter

    network, _ = load_segmenter(Path(folder))
    if not isinstance(network, Segmenter):
        raise WsssError(f"{folder}: this is a guided classifier, and no model of segmentation-models-pytorch")
    return network.network.eval()


def write_list(index: Path | str, split: str, path: Path | str) -> int:
    """Write the ids of a split (``train`` or ``val``), one per line, as other toolkits take them; returns how many.

    An id with ``.png`` behind it is the mask's path in a folder of masks.

    Raises:
        WsssError: The folder is no whole index, or has no such split.
    """
    ids = [item.id for item in Index.load(index).split(split)]
    write_text(Path(path), "".join(f"{id}\n" for id in ids))
    return len(ids)
