"""Inference stages that write maps: parts appear whole while the stage runs, and become shards when all are there.

On a CPU an image's maps have the same bits whichever images are made beside it, so the artefact has the same bytes for
any number of jobs. On a GPU that holds as far as its libraries compute the same for the same shapes; where images are
made together (the walk), values may differ in the last bits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.parts.folder import check_complete, find_parts, log_resumed, open_parts, own_items
from wsss.runtime.run import Run
from wsss.store.map_shards import MapRecord, Maps, MapShard, shard_name
from wsss.store.map_writer import MapWriter
from wsss.system.exit import Interrupted
from wsss.system.log import log

IMAGES_A_FILE = 1024
"""Images of a shard of the artefact; the last has what is left. Fixed, so that the bytes depend on nothing else."""
IMAGES_A_PART, SECONDS_A_PART = 64, 60.0
"""A part is closed after so many images or so long: what is lost when the stage is killed."""
OPEN = 32
"""Parts that are read at a time."""
_OURS = ("format", "version", "scales", "flip", "stride", "round_to", "key")


@dataclass(frozen=True)
class Format:
    """What all maps of an artefact have in common; as for ``MapWriter``."""

    scales: Sequence[float]
    flip: bool
    stride: int
    round_to: int
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Format:
        """The format that a shard's attributes tell."""
        rest = {name: about[name] for name in sorted(about) if name not in _OURS}
        return cls(about["scales"], bool(about["flip"]), int(about["stride"]), int(about["round_to"]), rest)

    def writer(self, path: Path, key: str | None = None) -> MapWriter:
        """A writer of maps of this format; ``key`` says to which artefact a part belongs (``wsss.parts.folder``)."""
        return MapWriter(
            path, scales=self.scales, flip=self.flip, stride=self.stride, round_to=self.round_to,
            attributes=self.attributes if key is None else {**self.attributes, "key": key},
        )  # fmt: skip


def write_maps(
    run: Run,
    items: list[Item],
    begin: Callable[[], tuple[Format, Callable[[list[Item]], Iterable[Maps]]]],
) -> list[str] | None:
    """Write the maps of ``items`` into shards of ``run.out``, or this job's share of them into its parts.

    ``begin()`` prepares what makes maps, and is called only if some are missing: their format, and a function that
    yields every image of a list once, in any order; what it yields for an image must not depend on the others. Parts
    of a killed run or of other jobs are kept if settings, seed, inputs and versions are those that they were made with.

    Returns:
        The texts of all images, in the order of ``items``; None for a share.

    Raises:
        Interrupted: A signal asked to stop; what is made stays.
    """
    folder, promised = open_parts(run)
    mine = own_items(run, items)
    parts = find_parts(
        lambda: Parts(folder, alone=run.shard is None, tag=str(run.shard or "rest")),
        lambda parts: any(item.id not in parts for item in mine),
        promised,
    )
    missing = [item for item in mine if item.id not in parts]
    log_resumed(len(mine) - len(missing), mine)
    if missing or not items:
        form, produce = begin()
        parts.write(run, form, produce(missing) if missing else ())
        check_complete(run.out, (item for item in mine if item.id not in parts))
    run.note(images=len(mine))
    if run.shard is not None:
        return None
    gather(run, items, parts, parts.format())
    return [parts.tally(item.id) for item in items]


