"""Inference stages that write masks: each image appears whole while the stage runs, and the folder when all are there.
Maps may be kept beside the masks (``wsss.parts.maps``).

The setting ``storage`` says whether each mask is a file of its own or lies in a pack (``wsss.parts.collecting``).
Beside the masks a journal holds a line per image: its id, the CRC-32 of its file, and what was counted on it. A mask is
kept if its bytes are those that the journal tells of.

Corrections by hand (``wsss.parts.corrections``) are checked before anything is made, and laid over the masks when all
are there; what stages count is counted before that.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.parts.collecting import collected
from wsss.parts.corrections import corrections_of
from wsss.parts.folder import check_complete, find_parts, log_resumed, open_parts, own_items
from wsss.parts.maps import Format, Parts, gather
from wsss.provenance.outputs import tree_digest
from wsss.runtime.run import Run
from wsss.store.masks import MaskFolder
from wsss.system.exit import Stoppable
from wsss.system.failures import DiskFull
from wsss.system.files import replace_folder
from wsss.system.workers import fail_with, over

READERS = 16
"""Threads that wait for the file system."""

WAITING = 512 << 20
"""Bytes of probabilities that wait in memory for their CRF; one image may be more."""


class Written(NamedTuple):
    """A mask that lies in its folder: the image's id, the CRC-32 of the file, and what was counted on it: numbers, and
    lists of them. Where maps are kept beside masks, also those: classes (n,) and float (n, h, w) for each scale."""

    id: str
    crc: int
    tally: Any
    maps: tuple[Sequence[int], Sequence[np.ndarray]] | None = None


def write_masks(
    run: Run,
    items: list[Item],
    begin: Callable[[MaskFolder], Callable[[list[Item]], Iterable[Written]]],
    form: Format | None = None,
) -> list[Any] | None:
    """Write the masks of ``items`` into ``run.out/masks``, or this job's share of them beside those of the others.

    With ``form`` each image comes with maps of that format, which become shards of ``run.out``; an image is made again
    where either is missing.

    ``begin(masks)`` prepares what makes masks, and is called only if some are missing: a function that writes the masks
    of a list of images into ``masks`` and yields each once. Masks of a killed run or of other jobs are kept if
    settings, seed, inputs and versions are those that they were made with.

    Returns:
        The tallies of all images, in the order of ``items``; None for a share.

    Raises:
        Interrupted: A signal asked to stop; what is made stays.
        WsssError: The settings name corrections that do not fit.
    """
    corrections = corrections_of(run)
    folder, promised = open_parts(run)
    masks = collected(run, folder)
    mine = own_items(run, items)
    checksums: dict[str, int] = {}

    def look() -> tuple[dict[str, Any], Parts | None]:
        parts = None if form is None else Parts(folder, alone=run.shard is None, tag=str(run.shard or "rest"))
        known = read_journal(folder)
        masks.take_stock(known)
        whole = whole_masks(masks, mine, known, checksums)
        return {id: tally for id, tally in whole.items() if parts is None or id in parts}, parts

    found, parts = find_parts(look, lambda seen: len(seen[0]) < len(mine), promised)
    missing = [item for item in mine if item.id not in found]
    log_resumed(len(found), mine)
    if missing:
        produce = begin(masks)
        by_id = {item.id: item for item in missing}
        adding = contextlib.nullcontext() if parts is None or form is None else parts.adding(form)
        with adding as add, journal_at(folder / f"{run.shard or 'rest'}.jsonl") as note:
            for written in produce(missing):
                if add is not None:
                    assert written.maps is not None  # of a stage that keeps maps
                    add(by_id[written.id], *written.maps)
                note(written)
                found[written.id], checksums[written.id] = written.tally, written.crc
                run.check_stop()
        check_complete(run.out, (item for item in mine if item.id not in found))
    run.note(images=len(mine))
    if run.shard is not None:
        return None
    if parts is not None and form is not None:
        gather(run, items, parts, form)
    masks.take_stock(checksums.items())
    if corrections is not None:
        checksums |= corrections.apply(masks, items, run)
    replace_folder(masks.settle(items, run), run.out / "masks")
    run.digests["masks"] = tree_digest({f"{id}.png": crc for id, crc in checksums.items()})
    return [found[item.id] for item in items]


def finished(
    pairs: Iterable[tuple[Item, np.ndarray]],
    finish: Callable[[tuple[Item, np.ndarray]], Written],
    wait: bool,
    threads: int,
    run: Stoppable,
    beside: bool = False,
) -> Iterator[Written]:
    """Yield ``finish(pair)`` for each image and its probabilities (channels, H, W), in order.

    With ``wait``, for work that is worth processes (a dense CRF), up to ``WAITING`` bytes of probabilities wait for
    each other and are finished in ``threads`` processes; otherwise each is finished here, at once. With ``beside``, for
    work that holds no lock of Python's while a GPU makes the next ones, each is finished in one of ``threads`` threads,
    and up to so many bytes wait for that.

    Raises:
        Interrupted: A signal asked ``run`` to stop; what is made stays.
        WsssError: ``finish`` failed; names the images.
    """
    if wait and beside:
        yield from _finished_beside(pairs, finish, threads, run)
        return
    waiting: list[tuple[Item, np.ndarray]] = []

    def all_of_them() -> Iterator[Written]:
        if waiting:
            yield from over(waiting, finish, threads, "masks", lambda pair: pair[0].id)

    for pair in pairs:
        if not wait:
            yield finish(pair)
        else:
            waiting.append(pair)
            if sum(scores.nbytes for _, scores in waiting) >= WAITING:
                yield from all_of_them()
                waiting = []
        run.check_stop()
    yield from all_of_them()


def _finished_beside(
    pairs: Iterable[tuple[Item, np.ndarray]],
    finish: Callable[[tuple[Item, np.ndarray]], Written],
    threads: int,
    run: Stoppable,
) -> Iterator[Written]:
    waiting: deque[tuple[str, int, Future[Written]]] = deque()
    failures: list[tuple[str, str]] = []
    tried, held = 0, 0
    with ThreadPoolExecutor(threads, "masks") as pool:

        def ready(least: int) -> Iterator[Written]:
            """Those at the front that are finished, and others until no more than ``least`` bytes wait."""
            nonlocal held
            while waiting and (held > least or waiting[0][2].done()):
                id, size, future = waiting.popleft()
                held -= size
                try:
                    yield future.result()
                except DiskFull:  # nor is there room for the others
                    raise
                except WsssError as error:
                    failures.append((id, str(error)))

        try:
            for pair in pairs:
                waiting.append((pair[0].id, pair[1].nbytes, pool.submit(finish, pair)))
                tried, held = tried + 1, held + pair[1].nbytes
                yield from ready(WAITING)
                run.check_stop()
            yield from ready(-1)
        finally:
            pool.shutdown(cancel_futures=True)
    fail_with(failures, tried, "masks")


def read_journal(folder: Path) -> dict[tuple[str, int], Any]:
    """(id, CRC-32 of the mask's file) to tally, from all journals ``*.jsonl`` of a folder; lines that a killed job left
    half written do not count."""
    known = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                id, crc, tally = json.loads(line)
                known[id, crc] = tally
    return known


@contextlib.contextmanager
def journal_at(path: Path) -> Iterator[Callable[[Written], None]]:
    """Yield a function that adds a line to a journal at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")  # ends a line that a killed run left half written

        def note(written: Written) -> None:
            file.write(json.dumps(written[:3]) + "\n")
            file.flush()

        yield note


def whole_masks(
    masks: MaskFolder, items: list[Item], known: dict[tuple[str, int], Any], checksums: dict[str, int]
) -> dict[str, Any]:
    """Id to tally of the masks that are there with the bytes that the journal tells of; notes their checksums."""
    ids = {id for id, _ in known}

    def crc(item: Item) -> int | None:
        with contextlib.suppress(OSError, WsssError):
            return zlib.crc32(masks.file(item.id).read_bytes())
        return None

    there = [item for item in items if item.id in ids]
    with ThreadPoolExecutor(READERS) as readers:
        pairs = [(item.id, number) for item, number in zip(there, readers.map(crc, there), strict=True)]
    whole = [(id, crc) for id, crc in pairs if crc is not None and (id, crc) in known]
    checksums.update(whole)
    return {id: known[id, crc] for id, crc in whole}
