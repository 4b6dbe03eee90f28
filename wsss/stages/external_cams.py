"""Maps and masks made elsewhere: checked against the index, then kept like those that stages make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import SHOWN, Index, Item
from wsss.errors import WsssError
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.refine.tags import COLUMNS, Judged, rows, totals
from wsss.runtime.run import Run
from wsss.settings import ExternalCamsSettings, ExternalMasksSettings
from wsss.store.map_shards import MapRecord, Maps, MapShard, shard_paths
from wsss.system.files import write_rows
from wsss.system.log import log
from wsss.system.workers import over
from wsss.text import count, listed

MUST_SAY = ("scales", "flip", "stride", "round_to")
"""Attributes without which maps cannot be read."""


def seeded(path: str, seed: int) -> Path:
    """A path of the settings with ``{seed}`` replaced."""
    return Path(path.replace("{seed}", str(seed)))


def external_shards(path: Path) -> list[MapShard]:
    """The files that ``path`` stands for: itself, or the shards in it (``shard-IIIII-of-NNNNN.h5``, or else all its
    ``*.h5``).

    Raises :class:`WsssError` when there is none, a shard misses, one cannot be read, lacks an attribute or differs from
    the others in one, or an id stands twice.
    """
    if path.is_dir():
        paths = shard_paths(path) if any(path.glob("shard-*.h5")) else sorted(path.glob("*.h5"))
    else:
        paths = [path] if path.is_file() else []
    if not paths:
        state = "holds no *.h5" if path.is_dir() else "does not exist"
        raise WsssError(
            f"{path} {state}; 'path' is a folder of map shards or one HDF5 file (see wsss.store.map_shards)"
        )
    shards = [MapShard(one) for one in paths]
    problems: list[str] = []
    where: dict[str, str] = {}
    for shard in shards:
        lacks = [key for key in MUST_SAY if key not in shard.attributes]
        if lacks:
            problems.append(f"{shard.path} lacks the attributes {', '.join(lacks)}")
        for key in (*MUST_SAY, "relative"):
            values: tuple[Any, Any] = (shard.attributes.get(key), shards[0].attributes.get(key))
            if not np.array_equal(*values):
                problems.append(f"{shard.path} has {key} {values[0]}, {shards[0].path.name} has {values[1]}")
        for id in shard.ids:
            if id in where:
                problems.append(f"{shard.path}: image {id!r} stands in {where[id]} already")
            where[id] = shard.path.name
    if problems:
        raise WsssError("\n  ".join(problems))
    return shards


@dataclass(frozen=True)
class ExternalMaps:
    """Reads and checks the maps of one image. Call with an item of the index: its record, classes ascending.

    With ``veto`` maps of untagged classes are left out, and tags without a map get one of zeros; without, both are
    refused.

    Raises :class:`WsssError` with everything that is wrong with them.
    """

    shards: tuple[MapShard, ...]
    where: dict[str, tuple[int, int]]
    classes: tuple[str, ...]
    veto: bool = False

    def __call__(self, item: Item) -> MapRecord:
        if item.id not in self.where:
            raise WsssError("no maps of it")
        number, row = self.where[item.id]
        try:
            record = self.shards[number].record(row)
        except WsssError as error:
            raise WsssError(f"row {row} of {self.shards[number].path.name} cannot be read ({error})") from None
        order = np.argsort(record.classes)
        found = record.classes[order].tolist()
        wrong = []
        if record.size != (item.height, item.width):
            wrong.append(f"the image is {item.height} x {item.width} pixels, its maps are for {record.size[0]} x "
                         f"{record.size[1]}")  # fmt: skip
        strange = [c for c in found if not 0 <= c < len(self.classes)]
        if strange or (found != list(item.labels) and not self.veto):
            wrong.append(f"it is tagged with {self._named(item.labels)}, its maps are of {self._named(found)}")
        scales = len(self.shards[number].attributes["scales"])
        if len(record.maps) != scales:
            wrong.append(f"it has maps at {len(record.maps)} scales, the attribute 'scales' has {scales}")
        if found and any(0 in array.shape for array in record.maps):
            wrong.append("its maps have no cells")
        elif not all(np.isfinite(array).all() and (array >= 0).all() for array in record.maps):
            wrong.append("its maps hold NaN, infinite or negative values")
        elif not self.shards[number].attributes.get("relative", 1) and any((a > 1).any() for a in record.maps):
            wrong.append("its maps exceed 1, although the attribute 'relative' is 0")
        if wrong:
            raise WsssError("; ".join(wrong))
        if not self.veto:
            return MapRecord(record.id, record.classes[order], record.size, [array[order] for array in record.maps])
        place = {c: int(order[n]) for n, c in enumerate(found)}
        maps = [
            np.stack([array[place[c]] if c in place else nothing for c in item.labels])
            for array in record.maps
            if item.labels
            for nothing in [np.zeros([max(1, side) for side in array.shape[1:]], np.float32)]
        ]
        return MapRecord(record.id, np.array(item.labels, np.int32), record.size, maps)

    def judge(self, item: Item) -> Judged:
        """What the tags say of the classes that an image has maps of."""
        number, row = self.where[item.id]
        found = sorted(self.shards[number].classes_of(row).tolist())
        return Judged([(c, 0) for c in found if c not in item.labels], [c for c in item.labels if c not in found])

    def _named(self, numbers: tuple[int, ...] | list[int]) -> str:
        names = [self.classes[c] if 0 <= c < len(self.classes) else f"class {c}" for c in numbers]
        return ", ".join(names) or "nothing"


@dataclass(frozen=True)
class ImportImage:
    """Reads and checks the maps of one image: what a worker does."""

    read: ExternalMaps

    def __call__(self, item: Item) -> Maps:
        record = self.read(item)
        return item, record.classes, record.maps if item.labels else []


def note_tags(run: Run, index: Index, items: list[Item], judged: list[Judged]) -> None:
    """Say what the tags think of masks or maps made elsewhere: in the manifest (``tags``), in the log, and with
    ``veto`` image by image in ``tags.csv``."""
    settings: ExternalMasksSettings | ExternalCamsSettings = run.settings
    found = totals(judged, items, index.classes)
    run.note(tags=found)
    named = ""
    if settings.veto is not None:
        write_rows(run.out / "tags.csv", COLUMNS, rows(judged, items, index.classes))
        named = f"; {run.out / 'tags.csv'} names them"
    of, none = "maps", "map"
    if isinstance(settings, ExternalMasksSettings):
        of, none = f"pixels ({100 * found['untagged_share']:.2f} % of all)", "pixel"
    if found["untagged_images"]:
        first = listed([item.id for item, one in zip(items, judged, strict=True) if one.untagged][:SHOWN])
        said = (
            f"{settings.path}: {found['untagged_images']} of {count(len(items), 'image')} have {of} of classes that "
            f"they are not tagged with ({listed(list(found['untagged'])[:10])}; first images: {first})"
        )
        if settings.veto is None:
            log.warning(f"{said}; they are kept as they are, 'veto: tags' takes them out")
        else:
            log.info(f"{said}; taken out{named}")
    if found["tags_absent"]:
        absent = f"{count(found['tags_absent'], 'tag')} of {count(found['absent_images'], 'image')}"
        log.warning(f"{settings.path}: {absent} without a {none}{named}")


def make(run: Run) -> None:
    """Check the maps of every image of the splits, with ``veto`` without those of untagged classes, and write them as
    shards, once all fit.

    Raises :class:`WsssError` with all images that have no fitting maps.
    """
    settings: ExternalCamsSettings = run.settings
    index = Index.load(run.inputs["index"])
    path = seeded(settings.path, run.args.seed)
    shards = external_shards(path)
    where = {id: (number, row) for number, shard in enumerate(shards) for row, id in enumerate(shard.ids)}
    read = ExternalMaps(tuple(shards), where, index.classes, settings.veto is not None)
    items, about = items_of(run, index), shards[0].attributes

    def maps_of(part: list[Item]) -> Iterator[Maps]:
        try:
            yield from over(part, ImportImage(read), run.args.threads, "checking maps", lambda item: item.id)
        except WsssError as error:
            raise WsssError(f"{path} does not fit the index {index.folder}: {error}") from None

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        grid = (about["scales"], bool(about["flip"]), int(about["stride"]), int(about["round_to"]))
        return Format(*grid, {"relative": int(about.get("relative", 1))}), maps_of

    whole = write_maps(run, items, begin)
    if whole is not None and settings.veto is not None:
        note_tags(run, index, items, [read.judge(item) for item in items])
    run.note(supervision=settings.supervision, others=len(where) - len(items))
    run.record(external=str(path.resolve()))
