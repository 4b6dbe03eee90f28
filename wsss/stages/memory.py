"""The stage ``memory``: exemplars of what a network has learnt, compressed to a budget of encoded bytes.

Writes ``memory.h5`` (``wsss.store.exemplars``); ``memory.csv``, a row per exemplar with the bytes of its parts;
``metrics.json``; ``pictures.png``: images, where their boxes lie, what is replayed, its labels. The labels of every
candidate and each exemplar that is tried are made once, so a run that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from wsss.beyond.continual import numbers
from wsss.beyond.exemplars import (
    Labeller,
    Made,
    Pointer,
    Teller,
    cost_of,
    exemplar_of,
    fidelity_of,
    from_maps,
    pixels_of,
    recall_of,
    shown_by,
)
from wsss.beyond.memory import by_pixels, herded, select
from wsss.data.index import Index, Item
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.explain.seeds import explainer_of
from wsss.inference.network import open_network
from wsss.models.class_rows import steps_of
from wsss.models.segmenter import load_segmenter
from wsss.parts.units import Unit, UnitsOnDemand
from wsss.report.memories import ExemplarRow, draw_exemplars
from wsss.runtime.run import Run
from wsss.settings import MemorySettings
from wsss.store.exemplars import Exemplar, Exemplars, write_exemplars
from wsss.store.manifest import read_manifest
from wsss.store.maps import MapStore
from wsss.system.files import atomic_path, write_json, write_rows
from wsss.system.log import log
from wsss.system.progress import Progress
from wsss.text import listed

COLUMNS = (
    "image", "classes", "bytes", "context", "crops", "labels", "boxes", "box_share", "pixel_cost", "object_pixels",
    "object_recall", "carried",
)  # fmt: skip


def make(run: Run) -> None:
    """Choose, compress and write; see above.

    Raises:
        WsssError: The network was trained on other classes than the index has; a class is unknown to it; no image can
            be taken; a mask is missing; the explainer cannot be used on it.
    """
    settings: MemorySettings = run.settings
    index = Index.load(run.inputs["index"])
    for name in ("previous", "cams"):
        if (getattr(settings, name) is None) == (name in run.inputs):
            said = "names none" if name in run.inputs else f"names {getattr(settings, name)!r}"
            raise WsssError(f"--{name}: the recipe {said}; give the folder that it names, and no other")
    write_memory(run, index, Candidates(run, index))


class Candidates:
    """What a memory may take: images of the network's last step, and the exemplars of the memory before.

    Attributes:
        known: Object classes that the network knows, from 0.
        wanted: Those that exemplars are chosen for.
        items: Images by id; ``carried``: exemplars of the memory before by id. No id is in both.
        shows: Id -> class -> its pixels.
    """

    def __init__(self, run: Run, index: Index) -> None:
        self.run, self.index = run, index
        self.settings: MemorySettings = run.settings
        steps = steps_of(run.inputs["segmenter"])
        last, earlier = steps[-1], [name for step in steps[:-1] for name in step]
        self.own, self.before = (numbers(of, index.classes, "segmenter") for of in (last, earlier))
        self.known = tuple(sorted(self.own + self.before))
        self.wanted = self.known
        if self.settings.classes is not None:
            self.wanted = numbers(self.settings.classes, index.classes, "classes")
            if strange := [index.classes[c] for c in self.wanted if c not in self.known]:
                raise WsssError(f"classes: the network {self.settings.segmenter!r} has not learnt {listed(strange)}")
        self.carried: dict[str, Exemplar] = {}
        if "previous" in run.inputs:
            self.carried = {one.id: one for one in Exemplars(run.inputs["previous"] / "memory.h5")}
        own = set(self.own)
        among = [item for item in index.split("train") if own & set(item.labels) and item.id not in self.carried]
        if trained := read_manifest(run.inputs["segmenter"]).get("settings") or {}:
            among = [i for i in among if not trained.get("disjoint") or set(i.labels) <= set(self.known)]
        self.items = {item.id: item for item in among}
        if not self.items and not self.carried:
            raise WsssError(f"{index.folder}: no training image is tagged with {listed(last)}: there is none to store")
        if self.settings.supervision == "masks" and (bare := [i.id for i in among if i.mask is None]):
            raise WsssError(
                f"{index.folder}: 'supervision: masks' stores ground-truth masks, and {len(bare)} images have none: "
                f"{listed(bare[:5])}; use 'supervision: pseudo', or give them masks"
            )
        self.units = UnitsOnDemand(run)
        self.unusable: list[str] = []
        self.tried: dict[str, Made] = {}

    @cached_property
    def teller(self) -> Teller:
        """The network."""
        folder, args = self.run.inputs["segmenter"], self.run.args
        return Teller(*open_network(folder, load_segmenter, self.index, args.device, args.threads))

    @cached_property
    def saliency(self) -> Callable[[Item, np.ndarray], np.ndarray]:
        """What points at boxes in an image."""
        if "cams" in self.run.inputs:
            store = MapStore(self.run.inputs["cams"])
            store.require(self.items.values())
            return lambda item, _: from_maps(store, item)
        return Pointer(self.teller, explainer_of(self.settings), self.run.args.seed)

    @cached_property
    def _labelled(self) -> dict[str, Unit]:
        """Labels of every image, pixels of its classes, and for herding features."""
        herding = self.settings.select == "herding"
        labeller = Labeller(self.teller, self.settings.supervision == "masks", self.own, self.before)

        def looked_at(item: Item) -> Unit:
            pixels = pixels_of(item)
            labels = labeller(item, pixels)
            arrays = {"labels": np.frombuffer(encode_mask(labels), np.uint8)}
            if herding:
                arrays["features"] = self.teller.features(pixels)
            return Unit({str(c): n for c, n in shown_by(labels, self.known).items()}, arrays)

        found = {}
        with Progress(len(self.items), what="labelling") as progress:
            for id, item in self.items.items():
                found[id] = self.units(f"labels {id}", lambda item=item: looked_at(item))  # type: ignore[misc]
                progress.advance()
        return found

    @cached_property
    def shows(self) -> dict[str, dict[int, int]]:
        """Id -> class -> its pixels, of all that can be taken."""
        found = {id: {int(c): int(n) for c, n in unit.told.items()} for id, unit in self._labelled.items()}
        return {**{id: shown_by(one.labels(), self.known) for id, one in self.carried.items()}, **found}

    def queues(self) -> dict[int, list[str]]:
        """Class -> what can be taken of it, in the order in which it is wanted."""
        queues = by_pixels(self.shows, self.wanted, self.run.args.seed)
        if self.settings.select == "balanced":
            return queues
        features = {id: unit.arrays["features"] for id, unit in self._labelled.items()}
        features |= {id: self.teller.features(one.image()) for id, one in self.carried.items()}
        return {c: herded(features, ids) for c, ids in queues.items()}

    def made(self, id: str) -> Made | None:
        """What would be stored of a candidate; None for nothing."""
        if id in self.carried:
            one = self.carried[id]
            return Made(one, float(one.reliable().mean()))
        if id not in self.tried:
            unit = self.units(id, lambda: self._compressed(id))
            if unit.told is None:
                self.unusable.append(id)
                return None
            self.tried[id] = _exemplar(id, unit)
        return self.tried[id]

    def _compressed(self, id: str) -> Unit:
        item = self.items[id]
        pixels, labels = pixels_of(item), self._labelled[id].arrays["labels"].tobytes()
        mask = Exemplar(id, (item.height, item.width), (), b"", np.zeros((0, 4)), (), labels).labels()
        made = exemplar_of(item, pixels, mask, self.settings, lambda: self.saliency(item, pixels), self.run.args.seed)
        return Unit(None) if made is None else _unit(made)

    def cost(self, id: str) -> int | None:
        """Bytes of a candidate; None where nothing of it would be stored."""
        made = self.made(id)
        return None if made is None else made.exemplar.bytes


def _unit(made: Made) -> Unit:
    one = made.exemplar
    parts = {"context": one.context, "mask": one.mask, **{f"crop {n}": crop for n, crop in enumerate(one.crops)}}
    arrays = {name: np.frombuffer(data, np.uint8) for name, data in parts.items()}
    return Unit({"size": one.size, "tags": one.tags, "share": made.share}, {**arrays, "boxes": one.boxes})


def _exemplar(id: str, unit: Unit) -> Made:
    told, arrays = unit.told, unit.arrays
    crops = tuple(arrays[f"crop {n}"].tobytes() for n in range(len(arrays["boxes"])))
    size, context, mask = tuple(told["size"]), arrays["context"].tobytes(), arrays["mask"].tobytes()
    return Made(Exemplar(id, size, tuple(told["tags"]), context, arrays["boxes"], crops, mask), told["share"])


def write_memory(run: Run, index: Index, candidates: Candidates) -> None:
    """Choose exemplars and write what is told of them."""
    settings: MemorySettings = run.settings
    budget = None if settings.budget_kib is None else int(settings.budget_kib * 1024)
    shows = {id: list(classes) for id, classes in candidates.shows.items()}
    chosen = select(candidates.queues(), shows, candidates.cost, budget, run.args.seed)
    made = {id: found for id in chosen if (found := candidates.made(id)) is not None}
    exemplars = [one.exemplar for one in made.values()]
    if not exemplars:
        log.warning(f"{run.out}: nothing fits into {settings.budget_kib:g} KiB; raise budget_kib, or lower the quality")
    if candidates.unusable:
        log.warning(
            f"{run.out}: {len(candidates.unusable)} images were passed over, since {settings.method} found nothing to "
            f"store in them: {listed(candidates.unusable[:5])}"
        )
    names = {"method": settings.method, "segmenter": settings.segmenter, "classes": list(index.classes)}
    write_exemplars(run.out / "memory.h5", exemplars, names)
    rows, inside, shown = [], 0, 0
    for id, one in made.items():
        hit, objects = recall_of(one.exemplar)
        inside, shown = inside + hit, shown + objects
        rows.append(_row(index, one, hit, objects, id in candidates.carried, settings))
    write_rows(run.out / "memory.csv", COLUMNS, rows)
    total = sum(one.bytes for one in exemplars)
    metrics: dict[str, Any] = {
        "exemplars": len(exemplars),
        "carried": sum(id in candidates.carried for id in chosen),
        "candidates": len(candidates.shows),
        "bytes": total,
        "budget": budget,
        "mean_bytes": total / len(exemplars) if exemplars else None,
        "box_share": float(np.mean([one.share for one in made.values()])) if made else None,
        "object_recall": inside / shown if shown else None,
        "fidelity": fidelity_of(candidates.teller, exemplars, len(index.classes)) if exemplars else None,
        "unusable": sorted(candidates.unusable),
        "per_class": {index.classes[c]: sum(c in candidates.shows[id] for id in chosen) for c in candidates.wanted},
    }
    write_json(run.out / "metrics.json", metrics)
    drawn = [one for id, one in made.items() if id in candidates.items][: settings.pictures]
    with atomic_path(run.out / "pictures.png") as temporary:
        draw_exemplars([_pictured(candidates, one) for one in drawn], temporary)
    run.note(images=len(exemplars), bytes=total)


def _row(index: Index, made: Made, inside: int, objects: int, carried: bool, settings: MemorySettings) -> list[Any]:
    one = made.exemplar
    classes = ";".join(index.classes[c] for c in one.tags)
    parts = [len(one.context), sum(map(len, one.crops)), len(one.mask)]
    cost = None if carried else float(cost_of(made, settings))
    recall = inside / objects if objects else None
    return [
        one.id, classes, one.bytes, *parts, len(one.boxes), float(made.share), cost, objects, recall, int(carried)
    ]  # fmt: skip


def _pictured(candidates: Candidates, made: Made) -> ExemplarRow:
    one = made.exemplar
    label = f"{one.id}: {one.bytes / 1024:.1f} KiB"
    return ExemplarRow(label, pixels_of(candidates.items[one.id]), one.image(), one.labels(), one.boxes.tolist())
