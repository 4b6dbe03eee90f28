"""Where a score comes from: the artefact, everything it was made from, and what a person had to supply for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.store.manifest import NAME, read_manifest
from wsss.system.packaged_weights import PACKAGED
from wsss.text import count

PICTURED = {"cams": "cams", "saliency": "saliency-maps", "masks": "masks", "segmenters": "predictions"}
"""Kind of a score, and the folder that its artefacts lie in."""
TAGLESS = ("c2am", "c2am-h", "saliency", "token-cut", "segmentation")
"""Objectives that read no tags themselves; hints and masks that they learn from have a lineage of their own."""
CHOICE = "image tags (whether there are any)"
"""What a training without tags knows that leaves untagged images out."""


@dataclass(frozen=True)
class Scored:
    """One folder of scores: ``content`` of its ``scores.json``, and the ``artefact`` folder it is about."""

    folder: Path
    kind: str
    recipe: str
    seed: int
    content: dict[str, Any]
    artefact: Path


@dataclass(frozen=True)
class PicturedArtefact:
    """A folder of maps, masks or predictions that can be pictured; ``kind`` is that of its scores."""

    kind: str
    recipe: str
    seed: int
    folder: Path


def read_scored(folder: Path) -> Scored:
    """Read a folder of scores. Raises :class:`WsssError` when it or its artefact is not whole."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        content = json.loads((folder / "scores.json").read_text("utf-8"))
        artefact = (folder / manifest["inputs"]["artefact"]["path"]).resolve()
        kind, recipe = content["kind"], content["recipe"]
    except (OSError, ValueError, KeyError) as error:
        raise WsssError(f"{folder}: no whole scores ({error!r}); score the artefact again") from None
    read_manifest(artefact)
    return Scored(folder, kind, recipe, int(manifest["seed"]), content, artefact)


def lineage(artefact: Path) -> dict[Path, dict[str, Any]]:
    """Manifests of an artefact and of all it was made from, by folder; the artefact first. The index is left out."""
    found: dict[Path, dict[str, Any]] = {}
    pending = [artefact]
    while pending:
        folder = pending.pop(0)
        if folder in found or not (folder / NAME).is_file():
            continue
        found[folder] = read_manifest(folder)
        inputs = found[folder].get("inputs", {})
        for name, given in inputs.items():
            if name.partition(".")[0] not in ("index", "scores"):
                pending.append((folder / given["path"]).resolve())
    return found


def supervision(artefact: Path) -> list[str]:
    """What was supplied for an artefact, beside the images: tags, pretrained weights, ground-truth masks, and for what
    was made elsewhere the words of its recipe. Maps made elsewhere, masks that tags restrict and labels from networks
    are of the tagged classes, so tags went into them too. Weights that a classifier's take the place of
    (``warm_start``) do not count; that classifier's own do."""
    supplied: dict[str, None] = {}
    for manifest in lineage(artefact).values():
        settings = manifest.get("settings") or {}
        if settings.get("source") == "external":
            supplied[f"elsewhere: {settings['supervision']}"] = None
            if manifest.get("stage") == "external_cams" or settings.get("veto") == "tags":
                supplied["image tags"] = None
        elif settings.get("source") == "text":
            supplied |= dict.fromkeys(["image tags", *manifest.get("supervision", ())])
        elif settings.get("source") == "regions":
            supplied[f"regions: {settings['supervision']}"] = None
        elif settings.get("source") == "segmenter":  # its networks and its prior have manifests of their own
            supplied["image tags"] = None
        elif settings.get("supervision") == "masks":
            few = settings.get("gt_masks", "all")
            supplied["ground-truth masks" if few == "all" else f"{few} ground-truth masks, chosen by tags"] = None
            # what a teacher says is restricted to the tags
            if settings.get("tags") or settings.get("objective", TAGLESS[0]) not in TAGLESS:
                supplied["image tags"] = None
        elif settings.get("objective", TAGLESS[0]) not in TAGLESS:
            supplied["image tags"] = None
            if few := manifest.get("masks_looked_at"):
                supplied[f"{few} ground-truth masks (heatmaps)"] = None
        elif manifest.get("untagged_left_out"):
            supplied[CHOICE] = None
        taken = settings.get("warm_start") or settings.get("supervision") == "classifier"
        weights = None if taken else (manifest.get("found") or settings).get("pretrained")
        if weights in (True, PACKAGED):
            supplied["images without labels (DINO)" if "dino" in settings.get("backbone", "") else "ImageNet"] = None
        elif isinstance(weights, str):
            supplied[f"weights {Path(weights).name}"] = None
        threshold = manifest.get("threshold") or {}
        if threshold.get("policy") == "calibrated":
            supplied[f"{threshold['masks_looked_at']} ground-truth masks (threshold)"] = None
        elif threshold.get("policy") == "oracle":
            supplied[f"all {threshold['masks_looked_at']} scored training masks (threshold)"] = None
        if looked_at := (manifest.get("weighting") or {}).get("masks_looked_at"):
            supplied[f"{looked_at} ground-truth masks (weights of the ensemble)"] = None
        if few := (manifest.get("corrected") or {}).get("images"):
            supplied[count(few, "corrected mask")] = None
        if looked_at := (manifest.get("choice") or {}).get("masks_looked_at"):
            supplied[f"{looked_at} ground-truth masks (choice of pseudo-labels)"] = None
    if "image tags" in supplied:
        supplied.pop(CHOICE, None)
    return sorted(supplied, key=lambda s: (s != "image tags", s))


def fetched_weights(artefact: Path) -> list[str]:
    """The weights from elsewhere that an artefact rests on, each with its licence, source and the beginning of its
    checksum; those of files of the user's own have none."""
    found: dict[str, None] = {}
    for manifest in lineage(artefact).values():
        told = [manifest.get("weights"), (manifest.get("text") or {}).get("weights")]
        for one in [each for each in told if each and each.get("source")]:
            found[f"{one['source']} (licence: {one['licence']}; SHA-256 {one['sha256'][:16]}…)"] = None
    return list(found)


def find_artefacts(scored: list[Scored], results: Path | None) -> list[PicturedArtefact]:
    """What can be pictured: the artefacts of the scores, the saliency that they rest on and, of kinds without either,
    those below ``results``."""
    found = [PicturedArtefact(s.kind, s.recipe, s.seed, s.artefact) for s in scored if s.kind in PICTURED]
    for one in [a for a in found if a.kind in ("cams", "masks")]:
        for folder in lineage(one.folder):
            saliency = PicturedArtefact("saliency", folder.name, one.seed, folder)
            if folder.parent.name == PICTURED["saliency"] and saliency not in found:
                found.append(saliency)
    for kind, place in PICTURED.items():
        if results is not None and not any(a.kind == kind for a in found):
            for manifest in sorted(Path(results).glob(f"s*/{place}/*/{NAME}")):
                seed = manifest.parts[-4][1:]
                if seed.isdigit():
                    found.append(PicturedArtefact(kind, manifest.parent.name, int(seed), manifest.parent))
    return found
