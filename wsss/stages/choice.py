"""The best of several masks, chosen by what may be looked at and passed on as they are."""

from __future__ import annotations

from typing import Any

from wsss.data.index import Index, Item
from wsss.errors import WsssError
from wsss.evaluate.choice import AgreementCounter, Figures, TruthCounter, best, by_agreement, by_masks
from wsss.evaluate.counting import merged
from wsss.evaluate.scoring import calibration_ids
from wsss.parts.collecting import collected
from wsss.parts.corrections import Corrections, corrections_of
from wsss.parts.folder import items_of, open_parts
from wsss.runtime.run import Run
from wsss.settings import ChoiceSettings, EvaluationSettings
from wsss.store.masks import MaskFolder
from wsss.system.files import replace_folder
from wsss.system.log import log


def figures_of(
    settings: ChoiceSettings, members: tuple[MaskFolder, ...], index: Index, seed: int, threads: int
) -> tuple[list[Figures], dict[str, int]]:
    """The figures of every member on the training images, and how many images they are of: with ``by: masks``,
    ``masks_looked_at``.

    Raises:
        WsssError: There is no image to compare on, or images have no fitting mask.
    """
    if settings.by == "masks":
        scored = index.scored("train")
        chosen = calibration_ids(scored, settings.calibration_images or EvaluationSettings().calibration_images, seed)
        if not chosen:
            raise WsssError(f"{index.folder}: 'by: masks' looks at ground-truth masks, but no training image has one; "
                            "use 'by: agreement'")  # fmt: skip
        few = [item for item in scored if item.id in set(chosen)]
        counts = merged(TruthCounter(members, len(index.classes)), few, threads, "masks looked at")
        return by_masks(counts), {"masks_looked_at": len(few)}
    items = index.labelled("train")
    if not items:
        raise WsssError(f"{index.folder}: no training image has a tag, so there is nothing to agree on")
    counter = AgreementCounter(settings.members, members, len(index.classes))
    return by_agreement(merged(counter, items, threads, "agreement")), {"images_compared": len(items)}


def make(run: Run) -> None:
    """Copy the masks of the chosen member, of every image of the splits; note the choice and its figures.

    Raises:
        WsssError: A member lacks masks of images, or they do not fit; corrections do not fit; or see ``figures_of``.
    """
    settings: ChoiceSettings = run.settings
    corrections = corrections_of(run)
    index = Index.load(run.inputs["index"])
    items = items_of(run, index)
    members = tuple(MaskFolder(folder / "masks") for folder in run.one_each("members", settings.members))
    for name, member in zip(settings.members, members, strict=True):
        member.require([*items, *index.split("train")], f"let the splits of masks.{name} include those of the choice")
    figures, looked = figures_of(settings, members, index, run.args.seed, run.args.threads)
    place = best(figures)
    name = settings.members[place]
    log.info(f"{name} is chosen by {settings.by}: " + ", ".join(
        f"{member} {100 * one.score:.1f}" for member, one in zip(settings.members, figures, strict=True)
    ))  # fmt: skip
    copy(members[place], items, run, corrections)
    rows: list[dict[str, Any]] = [
        {"member": member, **{key: value for key, value in one._asdict().items() if value is not None}}
        for member, one in zip(settings.members, figures, strict=True)
    ]
    run.note(images=len(items), choice={"chosen": name, "by": settings.by, **looked, "members": rows})


def copy(member: MaskFolder, items: list[Item], run: Run, corrections: Corrections | None) -> None:
    """The files of ``items``, corrected, as the masks of the run; the folder appears when all are there."""
    masks = collected(run, open_parts(run)[0])
    for item in items:
        run.check_stop()
        masks.put(item.id, member.file(item.id).read_bytes())
    if corrections is not None:
        corrections.apply(masks, items, run)
    replace_folder(masks.settle(items, run), run.out / "masks")
