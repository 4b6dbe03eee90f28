"""A trained segmentation network on any folder of photos: masks, overlays, and regions in the format of COCO.

Unlike the stage ``predictions`` it needs no index and no tags. The folder it writes:

===================  ==========================================================================================
``masks/ID.png``     8-bit palette PNG (colours of VOC): 0 background, c the c-th class, of the upright photo's size
``overlays/ID.jpg``  the photo under its mask's colours
``legend.png``       which colour is which class
``coco.json``        one annotation for each connected region of a class (compressed RLE, 8-connected, iscrowd 0)
``predict.json``     network, settings and photos that made it
===================  ==========================================================================================

A run that was stopped resumes: a mask is kept if its bytes and the photo's are those that the journal tells of
(``wsss.parts.masks``; the tally of a mask is the CRC-32 of its photo).
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss.data.images import check_image, read_image
from wsss.data.index import Item
from wsss.data.palette import CLASS_COLOURS
from wsss.errors import WsssError
from wsss.interfaces.networks import Applied
from wsss.parts.masks import journal_at, read_journal, whole_masks
from wsss.store.masks import MaskFolder
from wsss.system.exit import Stoppable
from wsss.system.files import atomic_path, write_json
from wsss.system.progress import Progress
from wsss.system.workers import over

ABOUT, JOURNAL, COCO = "predict.json", "journal.jsonl", "coco.json"
STRENGTH = 0.5
"""Share of a class's colour in the overlay."""
CORNERS = np.ones((3, 3), np.uint8)
"""Pixels that touch at a corner belong together."""


@dataclass(frozen=True)
class Photo:
    """A photo that can be read: where it lies, its upright size, and the CRC-32 of its bytes."""

    id: str
    path: Path
    height: int
    width: int
    crc: int

    @property
    def item(self) -> Item:
        """As the networks want it; it stands in no split and has no tags."""
        return Item(self.id, "val", self.path, None, self.height, self.width, (), False)


def open_photos(files: dict[str, Path], threads: int) -> tuple[list[Photo], dict[Path, str]]:
    """Decode every photo once. Returns those that can be read, in order, and for the others why they cannot."""

    def look(one: tuple[str, Path]) -> Photo | str:
        id, path = one
        try:
            data = path.read_bytes()
            return Photo(id, path, *check_image(data), zlib.crc32(data))
        except (OSError, ValueError) as error:
            return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]

    sound: list[Photo] = []
    broken: dict[Path, str] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool, Progress(len(files), what="opening") as progress:
        for path, found in zip(files.values(), pool.map(look, files.items()), strict=True):
            progress.advance()
            if isinstance(found, str):
                broken[path] = found
            else:
                sound.append(found)
    return sound, broken


def open_folder(out: Path, made_by: dict[str, Any], again: bool) -> None:
    """Make ``out`` ready for what ``made_by`` tells of, and keep what is there if it was made by the same.

    Args:
        out: The folder.
        made_by: What the masks depend on: network, settings.
        again: Make everything anew.

    Raises:
        WsssError: Something else lies there: masks of unknown origin, or of another network or other settings.
    """
    about = out / ABOUT
    if not about.is_file():
        if any((out / name).exists() for name in ("masks", "overlays", COCO)):
            raise WsssError(f"{out}: holds masks that this command did not make; name another folder with --out")
    elif not again:
        try:
            before = json.loads(about.read_text("utf-8"))["made_by"]
        except (OSError, ValueError, KeyError, TypeError):
            raise WsssError(f"{about}: cannot be read; name another folder with --out, or give --force") from None
        if before != made_by:
            different = [key for key in made_by if made_by[key] != before.get(key)]
            said = "; ".join(f"{key} was {_short(before.get(key))}, is {_short(made_by[key])}" for key in different)
            raise WsssError(f"{out}: its masks were made otherwise ({said}); name another folder with --out, or make "
                            "them anew with --force")  # fmt: skip
    if again:
        (out / JOURNAL).unlink(missing_ok=True)
    (out / COCO).unlink(missing_ok=True)
    write_json(about, {"made_by": made_by})


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(one)}" for key, one in value.items())
    return json.dumps(value) if isinstance(value, list) else str(value)


def write_masks(
    photos: list[Photo], network: Path, out: Path, applied: Applied, device: str, threads: int, run: Stoppable
) -> int:
    """Write the masks that are missing; returns how many were kept.

    ``run.stop`` is asked after each mask; see ``wsss.system.exit.signals``.

    Raises:
        Interrupted: A signal asked to stop; what is made stays.
    """
    from wsss.data.buckets import buckets

    masks, by_id = MaskFolder(out / "masks"), {photo.id: photo for photo in photos}
    there = whole_masks(masks, [photo.item for photo in photos], read_journal(out), {})
    kept = {id for id, crc in there.items() if crc == by_id[id].crc}
    items = [photo.item for photo in photos if photo.id not in kept]
    if items:
        for item in items:
            _overlay_file(out, item.id).unlink(missing_ok=True)
        produce = _producer(network, applied, device, threads, run)
        with journal_at(out / JOURNAL) as note:
            for written in produce(items, masks, buckets(items)):
                note(written._replace(tally=by_id[written.id].crc))
                run.check_stop()
    return len(kept)


