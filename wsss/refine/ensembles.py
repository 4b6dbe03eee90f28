"""Ensembles of maps: the maps of several recipes put together, pixel by pixel.

Members are read at full size (``MapStore.full``: relative maps each over their own maximum, absolute ones as they are),
so that cells of different strides lie where they belong; means over 4 x 4 pixels are put together, and one map a class
is stored at that stride. The ensemble is relative if all its members are: a tag vouches for its
class, however little the members agree on where it is, so readers divide the map by its maximum again, as they do with
the sum over scales. As soon as one member is absolute, so is the ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.evaluate.agreement import Agreement, count_pairs, counts_read, counts_text
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, Maps, write_maps
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.runtime.program import Run
from wsss.settings import EnsembleSettings
from wsss.store.maps import MapStore
from wsss.store.views import LOW_STRIDE
from wsss.system.workers import over

READ_AT = 0.3
"""Background score at which the members' maps become masks, to say how far they agree."""


def reduced(full: np.ndarray) -> np.ndarray:
    """Means over blocks of 4 x 4 pixels, smaller at the right and lower border: float32 (n, H, W) to
    (n, (H-1)//4+1, (W-1)//4+1)."""
    starts = [np.arange(0, side, LOW_STRIDE) for side in full.shape[1:]]
    sums = np.add.reduceat(np.add.reduceat(full, starts[0], axis=1), starts[1], axis=2)
    high, wide = (np.diff(np.append(first, side)) for first, side in zip(starts, full.shape[1:], strict=True))
    return sums / np.outer(high, wide).astype(np.float32)


def combine(maps: np.ndarray, rule: str, weights: np.ndarray | None = None) -> np.ndarray:
    """Put maps together: float32 (M, ...) of M members, in [0, 1], to float32 (...), in [0, 1].

    ``mean``; ``max``; ``geometric``: prod(a)^(1/M), 0 where any member is; ``noisy-or``: 1 - prod(1 - a);
    ``calibrated``: sum(w a) / sum(w) with ``weights`` w (M,), not negative, not all 0.
    """
    found: np.ndarray
    if rule == "mean":
        found = maps.mean(axis=0)
    elif rule == "max":
        found = maps.max(axis=0)
    elif rule == "geometric":
        found = (maps ** np.float32(1 / len(maps))).prod(axis=0)  # roots first: a product of many would underflow
    elif rule == "noisy-or":
        found = 1 - (1 - maps).prod(axis=0)
    elif rule == "calibrated":
        assert weights is not None  # this rule needs them
        share = (np.asarray(weights, np.float64) / np.sum(weights)).astype(np.float32)
        found = np.einsum("m,m...->...", share, maps).clip(max=1)
    else:
        raise ValueError(f"unknown rule {rule!r}")
    return found


def calibrated_weights(scores: Sequence[Path], members: Sequence[Path]) -> tuple[list[float], int]:
    """The weight of each member, and how many true masks were looked at for it.

    The weight is the best mIoU that the member reaches, at one threshold, on the images that the policy *calibrated*
    may look at; no other mask has a say. ``scores``: folders of the members' scores, in the order of ``members``.
    Raises :class:`WsssError` when there are more or fewer, they are another's, or a member has no such score.
    """
    if len(scores) != len(members):
        raise WsssError(
            f"rule 'calibrated' weights {len(members)} members and was given {len(scores)} folders of scores; give "
            "--scores DIR ... one a member, in the same order"
        )
    weights, looked_at = [], 0
    for folder, member in zip(scores, members, strict=True):
        path = Path(folder) / "scores.json"
        try:
            content = json.loads(path.read_text("utf-8"))
            recipe, weight = content["recipe"], content["calibration_miou"]
        except (OSError, ValueError, KeyError) as error:
            raise WsssError(f"{path} holds no scores of maps ({error!r}); score {member} (again)") from None
        if recipe != Path(member).name:
            raise WsssError(f"{path} scores {recipe!r}, not {Path(member).name!r}; give scores in the members' order")
        if weight is None:
            raise WsssError(f"{path} has no calibrated threshold: no training image has a mask; use another rule")
        weights.append(float(weight))
        looked_at = max(looked_at, len(content["calibration"]))
    if not sum(weights):
        raise WsssError("rule 'calibrated': all members score 0, so none has a weight; use another rule")
    return weights, looked_at


@dataclass(frozen=True)
class Members:
    """The maps of all members of one image. Call with an item of the index: float32 (M, n, h, w) at stride 4, classes
    as in its tags.

    Raises :class:`WsssError` when a member lacks it, or has maps of other classes or of another size.
    """

    names: tuple[str, ...]
    stores: tuple[MapStore, ...]

    def __call__(self, item: Item) -> np.ndarray:
        wrong, found = [], []
        for name, store in zip(self.names, self.stores, strict=True):
            if item.id not in store:
                wrong.append(f"{name} has no maps of it")
                continue
            record = store[item.id]
            order = np.argsort(record.classes)
            if record.size != (item.height, item.width):
                wrong.append(f"{name} has maps of {record.size[0]} x {record.size[1]} pixels, it is "
                             f"{item.height} x {item.width}")  # fmt: skip
            elif record.classes[order].tolist() != list(item.labels):
                wrong.append(f"{name} has maps of classes {record.classes[order].tolist()}, it is tagged with "
                             f"{list(item.labels)}")  # fmt: skip
            elif not wrong:
                found.append(reduced(store.full(item.id))[order])
        if wrong:
            raise WsssError("; ".join(wrong))
        return np.stack(found)


@dataclass(frozen=True)
class Combine:
    """Puts the maps of one image together, and counts where the members' masks agree: what a worker does."""

    members: Members
    rule: str
    weights: tuple[float, ...] | None

    def __call__(self, item: Item) -> Maps:
        weights, maps = None if self.weights is None else np.array(self.weights), self.members(item)
        counted = count_pairs([pseudo_mask(each, np.array(item.labels, np.int64), READ_AT) for each in maps])
        together = combine(maps, self.rule, weights)
        return item, item.labels, [together] if len(together) else [], counts_text(counted)


def write_ensemble(run: Run) -> None:
    """Write the maps of every image of the splits as HDF5 shards, and ``agreement.csv``.

    Raises :class:`WsssError` naming the images that a member lacks or has other classes or another size of.
    """
    settings: EnsembleSettings = run.settings
    index = Index.load(run.inputs["index"])
    folders = run.several("members")
    if len(folders) != len(settings.members):
        raise WsssError(
            f"the settings name {len(settings.members)} members ({', '.join(settings.members)}) and --members gives "
            f"{len(folders)} folders; give one a member, in the same order"
        )
    weights = None
    if settings.rule == "calibrated":
        weights, looked_at = calibrated_weights(run.several("scores"), folders)
        named = dict(zip(settings.members, weights, strict=True))
        run.note(weighting={"policy": "calibrated", "weights": named, "masks_looked_at": looked_at})
    members = Members(settings.members, tuple(MapStore(folder) for folder in folders))
    work = Combine(members, settings.rule, None if weights is None else tuple(weights))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        relative = {"relative": int(all(store.relative for store in members.stores))}
        form = Format((1.0,), False, LOW_STRIDE, LOW_STRIDE, relative)
        return form, lambda part: over(part, work, run.args.threads, "ensemble", lambda item: item.id)

    texts = write_maps(run, items_of(run, index), begin)
    if texts is not None:
        agreement = Agreement(settings.members, len(index.classes))
        for text in texts:
            agreement.add(counts_read(text))
        agreement.write(run)
