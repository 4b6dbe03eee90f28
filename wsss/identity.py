"""What the result of a stage depends on beside its settings and inputs: its code, and the user's own files that the
settings name.

The manifest of every artefact holds both, so that from a result alone one can say whether it is stale. The workflow
hands the same hashes to Snakemake (``wsss.dag.Plan``); a test holds the two together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.content import file_content, tree_content
from wsss.fingerprint import ROOT, fingerprint
from wsss.settings import DatasetSettings, explained_by
from wsss.sources import tables, trees


def identity(stage: str, settings: Any, seed: int) -> dict[str, str]:
    """What a manifest holds: ``code`` and ``content``, each where it can be told."""
    found = {"code": code_of(stage, settings), "content": content_of(settings, seed)}
    return {key: value for key, value in found.items() if value is not None}


def code_of(stage: str, settings: Any, root: Path = ROOT) -> str | None:
    """Sixteen hex digits for the program of a stage and what it reaches, the module that its settings name included.

    ``settings`` as for ``named_modules``; ``root`` is the checkout. None where the checkout has no such program.
    """
    extra = named_modules(stage, settings)
    try:
        return fingerprint(root / "stages" / f"{stage}.py", root, extra)
    except FileNotFoundError:
        return None


def named_modules(stage: str, settings: Any) -> tuple[str, ...]:
    """The modules that a stage looks up by the names in its settings: hashes of code cannot see them.

    ``settings`` needs ``kind`` (index), ``objective`` (classifier, saliency) or ``explainer`` with its options
    (explanation; cams, where it was not there from the beginning), nothing else.
    """
    if stage == "index":
        return (f"wsss.data.{settings.kind}",)
    if stage in ("classifier", "saliency"):
        return (f"wsss.objectives.{settings.objective.replace('-', '_')}",)
    if stage == "explanation" or stage == "cams" and getattr(settings, "explainer", "cam") != "cam":
        return explained_by(settings.explainer, settings.explainer_options)
    return ()


def content_of(settings: Any, seed: int) -> str | None:
    """What the user's own files hold that typed settings name: the tables and folders of a dataset, pretrained weights,
    maps or masks made elsewhere. Paths are relative to the working directory. None where no file is named."""
    if isinstance(settings, DatasetSettings):
        contents = [*map(file_content, tables(settings)), *map(tree_content, trees(settings))]
        return " ".join(["files", *contents]) if contents else None
    if isinstance(weights := getattr(settings, "pretrained", None), str):
        return f"weights {file_content(weights)}"
    if getattr(settings, "source", None) == "external":
        path = settings.path.replace("{seed}", str(seed))
        return "elsewhere " + (file_content(path) if Path(path).is_file() else tree_content(path))
    return None
