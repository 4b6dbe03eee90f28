"""Masks for annotation tools, and masks that were drawn there.

==============  ======================================================================================================
``coco``        JSON: an annotation for each connected region, compressed RLE
``cvat``        XML, CVAT for images 1.1: a ``mask`` for each connected region
``labelstudio`` JSON: a task for each image, with a prediction of brush labels, one for each class
==============  ======================================================================================================

Pixels that a mask leaves out (255) are a class of their own, ``IGNORED``, which comes last. An image is called by its
id and the suffix of its file. Masks come back whole, background included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from wsss import __version__
from wsss.data.index import SHOWN, Index, Item
from wsss.data.lists import normal
from wsss.data.outlines import polygons_region, runs_region
from wsss.data.palette import IGNORE, class_colours
from wsss.errors import WsssError
from wsss.interfaces.predict import regions
from wsss.interfaces.run_lengths import cvat_rle, from_label_studio_rle, label_studio_rle
from wsss.store.masks import MaskFolder
from wsss.system.files import atomic_path, parse_json
from wsss.text import count, nearest

IGNORED = "ignore"
"""What pixels with the value 255 are called."""
BRUSH = {"from_name": "label", "to_name": "image", "type": "brushlabels"}
"""How Label Studio's labelling configuration calls the brush (``docs/interfaces.md``)."""


def write_annotations(
    masks: MaskFolder, items: Sequence[Item], classes: Sequence[str], to: str, out: Path, prefix: str = ""
) -> int:
    """Write the masks of ``items`` as one file, which appears whole or not at all.

    Args:
        masks: Where they lie.
        items: Images that have a mask there.
        classes: Names of the object classes; class c has mask value c + 1.
        to: ``coco``, ``cvat`` or ``labelstudio``.
        out: The file.
        prefix: Stands before the names of images, for tools that find them by an address.

    Returns:
        Number of annotated regions.

    Raises:
        WsssError: A mask is not of its image's size or has values that are no class, or a class is called ``ignore``.
    """
    if IGNORED in classes:
        raise WsssError(f"a class is called {IGNORED!r}, as pixels that are left out are here; rename the class")
    read = ((item, _checked(masks, item, len(classes))) for item in items)
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        parts, told = WRITERS[to](read, classes, prefix)
        for part in parts:
            file.write(part)
    return told[0]


def _checked(masks: MaskFolder, item: Item, classes: int) -> np.ndarray:
    mask = masks.read(item.id)
    if mask.shape != (item.height, item.width):
        raise WsssError(f"{masks.file(item.id)}: is {mask.shape[0]} x {mask.shape[1]} pixels, the image "
                        f"{item.height} x {item.width}; make the masks again")  # fmt: skip
    strange = np.setdiff1d(mask, [*range(classes + 1), IGNORE]).tolist()
    if strange:
        raise WsssError(f"{masks.file(item.id)}: holds the values {strange}; allowed are 0 to {classes} and {IGNORE}")
    return mask


def file_name(item: Item, prefix: str = "") -> str:
    """How an image is called: its id with the suffix of its file."""
    return f"{prefix}{item.id}{item.image.suffix}"


Read = Iterable[tuple[Item, np.ndarray]]
Written = tuple[Iterable[str], list[int]]
"""The text in parts, and the number of regions, which is known when all parts are taken."""


def _coco(read: Read, classes: Sequence[str], prefix: str) -> Written:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    told = [0]
    for number, (item, mask) in enumerate(read, 1):
        images.append({"id": number, "file_name": file_name(item, prefix), "width": item.width, "height": item.height})
        had = len(annotations)
        annotations += [{"id": had + n, "image_id": number, **one} for n, one in enumerate(regions(mask), 1)]
    told[0] = len(annotations)
    named = dict(enumerate(classes, 1))
    if any(one["category_id"] == IGNORE for one in annotations):
        named[IGNORE] = IGNORED
    content = {
        "info": {"description": "masks of wsss", "version": __version__},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": value, "name": name, "supercategory": "object"} for value, name in named.items()],
    }
    return [json.dumps(content, ensure_ascii=False), "\n"], told


