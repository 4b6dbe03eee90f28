"""Trained segmentation networks found by their folder: which classes they know, and how their recipe applies them.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss.errors import WsssError
from wsss.settings import PredictSettings
from wsss.settings.check import check
from wsss.store.artefact import Artefact, below_folder, find, load
from wsss.system.files import parse_json
from wsss.text import dotted, listed, nice


def network_in(path: Path) -> Artefact:
    """The segmentation network in a folder, or the only one of a run: ``results/DATASET`` (the first seed) or
    ``results/DATASET/sSEED``.

    Raises:
        WsssError: There is none, or there are several; the message names them.
    """
    numbers = sorted(int(one.name[1:]) for one in path.glob("s*") if one.name[1:].isdigit())
    places = [path / "segmenters", *(path / f"s{seed}" / "segmenters" for seed in numbers)]
    base = next((one for one in places if one.is_dir()), None)
    if base is None:
        return segmenter(path)
    there = list(below_folder(base))
    if len(there) != 1:
        raise WsssError(
            f"{nice(path)}: holds {len(there) or 'no'} segmentation network{'s' * (len(there) != 1)}"
            + (f" ({listed(map(nice, there))}); name one" if there else "; train one with wsss run")
        )
    return segmenter(there[0])


def segmenter(path: Path) -> Artefact:
    """The segmentation network in a folder. Raises ``WsssError`` for anything else; the message names those nearby."""
    found = find(path)
    if found.stage == "predictions" and "segmenter" in found.inputs:
        return load(found.inputs["segmenter"])
    if found.stage != "segmenter":
        base = next((one for one in found.folder.parents if (one / "segmenters").is_dir()), None)
        near = [nice(one) for one in below_folder(base / "segmenters")] if base else []
        hint = f"; there are: {', '.join(near)}" if near else " (results/DATASET/sSEED/segmenters/NAME)"
        raise WsssError(f"{nice(found.folder)} was made by the stage '{found.stage}'; name the folder of a "
                        f"segmentation network{hint}")  # fmt: skip
    if not (found.folder / "model.safetensors").is_file():
        raise WsssError(f"{found.title}: model.safetensors is gone; train the network again")
    return found


def classes_of(network: Artefact) -> tuple[str, ...]:
    """Names of the object classes, from the head of the file of weights."""
    from safetensors import SafetensorError, safe_open

    path = network.folder / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            return tuple(map(str, parse_json((file.metadata() or {})["wsss"])["classes"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise WsssError(f"{nice(path)}: cannot be read ({error}); train the network again") from None


@dataclass(frozen=True)
class Applied:
    """How a network is applied.

    Attributes:
        settings: Scales, mirror, dense CRF.
        tags_from: Folder of the classifier that says which classes a photo may hold; None: the network decides alone.
        origin: Where that was read, in words.
    """

    settings: PredictSettings
    tags_from: Path | None
    origin: str


def recipe(network: Artefact) -> Applied:
    """How the recipe of a network applies it; the defaults where it has predicted nothing.

    Raises:
        WsssError: Its recipe names a classifier beside it, and that is gone.
    """
    folder = network.folder.parent.parent / "predictions" / network.folder.name
    try:
        made = load(folder)
    except WsssError:
        made = None
    if made is not None and made.inputs.get("segmenter") == network.folder:
        settings, problems = check(PredictSettings, made.settings)
        if not problems:
            return Applied(settings, _classifier(network, made.inputs.get("tags_from")), "as its recipe has it")
    return Applied(PredictSettings(), None, f"the defaults: {nice(folder)} does not say how its recipe applies it")


def _classifier(network: Artefact, folder: Path | None) -> Path | None:
    if folder is not None and not (folder / "model.safetensors").is_file():
        raise WsssError(
            f"{nice(folder)}: this classifier says which classes {network.title} may find, and its weights are gone; "
            "bring the folder back beside the network, or train it again"
        )
    return folder


def adjusted(
    settings: PredictSettings, scales: Sequence[float] | None = None, crf: str | None = None, mark: str = ""
) -> PredictSettings:
    """Settings with other scales or another dense CRF (``none`` for none); None leaves them as they are. ``mark``
    stands before the names in an error.

    Raises:
        WsssError: A value is out of range.
    """
    values = settings.model_dump(mode="json")
    if scales is not None:
        values["scales"] = list(scales)
    if crf is not None:
        values["crf"] = None if crf == "none" else crf
    read: PredictSettings
    read, problems = check(PredictSettings, values)
    if problems:
        raise WsssError("; ".join(f"{mark}{dotted(path)}: {sentence}" for path, sentence in problems))
    return read