def _producer(
    folder: Path, applied: Applied, device: str, threads: int, run: Stoppable
) -> Callable[[list[Item], MaskFolder, list[list[Item]]], Iterable[Any]]:
    """Opens the network; what comes back writes the masks of images (``wsss.stages.predictions.predicted``)."""
    from wsss.inference.network import for_inference
    from wsss.inference.tag_limits import open_limits
    from wsss.models.segmenter import load_segmenter
    from wsss.stages.predictions import predicted

    found, classes = load_segmenter(folder)
    network, where = for_inference(found, device, threads)
    limits = open_limits(applied.tags_from, classes, device, threads)
    return lambda items, masks, among: predicted(
        network, items, applied.settings, where, threads, among, masks, run, limits
    )


@dataclass(frozen=True)
class PhotoRegions:
    """What is found in a photo's mask, and its overlay written if it is missing. Returns the number of pixels of each
    value (C + 1,), and for each region its class (from 1), run lengths, area and box."""

    out: Path
    classes: int

    def __call__(self, photo: Photo) -> tuple[list[int], list[dict[str, Any]]]:
        mask = MaskFolder(self.out / "masks").read(photo.id)
        picture = _overlay_file(self.out, photo.id)
        if not picture.is_file():
            with atomic_path(picture) as temporary:
                Image.fromarray(overlay(read_image(photo.path), mask)).save(temporary, "JPEG", quality=90)
        return np.bincount(mask.ravel(), minlength=self.classes + 1).tolist(), list(regions(mask))


def _overlay_file(out: Path, id: str) -> Path:
    return out / "overlays" / f"{id}.jpg"


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photo with half of each class's colour over it, and borders in the full colour.

    ``image``: uint8 (H, W, 3); ``mask``: uint8 (H, W). Returns uint8 (H, W, 3)."""
    colours = CLASS_COLOURS[mask].astype(np.float32)
    share = np.where(mask == 0, 0.0, STRENGTH)
    border = np.zeros(mask.shape, bool)
    border[1:] |= mask[1:] != mask[:-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    share[border & (mask > 0)] = 1.0
    blended: np.ndarray = (image * (1 - share[..., None]) + colours * share[..., None]).round().astype(np.uint8)
    return blended


def legend(classes: tuple[str, ...]) -> Image.Image:
    """A picture of the classes' names beside their colours, the background first: it has none."""
    import matplotlib

    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 12)
    names = ("background", *classes)
    height, width = 20, max(120, 48 + max(round(font.getlength(name)) for name in names))
    picture = Image.new("RGB", (width, height * len(names) + 8), "white")
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        top = 4 + height * number
        fill = tuple(int(v) for v in CLASS_COLOURS[number]) if number else "#e8e8e8"
        draw.rectangle((6, top + 3, 26, top + 16), fill=fill, outline="black")
        draw.text((34, top + 2), name, fill="black", font=font)
    return picture


def regions(mask: np.ndarray) -> Iterator[dict[str, Any]]:
    """The connected regions of every class, top to bottom: ``category_id`` (the mask's value), ``segmentation`` (COCO's
    compressed RLE: ``size`` [H, W] and ``counts``), ``area`` in pixels, ``bbox`` [x, y, width, height]."""
    from pycocotools import mask as coco
    from scipy import ndimage

    height, width = mask.shape
    for value in (int(v) for v in np.unique(mask) if v):
        labelled, _ = ndimage.label(mask == value, CORNERS)
        for number, box in enumerate(ndimage.find_objects(labelled), 1):
            rows, columns = box
            inside = labelled[box] == number
            x, y = np.nonzero(inside.T)  # column by column, as COCO counts
            pixels = (x + columns.start) * height + y + rows.start
            code = coco.frPyObjects(
                {"size": [height, width], "counts": run_lengths(pixels, height * width)}, height, width
            )
            yield {
                "category_id": value,
                "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
                "area": len(pixels),
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "iscrowd": 0,
            }


def run_lengths(pixels: np.ndarray, total: int) -> list[int]:
    """Lengths of the runs of 0 and 1, in turn, of a list of ``total`` values that is 1 at the ascending places
    ``pixels``; the first run is of zeros and may be empty."""
    first = np.flatnonzero(np.diff(pixels, prepend=-2) > 1)
    starts, ends = pixels[first], pixels[np.append(first[1:], len(pixels)) - 1] + 1
    turns = np.stack([starts, ends], axis=1).ravel()
    lengths: list[int] = np.diff(np.concatenate([[0], turns, [total]])).tolist()
    return lengths


def finish(
    photos: list[Photo], root: Path, out: Path, classes: tuple[str, ...], threads: int, about: dict[str, Any]
) -> tuple[Counter[str], Counter[str], int]:
    """Write overlays, legend, ``coco.json`` and, last, the whole ``predict.json``.

    Returns:
        Photos that show each class, pixels of each class, and the number of regions.
    """
    shown: Counter[str] = Counter()
    pixels: Counter[str] = Counter()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results = over(photos, PhotoRegions(out, len(classes)), threads, "drawing", lambda photo: photo.id)
    for number, (photo, (counts, found)) in enumerate(zip(photos, results, strict=True), 1):
        name = Path(os.path.relpath(photo.path, root)).as_posix()
        images.append({"id": number, "file_name": name, "width": photo.width, "height": photo.height})
        annotations += [{"id": len(annotations) + n, "image_id": number, **one} for n, one in enumerate(found, 1)]
        pixels.update({name: counts[c] for c, name in enumerate(classes, 1)})
        shown.update(name for c, name in enumerate(classes, 1) if counts[c])
    with atomic_path(out / "legend.png") as temporary:
        legend(classes).save(temporary, "PNG")
    categories = [{"id": c, "name": name, "supercategory": "object"} for c, name in enumerate(classes, 1)]
    content = {"info": about, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    with atomic_path(out / COCO) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
    return shown, pixels, len(annotations)