def _cvat(read: Read, classes: Sequence[str], prefix: str) -> Written:
    from scipy import ndimage

    told, labels = [0], [*classes, IGNORED]
    colours = [*class_colours(len(classes)), "#808080"]

    def parts() -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><job><labels>\n'
        for name, colour in zip(labels, colours, strict=True):
            yield f"<label><name>{escape(name)}</name><color>{colour}</color><type>mask</type></label>\n"
        yield "</labels></job></meta>\n"
        for number, (item, mask) in enumerate(read):
            name = quoteattr(file_name(item, prefix))
            yield f'<image id="{number}" name={name} width="{item.width}" height="{item.height}">\n'
            for value in (int(v) for v in np.unique(mask) if v):
                label = quoteattr(IGNORED if value == IGNORE else classes[value - 1])
                pieces, _ = ndimage.label(mask == value, np.ones((3, 3), np.uint8))
                for piece, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
                    lengths = ", ".join(map(str, cvat_rle(pieces[rows, columns] == piece)))
                    told[0] += 1
                    yield (
                        f'<mask label={label} source="auto" occluded="0" rle="{lengths}" left="{columns.start}" '
                        f'top="{rows.start}" width="{columns.stop - columns.start}" '
                        f'height="{rows.stop - rows.start}" z_order="0"></mask>\n'
                    )
            yield "</image>\n"
        yield "</annotations>\n"

    return parts(), told


def _label_studio(read: Read, classes: Sequence[str], prefix: str) -> Written:
    told = [0]

    def results(item: Item, mask: np.ndarray) -> Iterator[dict[str, Any]]:
        for value in (int(v) for v in np.unique(mask) if v):
            name = IGNORED if value == IGNORE else classes[value - 1]
            told[0] += 1
            yield {
                **{"id": f"{value}", **BRUSH, "image_rotation": 0},
                **{"original_width": item.width, "original_height": item.height},
                "value": {"format": "rle", "rle": label_studio_rle(mask == value), "brushlabels": [name]},
            }

    def parts() -> Iterator[str]:
        yield "["
        for number, (item, mask) in enumerate(read):
            task = {
                "data": {"image": file_name(item, prefix), "id": item.id},
                "predictions": [{"model_version": f"wsss {__version__}", "result": list(results(item, mask))}],
            }
            yield (",\n" if number else "\n") + json.dumps(task, ensure_ascii=False)
        yield "\n]\n"

    return parts(), told


WRITERS: dict[str, Callable[[Read, Sequence[str], str], Written]] = {
    "coco": _coco,
    "cvat": _cvat,
    "labelstudio": _label_studio,
}
"""Format -> what writes it."""


def read_annotations(path: Path, index: Index) -> dict[str, np.ndarray]:
    """Masks, uint8 (H, W), by id, from a file of COCO or Label Studio; 255 where it says ``ignore``.

    Of regions that overlap, the later counts. In Label Studio's file the last annotation of a task that was not
    cancelled counts, or, in a file that has no annotations, the prediction; tasks that nobody annotated are left out.

    Raises:
        WsssError: The file is neither, or something in it does not fit the index. All that does not is told at once.
    """
    try:
        content = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WsssError(f"{path}: cannot be read as JSON ({error}); export COCO or Label Studio's JSON") from None
    if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in COCO):
        found = _from_coco(content)
    elif isinstance(content, list) and all(isinstance(one, dict) and "data" in one for one in content):
        found = _from_label_studio(content)
    else:
        raise WsssError(f"{path}: is neither COCO's JSON (images, annotations, categories) nor Label Studio's (tasks)")
    named = {name: value for value, name in enumerate(index.classes, 1)} | {IGNORED: IGNORE}
    items = {item.id: item for item in index.items}
    masks: dict[str, np.ndarray] = {}
    wrong: list[str] = []
    for image, size, drawn in _whole(path, found):
        try:
            item = _item(image, items)
            shape = (item.height, item.width)
            if size is not None and size != shape:
                raise ValueError(f"is {size[0]} x {size[1]} pixels there, {shape[0]} x {shape[1]} in the index")
            if item.id in masks:
                raise ValueError("comes twice; leave one")
            mask = np.zeros(shape, np.uint8)
            for name, region in drawn:
                if name not in named:
                    raise ValueError(f"has the class {name!r}, which the dataset lacks{nearest(name, named)}")
                mask[region(shape)] = named[name]
            masks[item.id] = mask
        except BROKEN as error:
            wrong.append(f"{image}: {error if isinstance(error, ValueError) else f'cannot be read ({error!r})'}")
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise WsssError("\n  ".join([f"{path}: {count(len(wrong), 'image')} cannot be taken", *wrong[:SHOWN], *more]))
    return masks


