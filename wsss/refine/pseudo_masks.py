"""Pseudo masks: maps against a constant background score, then the dense CRF over the classes of the image's tags."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.images import read_image
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.refine.crf import DenseCRF, refine_scores
from wsss.settings import CrfSettings, MasksSettings, Threshold
from wsss.stage import Interrupted, Run
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.workers import over


def best_labels(maps: np.ndarray, threshold: float) -> np.ndarray:
    """argmax over [threshold, maps]: 0 where no map exceeds the threshold, k + 1 where map k is the largest.

    ``maps``: float32 (n, H, W). The threshold is rounded to float32 first; ties go to the background, then to the
    first map. Returns int64 (H, W).
    """
    background = np.full((1, *maps.shape[1:]), threshold, np.float32)
    return np.concatenate([background, maps.astype(np.float32, copy=False)]).argmax(axis=0)


def pseudo_mask(
    maps: np.ndarray,
    classes: np.ndarray,
    threshold: float,
    image: np.ndarray | None = None,
    crf: CrfSettings | None = None,
) -> np.ndarray:
    """Mask of one image.

    ``maps``: float32 (n, H, W) in [0, 1); ``classes``: int (n,), 0-based; ``image``: uint8 (H, W, 3), needed with
    ``crf``. The background and the n tagged classes take part in the CRF, whether or not a map exceeds the threshold
    anywhere. Returns uint8 (H, W): 0 background, c + 1 object class c; without classes all is background.
    """
    if len(maps) == 0:
        return np.zeros(maps.shape[1:], np.uint8)
    if crf is None:
        labels = best_labels(maps, threshold)
    else:
        background = np.full((1, *maps.shape[1:]), threshold, np.float32)
        labels = refine_scores(image, np.concatenate([background, maps]), crf)
    values = np.concatenate([[0], np.asarray(classes) + 1]).astype(np.uint8)
    return values[labels]


@dataclass(frozen=True)
class PseudoMaskWriter:
    """Makes and writes the mask of one image: what a worker process does. Call with an item of the index.

    Raises :class:`WsssError` naming the file when sizes differ or the maps
    are missing.
    """

    store: MapStore
    masks: MaskFolder
    threshold: float
    crf: CrfSettings | None

    def __call__(self, item: Item) -> int:
        record = self.store[item.id]
        if record.size != (item.height, item.width):
            raise WsssError(
                f"the maps in {self.store.folder} are of a {record.size[0]} x {record.size[1]} image, "
                f"{item.image} is {item.height} x {item.width}; make the maps again"
            )
        image = None
        if self.crf is not None and len(record.classes):
            image = read_image(item.image)
            if image.shape[:2] != record.size:
                raise WsssError(f"{item.image} is now {image.shape[0]} x {image.shape[1]}; build the index again")
        mask = pseudo_mask(self.store.full(item.id), record.classes, self.threshold, image, self.crf)
        self.masks.write(item.id, mask)
        return int((mask > 0).sum())


def chosen_threshold(settings: Threshold, scores: Path | None) -> tuple[float, dict[str, Any]]:
    """The background score and, for the manifest, how it was chosen.

    ``scores``: folder of the maps' scores, needed unless the policy is ``fixed``. Raises :class:`WsssError` when it is
    not given or holds no such threshold (a dataset without masks).
    """
    policy = settings.policy
    if policy == "fixed":
        return settings.value, {"value": settings.value, "policy": policy}
    if scores is None:
        raise WsssError(f"threshold.policy is {policy!r}: give the scores of the maps with --scores DIR")
    path = Path(scores) / "scores.json"
    try:
        train = json.loads(path.read_text("utf-8"))["splits"]["train"]
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(
            f"{path} holds no scores of the training split ({error!r}); make the maps of it and score them"
        ) from None
    chosen = train.get("policies", {}).get(policy)
    if chosen is None:
        raise WsssError(f"{path} has no {policy} threshold: no training image has a mask; use threshold.policy: fixed")
    facts = {"value": chosen["threshold"], "policy": policy, "masks_looked_at": chosen["threshold_images"]}
    return chosen["threshold"], facts


def write_pseudo_masks(run: Run) -> None:
    """Write the mask of every image of the splits. The folder appears when all are there.

    Raises :class:`WsssError` with the ids of the images that have no maps or could not be done.
    """
    import wsss.store.views  # noqa: F401  loads torch once, before worker processes fork

    settings: MasksSettings = run.settings
    index = Index.load(run.inputs["index"])
    store = MapStore(run.inputs["cams"])
    threshold, facts = chosen_threshold(settings.threshold, run.inputs.get("scores"))
    items = [item for split in settings.splits for item in index.split(split)]
    missing = [item.id for item in items if item.id not in store]
    if missing:
        shown = ", ".join(map(repr, missing[:20])) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        raise WsssError(f"{store.folder} has no maps of {len(missing)} images: {shown}; make the maps again")
    if settings.crf is not None and any(item.labels for item in items):
        DenseCRF(np.zeros((1, 1, 3), np.uint8), settings.crf)  # complains at once where the backend is not installed
    with run.folder("masks") as scratch:
        work = PseudoMaskWriter(store, MaskFolder(scratch), threshold, settings.crf)
        foreground = 0
        for pixels in over(items, work, run.args.threads, "masks", lambda item: item.id):
            foreground += pixels
            if run.stop:
                raise Interrupted(run.stop)
    share = foreground / max(1, sum(item.height * item.width for item in items))
    run.note(images=len(items), threshold=facts, foreground_share=round(share, 4))
