"""Corrections by hand: masks of single images that override pixels of pseudo-labels.

A folder of ``ID.png``, each of its image's size. 255: the pseudo-label stays; 254: the pixel is left out (255 in the
mask); any other value is the label. A correction without a 255 is a whole mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.images import read_mask
from wsss.data.index import SHOWN, Index, Item
from wsss.data.kinds.folder import masks_below
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.runtime.run import Run
from wsss.store.masks import MaskFolder
from wsss.system.log import log
from wsss.text import count, nearest

UNTOUCHED = 255
"""Value of a correction: what the pseudo-label says stays."""
LEAVE_OUT = 254
"""Value of a correction: the pixel is left out of the mask."""


def corrected(mask: np.ndarray, correction: np.ndarray) -> np.ndarray:
    """A mask, uint8 (H, W), with a correction of it, uint8 (H, W), laid over it.

    >>> corrected(np.uint8([[0, 1, 2, 255]]), np.uint8([[255, 254, 0, 3]]))
    array([[  0, 255,   0,   3]], dtype=uint8)
    """
    labels = np.where(correction == LEAVE_OUT, np.uint8(IGNORE), correction)
    result: np.ndarray = np.where(correction == UNTOUCHED, mask, labels)
    return result


@dataclass(frozen=True)
class Corrections:
    """The corrections of a folder, all of which fit the index: id to file."""

    folder: Path
    files: dict[str, Path]

    @classmethod
    def read(cls, folder: Path, index: Index) -> Corrections:
        """Find and check all corrections.

        Raises:
            WsssError: There is no such folder, or corrections do not fit: an id that the index does not have, another
                size than the image's, values that are no label, or no mask at all. Names the first few, each with its
                file, its id and the cure.
        """
        if not folder.is_dir():
            raise WsssError(
                f"{folder} is no folder; 'corrected' is a folder of corrections, one ID.png for each corrected image"
            )
        if len(index.classes) >= LEAVE_OUT:
            raise WsssError(
                f"{folder}: corrections have the value {LEAVE_OUT} for pixels to leave out, but the dataset "
                f"has {len(index.classes)} classes, so that it is a label, too; leave 'corrected' out"
            )
        found = masks_below(folder)
        items = {item.id: item for item in index.items}
        wrong = [
            f"{path} (id {id!r}): {problem}"
            for id, paths in found.items()
            for path in paths
            for problem in _problems(id, path, paths, items, len(index.classes))
        ]
        if wrong:
            more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
            raise WsssError("\n  ".join([
                f"{folder} does not fit the index {index.folder}: {count(len(wrong), 'problem')} of corrections",
                *wrong[:SHOWN], *more,
            ]))  # fmt: skip
        return cls(folder, {id: paths[0] for id, paths in found.items()})

    def apply(self, masks: MaskFolder, items: list[Item], run: Run) -> dict[str, int]:
        """Lay the corrections over the masks of ``items``, which are in ``masks``, and note how many images have one
        and how many of their pixels changed. Returns the new CRC-32 of each file, by id.

        Raises:
            Interrupted: A signal asked to stop.
        """
        checksums: dict[str, int] = {}
        pixels = 0
        for item in (one for one in items if one.id in self.files):
            run.check_stop()
            before = masks.read(item.id)
            after = corrected(before, read_mask(self.files[item.id]))
            pixels += int((before != after).sum())
            checksums[item.id] = masks.write(item.id, after)
        if others := len(self.files) - len(checksums):
            log.warning(
                f"{self.folder}: {count(others, 'correction')} of {len(self.files)} without effect here, "
                "for these masks are of other splits; see 'splits'"
            )
        run.note(corrected={"images": len(checksums), "pixels": pixels})
        return checksums


def corrections_of(run: Run) -> Corrections | None:
    """The checked corrections that the settings of a run name; None where they name none.

    Raises:
        WsssError: Corrections do not fit, see ``Corrections.read``.
    """
    folder = getattr(run.settings, "corrected", None)
    return None if folder is None else Corrections.read(Path(folder), Index.load(run.inputs["index"]))


def _problems(id: str, path: Path, paths: list[Path], items: dict[str, Item], classes: int) -> Iterator[str]:
    """What is wrong with a correction, and the cure."""
    if path != paths[0]:
        yield f"is a second correction beside {paths[0]}; delete one"
        return
    item = items.get(id)
    if item is None:
        yield f"no image has this id{nearest(id, items)}; rename the file after its image, or delete it"
        return
    try:
        mask = read_mask(path)
    except WsssError as error:
        yield str(error).removeprefix(f"{path}: ")
        return
    if mask.shape != (item.height, item.width):
        yield (
            f"is {mask.shape[0]} x {mask.shape[1]} pixels, the image {item.height} x {item.width}; draw it again at "
            "the image's size"
        )
    strange = np.setdiff1d(mask, [*range(classes + 1), LEAVE_OUT, UNTOUCHED]).tolist()
    if strange:
        yield (
            f"holds the values {strange}; allowed are 0 to {classes}, {LEAVE_OUT} (leave out) and {UNTOUCHED} "
            "(untouched); draw these pixels again"
        )