def _whole(path: Path, found: Found) -> Found:
    """The images that a file tells of. Raises ``WsssError`` where it has not the form of its kind."""
    try:
        yield from found
    except BROKEN as error:
        raise WsssError(f"{path}: is no whole export ({error!r}); export it again") from None


BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What comes of JSON that is not as it should be."""
COCO = ("images", "annotations", "categories")
"""Lists in COCO's files."""
Region = Callable[[tuple[int, int]], np.ndarray]
"""Gives a region, bool (H, W), for the shape of its image."""
Found = Iterator[tuple[str, tuple[int, int] | None, list[tuple[str, Region]]]]
"""For each image its name, its height and width if they are told, and its regions with the names of their classes."""


def _item(name: str, items: dict[str, Item]) -> Item:
    """The image of an id or a file's name; folders and addresses before it may differ."""
    whole = normal(name.rpartition("=")[2])
    bare = os.path.splitext(whole)[0]
    for one in (normal(name), whole, bare):
        if one in items:
            return items[one]
    steps = bare.split("/")
    fits = [tail for n in range(len(steps)) if (tail := "/".join(steps[n:])) in items]
    if not fits:
        raise ValueError(f"no image of the index is called so{nearest(bare, items)}")
    return items[fits[0]]


def _from_coco(content: dict[str, Any]) -> Found:
    names = {one["id"]: one["name"] for one in content["categories"]}
    of: dict[Any, list[dict[str, Any]]] = {}
    for one in content["annotations"]:
        of.setdefault(one["image_id"], []).append(one)

    def region(segmentation: Any) -> Region:
        def decoded(shape: tuple[int, int]) -> np.ndarray:
            if isinstance(segmentation, list):
                return polygons_region(segmentation, shape)
            return runs_region(segmentation, shape)

        return decoded

    for image in content["images"]:
        drawn = [(names.get(one["category_id"], "?"), region(one["segmentation"])) for one in of.get(image["id"], ())]
        size = (image["height"], image["width"]) if {"height", "width"} <= image.keys() else None
        yield str(image["file_name"]), size, drawn


def _from_label_studio(tasks: list[dict[str, Any]]) -> Found:
    def region(one: dict[str, Any]) -> Region:
        def decoded(shape: tuple[int, int]) -> np.ndarray:
            if one.get("type") != "brushlabels" or one["value"].get("format") != "rle":
                raise ValueError(f"has {one.get('type')}; only brush labels are read")
            if (one["original_height"], one["original_width"]) != shape:
                raise ValueError(f"is {one['original_height']} x {one['original_width']} pixels there, "
                                 f"{shape[0]} x {shape[1]} in the index")  # fmt: skip
            return from_label_studio_rle(one["value"]["rle"], shape)

        return decoded

    for task in tasks:
        given = [one for one in task.get("annotations", task.get("predictions", [])) if not one.get("was_cancelled")]
        if given:
            drawn = [(str((one["value"].get("brushlabels") or ["?"])[0]), region(one)) for one in given[-1]["result"]]
            yield str(task["data"].get("id") or task["data"]["image"]), None, drawn