def gather(run: Run, items: list[Item], parts: Parts, form: Format) -> None:
    """Copy the parts into shards of ``run.out``, images in the order of the list."""
    for left in (*run.out.glob("shard-*.h5"), *run.out.glob(".shard-*.tmp")):
        left.unlink()
    total = max(1, -(-len(items) // IMAGES_A_FILE))
    for number in range(total):
        with form.writer(run.out / shard_name(number, total)) as writer:
            for item in items[number * IMAGES_A_FILE : (number + 1) * IMAGES_A_FILE]:
                record = parts[item.id]
                writer.add(record.id, record.classes, record.size, record.maps)
                run.check_stop()


class Parts:
    """The parts in a folder, by image.

    Args:
        folder: ``OUT/parts/KEY``.
        alone: Nobody else is at work there: what is damaged or was left half written is deleted.
        tag: Begins the names of parts that are written here.
    """

    def __init__(self, folder: Path, alone: bool, tag: str) -> None:
        self.folder, self.key, self.alone, self.tag = folder, folder.name, alone, tag
        self._where: dict[str, tuple[MapShard, int]] = {}
        self._shards: list[MapShard] = []
        self._open: dict[Path, MapShard] = {}
        for left in folder.glob(".*.tmp" if alone else f".{tag}-*.tmp"):
            left.unlink()
        for path in sorted(folder.glob("*.h5")):
            self._take(path)

    def _take(self, path: Path) -> None:
        """Take a part in, unless it is damaged or does not belong here."""
        try:
            shard = MapShard(path)
            if shard.attributes.get("key") != self.key:
                raise WsssError(f"{path} was made with other settings, inputs or versions")
        except WsssError as error:
            log.warning(f"{path.name} is made again: {error}")
            if self.alone:
                path.unlink()
            return
        self._shards.append(shard)
        for row, id in enumerate(shard.ids):
            self._where.setdefault(id, (shard, row))

    def __contains__(self, id: str) -> bool:
        return id in self._where

    def __getitem__(self, id: str) -> MapRecord:
        shard, row = self._where[id]
        self._open.pop(shard.path, None)
        self._open[shard.path] = shard
        if len(self._open) > OPEN:
            self._open.pop(next(iter(self._open))).close()
        try:
            return shard.record(row)
        except WsssError as error:
            shard.path.unlink(missing_ok=True)
            why = error.__cause__ or error
            raise WsssError(
                f"{shard.path}: the maps of image {id!r} could not be read ({why}), so the part is deleted; run the "
                "stage again, which makes these images again"
            ) from error

    def tally(self, id: str) -> str:
        """The text that an image came with."""
        shard, row = self._where[id]
        return shard.tallies[row]

    def format(self) -> Format:
        """The format of the parts, which must be one. Raises ``WsssError`` where two differ."""
        forms = [Format.of(shard.attributes) for shard in self._shards]
        for shard, form in zip(self._shards, forms, strict=True):
            if str(form) != str(forms[0]):
                raise WsssError(f"{shard.path} has another format than {self._shards[0].path.name}; delete the folder")
        return forms[0]

    def write(self, run: Run, form: Format, produced: Iterable[Maps]) -> None:
        """Write parts. What is made stays, whatever happens; ``Interrupted`` after a signal."""
        with self.adding(form) as add:
            for maps in produced:
                add(*maps)
                run.check_stop()

    @contextlib.contextmanager
    def adding(self, form: Format) -> Iterator[Callable[..., None]]:
        """Yield a function that adds the maps of an image, as in ``Maps``; what it has taken stays, whatever
        happens."""
        writer: MapWriter | None = None
        begun = 0.0

        def add(item: Item, classes: Iterable[int], maps: Sequence[np.ndarray], *tally: str) -> None:
            nonlocal writer, begun
            if writer is None:
                writer, begun = form.writer(self._free(), self.key), time.monotonic()
            writer.add(item.id, classes, (item.height, item.width), maps, *tally)
            if writer.count >= IMAGES_A_PART or time.monotonic() - begun > SECONDS_A_PART:
                self._close(writer)
                writer = None

        try:
            yield add
            if writer is None and not self._shards:  # no images at all
                writer = form.writer(self._free(), self.key)
        except (Interrupted, WsssError):
            with contextlib.suppress(WsssError):  # a full disk again
                self._close(writer)
            raise
        except BaseException:
            if writer is not None:
                writer.discard()
            raise
        self._close(writer)

    def _free(self) -> Path:
        names = (self.folder / f"{self.tag}-{number:05d}.h5" for number in range(10**5))
        return next(path for path in names if not path.exists())

    def _close(self, writer: MapWriter | None) -> None:
        if writer is not None:
            try:
                writer.close()
            except BaseException:
                writer.discard()
                raise
            self._take(writer.path)
