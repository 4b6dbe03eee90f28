"""What is reviewed, and what has been decided: pseudo-labels of one recipe, corrections, and a state of each image.

``corrections/ID.png`` are the corrections (``wsss.parts.corrections``); ``corrections/review.json`` tells which images
were looked at: ``{"masks": RECIPE, "images": {ID: STATE}}``, states as in ``STATES``. Both are written at once, each
whole or not at all.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss.data.images import read_mask, read_upright
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE, class_colours
from wsss.errors import WsssError
from wsss.interfaces.review.doubt import Signs, signs_of
from wsss.parts.corrections import LEAVE_OUT, UNTOUCHED, Corrections, corrected
from wsss.store.artefact import Artefact, load
from wsss.store.manifest import NAME
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.files import read_json, write_json
from wsss.system.progress import Progress
from wsss.text import count, listed, nearest, nice

STATE = "review.json"
STATES = ("unseen", "seen", "accepted", "rejected", "corrected")
"""What may be known of an image: nothing; it was shown; its mask is right; all of it is left out; parts of it are
corrected."""
THUMBNAIL = 160
"""Longest side in pixels of a small picture."""


@dataclass(frozen=True)
class Photo:
    """An image under review: its place in the index, its signs, and the mask values in its tags or its mask."""

    item: Item
    signs: Signs
    values: tuple[int, ...]


def masks_to_review(results: Path, name: str | None, seed: int) -> Artefact:
    """The masks of a recipe: ``results`` is their own folder or ``results/DATASET``. Without a name those that a
    segmentation network learns from, else the first.

    Raises:
        WsssError: There are no finished masks there, or none of that name.
    """
    if results.absolute().parent.name == "masks":
        return load(results)
    base = Path(results, f"s{seed}").absolute()
    made = {one.parent.name: one.parent for one in sorted(base.glob(f"masks/*/{NAME}"))}
    if not made:
        raise WsssError(f"{nice(base)}: holds no finished masks; name results/DATASET of a run that has made some")
    if name is not None and name not in made:
        raise WsssError(f"{nice(base)}: no masks {name!r}{nearest(name, made)}; there are {listed(made)}")
    inputs = [load(one.parent).inputs for one in sorted(base.glob(f"segmenters/*/{NAME}"))]
    learnt = [folder for folder in made.values() if folder in [one.get("masks") for one in inputs]]
    return load(made[name] if name is not None else (learnt or list(made.values()))[0])


class Session:
    """The review of one recipe's masks. Safe for several threads.

    Args:
        masks: Artefact of pseudo-labels.
        folder: Where corrections lie, and are written.
        splits: Images of these splits are shown.
        threads: Images looked at side by side at the start.

    Raises:
        WsssError: Masks are missing, or corrections that lie there do not fit.
    """

    def __init__(self, masks: Artefact, folder: Path, splits: tuple[str, ...] = ("train",), threads: int = 4) -> None:
        self.artefact, self.folder = masks, folder
        self.index = Index.load(masks.inputs["index"])
        self.masks, self.written = MaskFolder(masks.folder / "masks"), MaskFolder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.files = dict(Corrections.read(folder, self.index).files)
        made = masks.settings.get("splits", splits)
        items = [item for split in splits if split in made for item in self.index.split(split)]
        if not items:
            raise WsssError(f"{masks.title}: has masks of {listed(made)} only; name these with --splits")
        self.masks.require(items, "make the masks again with wsss run")
        self.photos = {photo.item.id: photo for photo in self._sorted(items, threads)}
        try:
            known = read_json(folder / STATE).get("images", {})
        except ValueError as error:
            raise WsssError(f"{folder / STATE}: cannot be read ({error}); delete it, the corrections stay") from None
        self.states = {id: str(state) for id, state in known.items() if state in STATES and id in self.index_ids}
        for id, path in self.files.items():
            self.states[id] = _state(read_mask(path), self.states.get(id, "seen"))
        self._lock = threading.Lock()

    @property
    def index_ids(self) -> frozenset[str]:
        """Ids of all images of the dataset."""
        return frozenset(item.id for item in self.index.items)

    def _sorted(self, items: list[Item], threads: int) -> list[Photo]:
        """The images, the most doubtful first."""
        others = [
            MaskFolder(one.parent / "masks")
            for one in sorted(self.artefact.folder.parent.glob(f"*/{NAME}"))
            if one.parent != self.artefact.folder and load(one.parent).settings.get("source") != "choice"
        ]
        peaks = self._peaks(items)
        by_class: dict[int, list[float]] = {}
        for found in peaks.values():
            for value, peak in found.items():
                by_class.setdefault(value, []).append(peak)
        usual = {value: float(np.median(several)) for value, several in by_class.items()}

        def look(item: Item) -> Photo:
            mask = self.masks.read(item.id)
            if mask.shape != (item.height, item.width):
                raise WsssError(f"{self.masks.file(item.id)}: is not of the image's size; make the masks again")
            beside = [other.read(item.id) for other in others if item.id in other]
            beside = [one for one in beside if one.shape == mask.shape]
            tags = [label + 1 for label in item.labels]
            signs = signs_of(mask, tags, beside, peaks.get(item.id), usual)
            return Photo(item, signs, tuple(sorted({*tags, *np.unique(mask).tolist()} - {0, IGNORE})))

        photos = []
        with ThreadPoolExecutor(max(1, threads)) as pool, Progress(len(items), what="comparing masks") as progress:
            for photo in pool.map(look, items):
                photos.append(photo)
                progress.advance()
        return sorted(photos, key=lambda photo: (-round(photo.signs.doubt, 6), photo.item.id))

    def _peaks(self, items: list[Item]) -> dict[str, dict[int, float]]:
        """The largest value of each tag's CAM, where the masks were made of CAMs that are still there."""
        cams = self.artefact.inputs.get("cams")
        if cams is None or not any(cams.glob("*.h5")):
            return {}
        store, found = MapStore(cams), {}
        for item in (one for one in items if one.id in store):
            record = store[item.id]
            tallest = [np.max([maps[n].max() for maps in record.maps]) for n in range(len(record.classes))]
            found[item.id] = {int(c) + 1: float(peak) for c, peak in zip(record.classes, tallest, strict=True)}
        return found

    def described(self) -> dict[str, Any]:
        """All that the page is told at its start, as plain values."""
        names = self.index.classes
        return {
            "title": self.artefact.folder.name,
            "dataset": self.index.name,
            "classes": list(names),
            "colours": class_colours(len(names)),
            "images": [
                {
                    "id": id,
                    "height": photo.item.height,
                    "width": photo.item.width,
                    "tags": [names[label] for label in photo.item.labels],
                    "classes": list(photo.values),
                    "doubt": round(photo.signs.doubt, 4),
                    "reasons": list(_reasons(photo.signs, names)),
                    "state": self.states.get(id, STATES[0]),
                }
                for id, photo in self.photos.items()
            ],
        }

    def layers(self, id: str) -> bytes:
        """The pseudo-label and then the correction of an image, a byte for each pixel, row by row."""
        item = self.photos[id].item
        mask = self.masks.read(id)
        with self._lock:
            path = self.files.get(id)
            correction = np.full((item.height, item.width), UNTOUCHED, np.uint8) if path is None else read_mask(path)
        return mask.tobytes() + correction.tobytes()

    def picture(self, id: str, small: bool = False) -> bytes:
        """A JPEG of an image, upright, at its own size or with sides of at most ``THUMBNAIL``."""
        item = self.photos[id].item
        image = Image.fromarray(read_upright(item.image, (item.height, item.width)))
        if small:
            image.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80 if small else 92)
        return buffer.getvalue()

    def save(self, id: str, state: str, correction: bytes) -> str:
        """Keep what was decided about an image.

        Args:
            id: One of ``photos``.
            state: What the reviewer says, one of ``STATES``.
            correction: A byte for each pixel.

        Returns:
            The state that it has now; what is drawn counts for more than what is said.

        Raises:
            ValueError: Not one byte for each pixel, values that are no label, or no such state.
        """
        item = self.photos[id].item
        if state not in STATES[1:]:
            raise ValueError(f"no state {state!r}")
        if len(correction) != item.height * item.width:
            raise ValueError(f"{len(correction)} bytes for {item.height} x {item.width} pixels")
        drawn = np.frombuffer(correction, np.uint8).reshape(item.height, item.width)
        strange = np.setdiff1d(drawn, [*range(len(self.index.classes) + 1), LEAVE_OUT, UNTOUCHED])
        if len(strange):
            raise ValueError(f"no label has the values {strange.tolist()}")
        with self._lock:
            before, target = self.files.pop(id, None), self.written.path_of(id)
            if (drawn != UNTOUCHED).any():
                self.written.write(id, drawn)
                self.files[id] = target
            if before is not None and (before != target or id not in self.files):
                before.unlink(missing_ok=True)
            self.states[id] = _state(drawn, state)
            write_json(self.folder / STATE, {"masks": self.artefact.folder.name, "images": self.states})
            return self.states[id]

    def take_in(self, drawn: Mapping[str, np.ndarray]) -> int:
        """Keep whole masks, uint8 (H, W) by id, as corrections where they differ from the pseudo-label and its
        correction; returns of how many images. Others are accepted as they are.

        Raises:
            WsssError: Images that are not under review.
        """
        if strange := [id for id in drawn if id not in self.photos]:
            raise WsssError(f"{count(len(strange), 'image')} are not under review, the first is {strange[0]!r}; "
                            "name their split with --splits")  # fmt: skip
        differ = 0
        for id, mask in drawn.items():
            correction = np.frombuffer(self.layers(id), np.uint8)[mask.size :].reshape(mask.shape)
            if same := bool((corrected(self.masks.read(id), correction) == mask).all()):
                self.save(id, "accepted", correction.tobytes())
            else:
                self.save(id, "corrected", np.where(mask == IGNORE, np.uint8(LEAVE_OUT), mask).tobytes())
            differ += not same
        return differ

    def summary(self, config: str | None = None) -> Iterator[str]:
        """What was decided, and how it takes effect; ``config``: the configuration file where it was named."""
        states = Counter(self.states.get(id, STATES[0]) for id in self.photos)
        looked = len(self.photos) - states[STATES[0]]
        told = ", ".join(f"{states[state]} {state}" for state in STATES[2:])
        yield f"{looked} of {count(len(self.photos), 'photo')} seen: {told}"
        if not self.files:
            yield f"No correction lies in {nice(self.folder)}: nothing to make again"
            return
        lie = f"{count(len(self.files), 'correction')} in {nice(self.folder)}"
        again = f"make what depends on {'it' if len(self.files) == 1 else 'them'}: wsss run"
        again += f" --configfile {config}" if config else ""
        named = self.artefact.settings.get("corrected")
        if named is not None and Path(named).resolve() == self.folder.resolve():
            yield f"{lie}; {again}"
            return
        yield f"{lie}. Add to the recipe {self.artefact.folder.name} of masks in {config or 'config.yaml'}:"
        yield f"    corrected: {nice(self.folder)}"
        yield f"and {again}"


def _state(correction: np.ndarray, said: str) -> str:
    """The state of an image with this correction, of which the reviewer said ``said``."""
    if (correction == UNTOUCHED).all():
        return said if said in ("seen", "accepted") else "seen"
    return "rejected" if (correction == LEAVE_OUT).all() else "corrected"


def _reasons(signs: Signs, names: tuple[str, ...]) -> Iterator[str]:
    """Why an image is doubted, in words."""
    for value in signs.absent:
        yield f"{names[value - 1]}: tagged, but no pixel"
    for value in signs.tiny:
        yield f"{names[value - 1]}: very small"
    if signs.disagreement >= 0.01:
        yield f"recipes differ on {100 * signs.disagreement:.0f} % of the objects"
    if signs.unsure >= 0.01:
        yield f"{100 * signs.unsure:.0f} % left out"
    if signs.faint >= 0.25:
        yield f"weakest CAM {100 * signs.faint:.0f} % below the usual"
