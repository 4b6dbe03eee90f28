"""Where a score comes from: the artefact, everything it was made from, and what a person had to supply for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.errors import WsssError
from wsss.store.manifest import NAME, read_manifest

PICTURED = {"cams": "cams", "masks": "masks", "segmenters": "predictions"}
"""Kind of a score, and the folder that its artefacts lie in."""


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
class Artefact:
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
        pending += [(folder / v["path"]).resolve() for k, v in inputs.items() if k not in ("index", "scores")]
    return found


def supervision(artefact: Path) -> list[str]:
    """What a person supplied for an artefact, beside the images: tags, pretrained weights, true masks."""
    supplied: dict[str, None] = {}
    for manifest in lineage(artefact).values():
        settings = manifest.get("settings") or {}
        if settings.get("supervision") == "masks":
            supplied["true masks"] = None
        elif "objective" in settings:
            supplied["image tags"] = None
        weights = settings.get("pretrained")
        if weights is True:
            supplied["ImageNet"] = None
        elif isinstance(weights, str):
            supplied[f"weights {Path(weights).name}"] = None
        threshold = manifest.get("threshold") or {}
        if threshold.get("policy") == "calibrated":
            supplied[f"{threshold['masks_looked_at']} true masks (threshold)"] = None
        elif threshold.get("policy") == "oracle":
            supplied[f"all {threshold['masks_looked_at']} scored training masks (threshold)"] = None
    return sorted(supplied, key=lambda s: (s != "image tags", s))


def find_artefacts(scored: list[Scored], results: Path | None) -> list[Artefact]:
    """What can be pictured: the artefacts of the scores and, of kinds without scores, those below ``results``."""
    found = [Artefact(s.kind, s.recipe, s.seed, s.artefact) for s in scored if s.kind in PICTURED]
    for kind, place in PICTURED.items():
        if results is not None and not any(a.kind == kind for a in found):
            for manifest in sorted(Path(results).glob(f"s*/{place}/*/{NAME}")):
                seed = manifest.parts[-4][1:]
                if seed.isdigit():
                    found.append(Artefact(kind, manifest.parent.name, int(seed), manifest.parent))
    return found
