"""PASCAL VOC 2012 as downloaded, with the SBD masks where they are given.

Labels come from the XML of ``Annotations``: every object, difficult ones too, unless its box has no area inside the
image (as the P-NOC line of work reads them). Masks come from ``SegmentationClass``, else from ``sbd``; palette PNG are
used where they lie, RGB PNG in VOC colours and SBD's ``.mat`` are converted into the index folder.

``train_aug`` is not part of the download. Where its list is absent and ``sbd`` is given, it is what it was made from:
(images with an SBD mask + VOC train) - VOC val, in the order of the ids.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from scipy.io import loadmat

from wsss.data.images import UNREADABLE
from wsss.data.lists import read_lines
from wsss.data.palette import decode_colours, write_mask
from wsss.data.validate import Collected, Entry, Problem
from wsss.errors import WsssError
from wsss.settings import VocSettings

VERSION = 1
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def collect(settings: VocSettings, out: Path, threads: int | None = None) -> Collected:
    """Say what the lists claim to be there; convert masks that are no palette PNG into ``out/masks``."""
    root = find_root(Path(settings.root))
    sbd = _sbd_masks(settings)
    lists = {"train": _list(root, settings.train, "train", sbd), "val": _list(root, settings.val, "val", sbd)}
    notes = []
    scored = None
    if settings.score is not None:
        scored = set(_list(root, settings.score, "score", sbd))
        outside = len(scored - set(lists["train"]))
        notes += [f"{outside} ids of the list {settings.score!r} are not trained on and not scored"] if outside else []
    problems: list[Problem] = []
    entries = []
    for split, ids in lists.items():
        for id in ids:
            is_scored = split == "val" or scored is None or id in scored
            needed = is_scored and not (split == "train" and scored is None)
            mask = _mask(root, sbd, id, split, out, needed, problems)
            tags = root / "Annotations" / f"{id}.xml"
            image = root / "JPEGImages" / f"{id}.jpg"
            entries.append(Entry(id, split, image, mask, _labels(tags, id, split, problems), is_scored, str(tags)))
    return Collected(CLASSES, entries, problems, notes, tags_file=str(root / "Annotations"))


def counted(settings: VocSettings) -> dict[str, int]:
    """Images of each split by the lists. Raises as ``collect``."""
    root = find_root(Path(settings.root))
    sbd = _sbd_masks(settings)
    return {split: len(_list(root, getattr(settings, split), split, sbd)) for split in ("train", "val")}


def find_root(root: Path) -> Path:
    """The folder with ``JPEGImages``: the one given, or ``VOC2012`` in it. Raises ``WsssError``."""
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if folder.joinpath("JPEGImages").is_dir():
            return folder
    raise WsssError(f"{root}: holds no folder JPEGImages; set 'root' to the folder VOC2012 of the unpacked download")


def read_ids(path: Path, what: str) -> list[str]:
    """Ids of a list: bare, or as paths to image and mask in two columns (the lists of PSA, OC-CSE and IRN)."""
    return [Path(line.split()[0]).stem if "/" in line else line.split()[0] for line in read_lines(path, what)]


def _list(root: Path, name: str, key: str, sbd: dict[str, Path]) -> list[str]:
    folder = root / "ImageSets" / "Segmentation"
    inside = folder / f"{name}.txt"
    if inside.is_file():
        return read_ids(inside, f"the list '{key}'")
    if Path(name).is_file():
        return read_ids(Path(name), f"the list '{key}'")
    if name == "train_aug" and sbd:
        train, val = (set(read_ids(folder / f"{part}.txt", f"the list '{part}'")) for part in ("train", "val"))
        return sorted((set(sbd) | train) - val)
    there = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
    hint = " (train_aug is not part of the download: put its list there, or set 'sbd')" if name == "train_aug" else ""
    raise WsssError(f"{inside}: the list '{key}: {name}' is not there{hint}; give a path or one of: {there}")


def _labels(path: Path, id: str, split: str, problems: list[Problem]) -> tuple[str, ...] | None:
    try:
        return read_objects(path)
    except FileNotFoundError:
        return None
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError, LookupError) as error:
        cure = "restore the file from the download"
        problems.append(Problem("unreadable tags", str(path), id, f"not a VOC annotation ({error})", cure, split))
        return ()


def read_objects(path: Path) -> tuple[str, ...]:
    """Class names of the objects in a VOC annotation, each once, in their order.

    A box without width or height after it is clipped to the image does not count.
    """
    tree = ElementTree.parse(path).getroot()
    size = tree.find("size")
    width = height = np.inf
    if size is not None:
        width, height = (float(_text(size, side)) for side in ("width", "height"))
    names = []
    for thing in tree.findall("object"):
        box = thing.find("bndbox")
        x1, y1, x2, y2 = (float(_text(box, edge)) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if min(x2, width) > max(x1, 0) and min(y2, height) > max(y1, 0):
            names.append(_text(thing, "name").strip())
    return tuple(dict.fromkeys(names))


def _text(thing: ElementTree.Element | None, tag: str) -> str:
    text = None if thing is None else thing.findtext(tag)
    if text is None:
        raise ValueError(f"there is no <{tag}> where one belongs")
    return text


def _sbd_masks(settings: VocSettings) -> dict[str, Path]:
    """Files with SBD masks by id."""
    if settings.sbd is None:
        return {}
    folder = Path(settings.sbd)
    for place in (folder, folder / "cls", folder / "dataset" / "cls", folder / "SegmentationClassAug"):
        for suffix in (".png", ".mat"):
            found = {path.stem: path for path in sorted(place.glob(f"*{suffix}"))}
            if found:
                return found
    raise WsssError(f"{folder}: holds neither PNG masks nor cls/*.mat; fix 'sbd' or leave it out")


def _mask(
    root: Path, sbd: dict[str, Path], id: str, split: str, out: Path, needed: bool, problems: list[Problem]
) -> Path | None:
    """Where the mask of an image lies, after converting it if need be; a path without a file if one is missed."""
    own = root / "SegmentationClass" / f"{id}.png"
    path = own if own.is_file() else sbd.get(id)
    if path is None:
        return own if needed else None
    try:
        mask = read_foreign_mask(path)
    except (*UNREADABLE, WsssError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(Problem("unreadable mask", str(path), id, text, "restore it from the download", split))
        return None
    if mask is None:
        return path
    converted = out / "masks" / f"{id}.png"
    write_mask(converted, mask)
    return converted


def read_foreign_mask(path: Path) -> np.ndarray | None:
    """Masks that are not in the form of this project, uint8 (H, W); None for a PNG that is.

    ``.mat``: SBD's ``GTcls.Segmentation``. RGB or RGBA PNG: VOC colours, with (224, 224, 192) for 255.

    Raises:
        WsssError, ``UNREADABLE``: it can be read in no way.
    """
    if path.suffix == ".mat":
        try:
            truth = loadmat(path, squeeze_me=True, struct_as_record=False)
        except Exception as error:  # scipy trips over damage in any way, and asks for the memory that a file declares
            raise WsssError(f"cannot be read as a .mat file ({error!r})") from None
        if "GTcls" not in truth:
            raise WsssError("holds no GTcls.Segmentation")
        mask = np.asarray(truth["GTcls"].Segmentation, np.uint8)
        if mask.ndim != 2 or not mask.size:
            raise WsssError(f"GTcls.Segmentation has the shape {mask.shape}")
        return mask
    with Image.open(path) as image:
        if image.mode not in ("RGB", "RGBA"):
            return None
        return decode_colours(np.asarray(image.convert("RGB")))
