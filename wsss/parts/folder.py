"""What inference stages keep while they are not whole: a folder of parts under a key, and receipts of shares.

Nothing that is made gets lost: a stage that was killed, a share of a scattered stage and a stage that puts shares
together all look into the same folder ``OUT/parts/KEY``, keep what is whole there and make what is missing. The key
is the artefact's identity (``wsss.provenance.identity``): all that a part depends on, but not how many jobs share the
images.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.provenance.outputs import PARTS
from wsss.runtime.run import Run
from wsss.runtime.shard import Shard
from wsss.system.log import log

Found = TypeVar("Found")
PATIENCE = 60.0
"""Seconds to wait for files of other nodes."""


def items_of(run: Run, index: Index) -> list[Item]:
    """The images of the splits that the settings name."""
    return [item for split in run.settings.splits for item in index.split(split)]


def own_items(run: Run, items: Sequence[Item]) -> list[Item]:
    """The images that this job makes: its share, or all. What a network sees together (``wsss.data.buckets``) is not
    torn apart."""
    if run.shard is None:
        return list(items)
    return [item for bucket in run.shard.of(buckets(items)) for item in bucket]


def open_parts(run: Run) -> tuple[Path, bool]:
    """The folder for parts of this artefact, ``OUT/parts/KEY``, and whether the receipts of other jobs promise all of
    it.

    Without ``--shard``, when nobody else is at work there, the parts of other
    keys are deleted, and what the receipts say is noted.
    """
    promised = False
    key = run.identity
    folder = run.out / PARTS / key
    if run.shard is None:
        for other in (run.out / PARTS).glob("*/"):
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
        promised = _note_receipts(run, key)
    else:
        run.record(shard=str(run.shard))
    folder.mkdir(parents=True, exist_ok=True)
    return folder, promised


def find_parts(found: Callable[[], Found], lacks: Callable[[Found], bool], promised: bool) -> Found:
    """What is found in the folder of parts; where something is missing that is promised, looked for again and again:
    a network file system shows late what other nodes have written."""
    last = time.monotonic() + (PATIENCE if promised else 0)
    while lacks(there := found()) and time.monotonic() < last:
        time.sleep(min(1.0, PATIENCE))
    return there


def _note_receipts(run: Run, key: str) -> bool:
    """What the other jobs took, and where they ran; says which of them have not done their share under this key.
    Returns whether all have."""
    total = getattr(run.args, "gather", 1)
    receipts = []
    for shard in (Shard(number, total) for number in range(total) if total > 1):
        try:
            receipt = json.loads(shard.receipt(run.out).read_text(encoding="utf-8"))
            wrong = None if receipt["key"] == key else "belongs to other settings, inputs or versions"
        except (OSError, ValueError, KeyError):
            wrong = "is missing or damaged"
        if wrong is None:
            receipts.append(receipt)
        else:
            log.warning(f"{shard.receipt(run.out)} {wrong}: what its shard lacks is made here")
    ran = [receipt for receipt in receipts if "wall_seconds" in receipt]
    if ran:
        run.record(
            device=", ".join(dict.fromkeys(receipt["device"] for receipt in ran)),
            shard_seconds=[receipt["wall_seconds"] for receipt in ran],
            shard_memory_mib=max(receipt["peak_memory_mib"] for receipt in ran),
        )
        on_gpu = [receipt["peak_gpu_memory_mib"] for receipt in ran if "peak_gpu_memory_mib" in receipt]
        run.record(**({"peak_gpu_memory_mib": max(on_gpu)} if on_gpu else {}))
    return total > 1 and len(receipts) == total


def log_resumed(kept: int, mine: Sequence[Item]) -> None:
    """One line about what need not be made."""
    if kept:
        log.info(f"{kept} of {len(mine)} images are made already: kept")


def check_complete(out: Path, missing: Iterable[Item]) -> None:
    """Raises ``WsssError`` naming images that nobody made: an image is never left out in silence."""
    ids = [item.id for item in missing]
    if ids:
        raise WsssError(f"{out}: {len(ids)} images were not made, the first is {ids[0]!r}; run the stage again")
