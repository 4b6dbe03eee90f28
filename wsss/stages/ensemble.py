"""Maps of several recipes as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.evaluate.agreement import FILE, Agreement, count_pairs, counts_read, counts_text
from wsss.parts.folder import items_of
from wsss.parts.maps import Format, write_maps
from wsss.refine.ensembles import READ_AT, combine, reduced
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.runtime.run import Run
from wsss.settings import EnsembleSettings
from wsss.store.map_shards import Maps
from wsss.store.maps import MapStore
from wsss.store.views import LOW_STRIDE
from wsss.system.workers import over


def calibrated_weights(scores: Sequence[Path], members: Sequence[Path]) -> tuple[list[float], int]:
    """The weight of each member, and how many ground-truth masks were looked at for it.

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
class EnsembleImage:
    """Puts the maps of one image together, and counts where the members' masks agree: what a worker does."""

    members: Members
    rule: str
    weights: tuple[float, ...] | None

    def __call__(self, item: Item) -> Maps:
        weights, maps = None if self.weights is None else np.array(self.weights), self.members(item)
        counted = count_pairs([pseudo_mask(each, np.array(item.labels, np.int64), READ_AT) for each in maps])
        together = combine(maps, self.rule, weights)
        return item, item.labels, [together] if len(together) else [], counts_text(counted)


def make(run: Run) -> None:
    """Write the maps of every image of the splits as HDF5 shards, and ``agreement.csv``.

    Raises :class:`WsssError` naming the images that a member lacks or has other classes or another size of.
    """
    settings: EnsembleSettings = run.settings
    index = Index.load(run.inputs["index"])
    folders = run.one_each("members", settings.members)
    weights = None
    if settings.rule == "calibrated":
        weights, looked_at = calibrated_weights(run.several("scores"), folders)
        named = dict(zip(settings.members, weights, strict=True))
        run.note(weighting={"policy": "calibrated", "weights": named, "masks_looked_at": looked_at})
    members = Members(settings.members, tuple(MapStore(folder) for folder in folders))
    work = EnsembleImage(members, settings.rule, None if weights is None else tuple(weights))

    def begin() -> tuple[Format, Callable[[list[Item]], Iterator[Maps]]]:
        relative = {"relative": int(all(store.relative for store in members.stores))}
        form = Format((1.0,), False, LOW_STRIDE, LOW_STRIDE, relative)
        return form, lambda part: over(part, work, run.args.threads, "ensemble", lambda item: item.id)

    texts = write_maps(run, items_of(run, index), begin)
    if texts is not None:
        agreement = Agreement(settings.members, len(index.classes))
        for text in texts:
            agreement.add(counts_read(text))
        run.note(agreement=agreement.write(run.out / FILE))
