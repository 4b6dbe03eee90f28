"""What inference stages keep while they are not whole: a folder of parts under a key, and receipts of shares.

Nothing that is made gets lost: a stage that was killed, a share of a scattered stage and a stage that puts shares
together all look into the same folder ``OUT/parts/KEY``, keep what is whole there and make what is missing. The key
covers all that a part depends on, but not how many jobs share the images.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from wsss.data.buckets import buckets
from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.fingerprint import ROOT, fingerprint
from wsss.identity import named_modules
from wsss.sharing import PARTS, Share
from wsss.stage import Run, say
from wsss.store.manifest import NAME, digest

Found = TypeVar("Found")
PATIENCE = 60.0
"""Seconds to wait for files of other nodes."""


def items_of(run: Run, index: Index) -> list[Item]:
    """The images of the splits that the settings name."""
    return [item for split in run.settings.splits for item in index.split(split)]


def own(run: Run, items: Sequence[Item]) -> list[Item]:
    """The images that this job makes: its share, or all. What a network sees together (``wsss.data.buckets``) is not
    torn apart."""
    if run.share is None:
        return list(items)
    return [item for bucket in run.share.of(buckets(items)) for item in bucket]


def shard_key(run: Run, content: str = "") -> str:
    """What a part depends on, in 16 hex digits: settings, seed, the content of all inputs, the code of the stage, and
    ``content``."""
    inputs = {name: digest(folder / NAME) for name, folder in run.inputs.items()}
    code = fingerprint(ROOT / "stages" / f"{run.stage}.py", ROOT, named_modules(run.stage, run.settings))
    text = json.dumps([run.settings.canonical(), run.args.seed, inputs, code, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_parts(run: Run, content: str = "") -> tuple[Path, bool]:
    """The folder for parts of this key, ``OUT/parts/KEY``, and whether the receipts of other jobs promise all of it.

    A share notes the key for its receipt. Without ``--shard``, when nobody else is at work there, the parts of other
    keys are deleted, and what the receipts say is noted.
    """
    promised = False
    key = shard_key(run, content)
    folder = run.out / PARTS / key
    if run.share is None:
        for other in (run.out / PARTS).glob("*/"):
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
        promised = _note_receipts(run, key)
    else:
        run.note(key=key, shard=str(run.share))
    folder.mkdir(parents=True, exist_ok=True)
    return folder, promised


def look(found: Callable[[], Found], lacks: Callable[[Found], bool], promised: bool) -> Found:
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
    for share in (Share(number, total) for number in range(total) if total > 1):
        try:
            receipt = json.loads(share.receipt(run.out).read_text(encoding="utf-8"))
            wrong = None if receipt["key"] == key else "was made with other settings, inputs or code"
        except (OSError, ValueError, KeyError):
            wrong = "is missing or damaged"
        if wrong is None:
            receipts.append(receipt)
        else:
            say(f"{share.receipt(run.out)} {wrong}: what its shard lacks is made here")
    if receipts:
        run.note(
            device=", ".join(dict.fromkeys(receipt["device"] for receipt in receipts)),
            shard_seconds=[receipt["wall_seconds"] for receipt in receipts],
            shard_memory_mib=max(receipt["peak_memory_mib"] for receipt in receipts),
        )
        on_gpu = [receipt["peak_gpu_memory_mib"] for receipt in receipts if "peak_gpu_memory_mib" in receipt]
        run.note(**({"peak_gpu_memory_mib": max(on_gpu)} if on_gpu else {}))
    return total > 1 and len(receipts) == total


def say_kept(kept: int, mine: Sequence[Item]) -> None:
    """One line about what need not be made."""
    if kept:
        say(f"{kept} of {len(mine)} images are made already: kept")


def all_there(out: Path, missing: Iterable[Item]) -> None:
    """Raises ``WsssError`` naming images that nobody made: an image is never left out in silence."""
    ids = [item.id for item in missing]
    if ids:
        raise WsssError(f"{out}: {len(ids)} images were not made, the first is {ids[0]!r}; run the stage again")
