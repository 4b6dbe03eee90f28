"""The stage ``audit``: attack the explanations of a network of one's own, beside controls of equal size.

Writes:

- ``audit.csv``: a row per image, eps and condition (``wsss.beyond.auditing``);
- ``metrics.json``: means, success rates and fragility by eps, seeds of masks of attacked maps, detectors;
- ``pictures.png``: image, perturbation, map before, target, map after;
- ``perturbed.h5`` with ``keep_images``: dataset ``images/ID`` uint8 (E, H, W, 3), attribute ``eps`` in 255ths;
- ``detection.csv`` with ``detector``: the figures that detectors read.

An image's part is finished or not at all, so a run that was killed resumes and jobs may share the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import h5py
import numpy as np
import torch

from wsss.beyond.attack import eight_bits
from wsss.beyond.auditing import Audit, Auditor
from wsss.beyond.detection import ALONE, OF_MAPS, detectors
from wsss.beyond.looking import Viewer
from wsss.beyond.softening import check_activations
from wsss.beyond.summing import COLUMNS, seeds_by_size, summary
from wsss.data.images import read_mask, read_upright
from wsss.data.index import Index, Item
from wsss.data.loading import resized, scaled_size
from wsss.errors import WsssError
from wsss.explain.methods import find
from wsss.explain.seeds import built
from wsss.inference.network import open_network
from wsss.models.classifier import load_classifier
from wsss.models.segmenter import load_segmenter
from wsss.parts.units import Unit, read_unit, write_units
from wsss.report.attacks import AttackedRow, draw_attacks
from wsss.runtime.run import Run
from wsss.settings import AuditSettings
from wsss.stages.explanation import evenly
from wsss.system.files import atomic_path, write_json, write_rows
from wsss.system.log import log
from wsss.system.progress import Progress

OTHER = {True: "seg-hires-grad-cam", False: "hires-cam"}
"""Segmentation network or not -> the method that a detector compares gradients with; others it compares with
gradients."""


def make(run: Run) -> None:
    """Attack, measure, and write; see above.

    Raises:
        WsssError: The network and the settings do not go together, its activations cannot be softened, or there are too
            few images.
    """
    settings: AuditSettings = run.settings
    index = Index.load(run.inputs["index"])
    kind = _audited(run)
    explainer = built(settings.explainer, settings.explainer_options)
    items = evenly(index.split(settings.split), settings.images)
    if len(items) < (2 if settings.goal == "other-image" else 1):
        few = "is no other image" if items else "are no images"
        raise WsssError(f"{index.folder}: there {few} in the split {settings.split}; audit the other one")

    def begin() -> Callable[[list[Item]], Iterable[tuple[Item, Unit]]]:
        load: Any = load_classifier if kind == "classifier" else load_segmenter
        network, device = open_network(run.inputs[kind], load, index, run.args.device, run.args.threads)
        if settings.beta is not None or settings.smooth_beta is not None:
            check_activations(network)
        viewer = Viewer(network, explainer, settings.layers, settings.grid, settings.smooth_beta)
        pixels = settings.explainer in ("gradient", "gradient-x-input", "smooth-grad")
        other = viewer.by(find(OTHER[kind == "segmenter"] if pixels else "gradient")())
        auditor = Auditor(viewer, other, settings, len(index.classes), run.args.seed, run.check_stop)

        def units(part: list[Item]) -> Iterator[tuple[Item, Unit]]:
            with Progress(len(part), what="auditing") as progress:
                for item in part:
                    colours = colours_of(item, settings.max_side, device)
                    others = _other_maps(auditor, items, item, settings.max_side, device)
                    made = auditor(item.id, colours, truth_of(item, colours), others)
                    yield item, _unit(made)
                    progress.advance()

        return units

    found = write_units(run, items, begin)
    if found is not None:
        write_tables(run, index, found)


def _audited(run: Run) -> str:
    """Which input holds the network; the settings say the same."""
    settings: AuditSettings = run.settings
    kind = "classifier" if settings.classifier is not None else "segmenter"
    other = "segmenter" if kind == "classifier" else "classifier"
    if kind not in run.inputs or other in run.inputs:
        raise WsssError(
            f"the settings name a {kind} ({getattr(settings, kind)}); give its folder by --{kind}, and no --{other}"
        )
    return kind


def colours_of(item: Item, max_side: int, device: torch.device) -> torch.Tensor:
    """An image as colours fp32 (1, 3, H, W) in [0, 1], whole 255ths; reduced to ``max_side``. Raises ``WsssError``."""
    pixels = torch.from_numpy(read_upright(item.image, (item.height, item.width)))
    size = scaled_size(item, 1.0, max_side)
    if size != tuple(pixels.shape[:2]):
        pixels = resized(pixels, size)
    return eight_bits(pixels.permute(2, 0, 1)[None].to(device).float() / 255)


def truth_of(item: Item, colours: torch.Tensor) -> np.ndarray | None:
    """The ground-truth mask uint8 (H, W) at the size of the colours (nearest); None where there is none."""
    if item.mask is None or not item.scored:
        return None
    mask = read_mask(item.mask)
    rows, columns = (np.arange(new) * old // new for new, old in zip(colours.shape[2:], mask.shape, strict=True))
    found: np.ndarray = mask[rows[:, None], columns]
    return found


def _other_maps(
    auditor: Auditor, items: list[Item], item: Item, max_side: int, device: torch.device
) -> Callable[[], torch.Tensor]:
    """What gives the map of the next image of the list in which something is predicted."""

    @cache
    def get() -> torch.Tensor:
        viewer, first = auditor.viewer, next(number for number, one in enumerate(items) if one.id == item.id)
        for one in items[first + 1 :] + items[:first]:
            colours = colours_of(one, max_side, device)
            question = viewer.question(viewer.scores(colours))
            if question is not None:
                return viewer.look(colours, question, f"{one.id} judged", auditor.seed).map
        raise WsssError(f"no other image than {item.id!r} has a predicted object; take another goal, or more images")

    return get


def _unit(made: Audit | None) -> Unit:
    if made is None:
        return Unit(None)
    told = {name: value for name, value in asdict(made).items() if name not in ("maps", "images")}
    return Unit(told, {"maps": made.maps, "images": made.images})


def write_tables(run: Run, index: Index, found: dict[str, Path]) -> None:
    """Put together what came of all images."""
    settings: AuditSettings = run.settings
    told = {id: read_unit(path, arrays=False).told for id, path in found.items()}
    audited = {id: one for id, one in told.items() if one is not None}
    rows = [row for one in audited.values() for row in one["rows"]]
    named = [{**row, "class": index.classes[row["class"]]} for row in rows]
    write_rows(run.out / "audit.csv", COLUMNS, [[row[name] for name in COLUMNS] for row in named])
    result: dict[str, Any] = {
        "network": settings.classifier or settings.segmenter,
        "explainer": settings.explainer,
        "explainer_options": settings.explainer_options,
        "goal": settings.goal,
        "images": len(audited),
        "without_object": [id for id, one in told.items() if one is None],
        "sizes": summary(rows, settings.eps),
        "seeds": seeds_by_size([one["seeds"] for one in audited.values()], settings.eps, len(index.classes)),
    }
    stuck = [row for row in rows if row["condition"] == "attack" and row["steerable"] is False]
    result["unsteerable"] = len(stuck)
    if stuck:
        why = (
            "second derivatives of ReLUs vanish; set 'beta'"
            if settings.beta is None and settings.smooth_beta is None
            else "it is zero everywhere, or the same for every image"
        )
        log.warning(
            f"{settings.explainer}: in {len(stuck)} of {len(audited) * len(settings.eps)} attacks the map had no "
            f"derivative by the image ({why}). These attacks tried nothing"
        )
    if settings.detector:
        figures = [row for one in audited.values() for row in one["detection"]]
        columns = ("image", "condition", *OF_MAPS, *(name for name in ALONE if name not in OF_MAPS))
        write_rows(run.out / "detection.csv", columns, [[row[name] for name in columns] for row in figures])
        result["detector"] = detectors(figures)
    write_json(run.out / "metrics.json", result)
    if settings.keep_images:
        with atomic_path(run.out / "perturbed.h5") as temporary, h5py.File(temporary, "w") as file:
            file.attrs["eps"] = np.asarray(settings.eps, np.float64)
            for id in audited:
                file.create_dataset(f"images/{id}", data=read_unit(found[id]).arrays["images"])
    with atomic_path(run.out / "pictures.png") as temporary:
        shown = list(audited)[: settings.pictures]
        draw_attacks([_pictured(index, found[id], told[id], id, settings) for id in shown], temporary)
    run.note(audited=len(audited))
    run.record(seconds_an_attack=mean(one["seconds"] for one in audited.values()) / len(settings.eps) if audited else 0)


def _pictured(index: Index, path: Path, told: dict[str, Any], id: str, settings: AuditSettings) -> AttackedRow:
    """A row of the picture: the attack of the largest eps."""
    arrays, largest = read_unit(path).arrays, int(np.argmax(settings.eps))
    item = index.item(id)
    clean = (colours_of(item, settings.max_side, torch.device("cpu"))[0].permute(1, 2, 0) * 255).round().byte().numpy()
    clean_map, target, *attacked = arrays["maps"]
    (row,) = (each for each in told["rows"] if each["condition"] == "attack" and each["eps"] == settings.eps[largest])
    return AttackedRow(
        f"{id}: {index.classes[row['class']]}",
        clean,
        arrays["images"][largest],
        clean_map,
        target if target.any() else None,
        attacked[largest],
        f"after, eps {row['eps']:g}" + (", steered" if row["success"] else ""),
    )
