"""Inference stages that write maps: shards appear whole, and a stage that was killed keeps those that are complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.fingerprint import ROOT, fingerprint
from wsss.stage import Interrupted, Run, say
from wsss.store.manifest import NAME, digest
from wsss.store.maps import MapShard, MapWriter, shard_name

Maps = tuple[Item, Sequence[int] | np.ndarray, Sequence[np.ndarray]]
"""An image, its n classes (0-based), and float32 (n, h_s, w_s) for each scale; see ``MapWriter.add``."""


def write_shards(
    run: Run,
    items: list[Item],
    produce: Callable[[list[Item]], Iterable[Maps]],
    *,
    scales: Sequence[float],
    flip: bool,
    stride: int,
    round_to: int | None = None,
    attributes: Mapping[str, Any] | None = None,
    content: str = "",
) -> None:
    """Write the maps of ``items`` into ``run.settings.shards`` files of ``run.out``.

    ``produce(part)`` yields every image of a part of the list once, in any order; what it yields for an image must not
    depend on the part. ``scales`` to ``attributes`` as for ``MapWriter``. The shards of a killed run are kept if
    settings, inputs, code and ``content`` (what else the maps depend on) are those that they were made with.

    Raises:
        Interrupted: A signal asked to stop; complete shards stay.
    """
    key = shard_key(run, content)
    forget_other_shards(run, key)
    shards = min(run.settings.shards, len(items))
    for number in range(shards):
        name = shard_name(number, shards)
        if _is_whole(run.out / name):
            say(f"{name} is complete: kept")
            continue
        part = items[number * len(items) // shards : (number + 1) * len(items) // shards]
        with MapWriter(
            run.out / name,
            scales=scales,
            flip=flip,
            stride=stride,
            round_to=round_to,
            attributes={**(attributes or {}), "key": key},
        ) as writer:
            for item, present, maps in produce(part):
                writer.add(item.id, present, (item.height, item.width), maps)
                if run.stop:
                    raise Interrupted(run.stop)
    (run.state / "key").unlink(missing_ok=True)
    run.note(images=len(items), shards=shards)


def _is_whole(path: Path) -> bool:
    """Whether the shard is there and can be read; one that a failing disk spoilt is deleted."""
    if not path.exists():
        return False
    try:
        MapShard(path)
    except WsssError as error:
        say(f"{path.name} is made again: {error}")
        path.unlink()
        return False
    return True


def shard_key(run: Run, content: str = "") -> str:
    """What a shard depends on, in 16 hex digits: settings, the content of all inputs, the code of the stage, and
    ``content``."""
    inputs = {name: digest(folder / NAME) for name, folder in run.inputs.items()}
    code = fingerprint(ROOT / "stages" / f"{run.stage}.py", ROOT)
    text = json.dumps([run.settings.canonical(), inputs, code, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def forget_other_shards(run: Run, key: str) -> None:
    """Delete the shards of a killed run unless they were made under the same key, and what its writer left half
    done."""
    for left in run.out.glob(".shard-*.tmp"):  # the lock of the stage says that nobody writes it any more
        left.unlink()
    mark = run.state / "key"
    if not (mark.exists() and mark.read_text() == key):
        for shard in run.out.glob("shard-*.h5"):
            shard.unlink()
        mark.write_text(key)
