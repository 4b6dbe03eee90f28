"""The identity of an artefact: all that its content depends on, in sixteen hex digits.

Stage, declared versions (``wsss.provenance.versions``), settings without those that hold their neutral value, seed, the
content of the user's own files that the settings name, and the *content* of every input. The workflow, checkpoints,
parts of unfinished artefacts, ``wsss show`` and ``wsss plan`` all use this one identity: equal identities, equal
results.

What does not count: times, paths, machines, threads, the code as text, the libraries' versions. The run's own record
(``run.json``) has them, and ``wsss plan`` remarks on what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss.provenance.dataset_files import tables, trees
from wsss.provenance.files import corrections_content, file_content, tree_content
from wsss.provenance.versions import ROOT, versions
from wsss.settings import DatasetSettings, SearchSettings, Settings, TextCamsSettings
from wsss.steps import STEPS, TABLES
from wsss.system.packaged_weights import PACKAGED, packaged_file

FACTS = ("stage", "declared", "settings", "seed", "flags", "files", "inputs")
"""What makes an identity, and the names under which a manifest has it."""


def facts(
    stage: str,
    settings: Settings | None,
    seed: int,
    inputs: Mapping[str, str | None],
    flags: Mapping[str, str] | None = None,
    root: Path = ROOT,
) -> dict[str, Any]:
    """What the identity of a stage's artefact is made of.

    Args:
        stage: Name of its program.
        settings: Its typed settings, None for a stage without any.
        seed: Its seed.
        inputs: Name of each input to the digest of its content (``wsss.store.manifest``), None where that is unknown.
        flags: Further flags of the program that change the result.
        root: The checkout whose declared versions count.
    """
    without = STEPS[stage].without if stage in STEPS else frozenset()
    return {
        "stage": stage,
        "declared": versions(stage, settings, root),
        "settings": None if settings is None else settings.counted(without),
        "seed": seed,
        "flags": dict(flags or {}),
        "files": files_of(settings, seed),
        "inputs": dict(inputs),
    }


def identity(about: Mapping[str, Any]) -> str:
    """Sixteen hex digits for ``facts``."""
    text = json.dumps({name: about[name] for name in FACTS}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_of(settings: Any, seed: int) -> str | None:
    """What the user's own files hold that typed settings name: the tables and folders of a dataset, pretrained weights,
    maps, masks or regions made elsewhere, corrections. Paths are relative to the working directory. None where no file
    is named."""
    if isinstance(settings, DatasetSettings):
        contents = [*map(file_content, tables(settings)), *map(tree_content, trees(settings))]
        return " ".join(contents) or None
    if isinstance(weights := getattr(settings, "pretrained", None), str):
        return file_content(str(packaged_file(settings.backbone)) if weights == PACKAGED else weights)
    named = []
    if isinstance(settings, TextCamsSettings):
        named = [*map(file_content, settings.files)]
    if getattr(settings, "source", None) == "regions":
        named = [tree_content(settings.regions.replace("{seed}", str(seed)))]
    if isinstance(settings, SearchSettings):
        given = sorted((name, weights) for name, weights in settings.space.backbone.items() if isinstance(weights, str))
        named = [file_content(str(packaged_file(name)) if w == PACKAGED else w) for name, w in given]
    if getattr(settings, "source", None) == "external":
        path = settings.path.replace("{seed}", str(seed))
        shards = sorted(Path(path).glob("*.h5"))
        named = [tree_content(path), *(file_content(str(shard)) for shard in shards)]
        if Path(path).is_file():
            named = [file_content(path)]
    if (corrected := getattr(settings, "corrected", None)) is not None:
        named.append(corrections_content(corrected))
    return " ".join(named) or None


def named_inputs(stage: str, folders: Mapping[str, Path]) -> dict[str, Path]:
    """Inputs under the names that count: to tables the order of their scores is nothing, so a score is called by its
    folder there (``scores s0/cams/p-noc``), not by its place in the list (``scores.3``)."""
    if stage not in TABLES:
        return dict(folders)

    def name(key: str, folder: Path) -> str:
        kind, _, number = key.partition(".")
        return f"{kind} {'/'.join(folder.parts[-4 if kind == 'scores' else -3 :])}" if number else key

    return {name(key, folder).replace("/scores/", "/"): folder for key, folder in folders.items()}


def token(stage: str, manifest: Mapping[str, Any]) -> str | None:
    """What of an input counts for a stage: the digest of its content; for tables, which show settings and times, too,
    also its identity. None where the manifest tells neither."""
    content = manifest.get("content")
    if content is None or stage not in TABLES:
        return content
    return f"{manifest.get('identity')} {content}"
