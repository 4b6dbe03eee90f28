"""Declared versions: which edition of a stage, a method and its kernels a result was made with.

Every program in ``stages/`` and every objective, explainer, kind of dataset and kernel has a line ``VERSION = 3``. It
is raised when results change, and for no other reason: ``tests/golden`` fails where values move and the number does
not. Results therefore outlive edits and upgrades that change nothing.

A file without such a line is the user's own (``docs/tutorials/objective.md``), and counts by its content.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from wsss.provenance.files import file_content
from wsss.settings import Settings, explained_by

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: stages put it first on the path, so this is the code that runs."""
_LINE = re.compile(r"^VERSION = (\d+)$", re.MULTILINE)
KERNELS = {
    "training": "wsss.training.engine",
    "inference": "wsss.inference.batches",
    "dense CRF": "wsss.refine.crf",
    "random walk": "wsss.refine.random_walk",
    "feature walk": "wsss.refine.feature_walk",
    "region merge": "wsss.refine.regions",
    "text maps": "wsss.inference.text_cams",
    "words": "wsss.inference.words",
    "attention affinity": "wsss.refine.attention_affinity",
    "affinities": "wsss.refine.affinities",
    "dilated ResNeSt": "wsss.models.resnest",
    "input statistics": "wsss.models.input_statistics",
    "PoolNet": "wsss.models.poolnet",
    "cut": "wsss.models.token_cut",
    "exemplars": "wsss.beyond.memory",
    "attack": "wsss.beyond.attack",
}
"""What several stages compute with -> the module that declares its version."""
_ALWAYS = {
    "classifier": ("training",),
    "saliency": ("training",),
    "affinity": ("training", "affinities"),
    "segmenter": ("training",),
    "cams": ("inference",),
    "saliency_maps": ("inference",),
    "predictions": ("inference",),
    "segmenter_masks": ("inference",),
    "explanation": ("inference",),
    "memory": ("exemplars",),
    "audit": ("attack",),
    "walk": ("inference", "affinities", "random walk"),
    "feature_walk": ("inference", "random walk", "feature walk"),
    "regions": ("region merge",),
    "text_cams": ("text maps", "words", "attention affinity"),
}
"""Stage -> kernels that it always uses; whether it uses the dense CRF stands in its settings."""
OF_IMAGENET = re.compile(
    r"(resnet(10t|14t|18|26|34|50|101|152)d?|resnest(14|26|50|101|200|269)[de]|mobilenetv2_\w+|wide_resnet38d"
    r"|efficientnet_b[0234]|convnext_(tiny|small|base))"
)
"""Backbones whose weights were surely trained with ImageNet's statistics, so that nothing is changed in them. timm
would know of the others, too, but is not imported where the workflow is parsed."""
_OBJECTIVES = {"affinity": "affinity"}
"""Stage -> its objective, where the settings cannot name one."""


def declaring(stage: str, settings: Any) -> dict[str, str]:
    """What is versioned in a run of a stage -> the file that declares it, relative to the checkout.

    ``settings``: typed settings, or anything with the fields that choose a method; None for a stage without any.
    """
    found = {stage: f"stages/{stage}.py"}
    found |= {name: _file(KERNELS[name]) for name in _ALWAYS.get(stage, ())}
    if str(getattr(settings, "backbone", "")).startswith("resnest") and settings.output_stride < 32:
        found["dilated ResNeSt"] = _file(KERNELS["dilated ResNeSt"])
    if getattr(settings, "pretrained", False) is not False and not OF_IMAGENET.fullmatch(settings.backbone):
        found["input statistics"] = _file(KERNELS["input statistics"])
    if stage == "saliency" and getattr(settings, "architecture", None) == "poolnet":
        found["PoolNet"] = _file(KERNELS["PoolNet"])
    if stage == "saliency" and settings.objective == "token-cut":
        found["cut"] = _file(KERNELS["cut"])
    if getattr(settings, "crf", None) is not None:
        found["dense CRF"] = _file(KERNELS["dense CRF"])
    if stage == "index":
        found[f"dataset {settings.kind}"] = _file(f"wsss.data.kinds.{settings.kind}")
    if objective := getattr(settings, "objective", _OBJECTIVES.get(stage)):
        found[f"objective {objective}"] = _file(f"wsss.objectives.{objective.replace('-', '_')}")
    if stage == "segmenter" and getattr(settings, "tags", None):
        found["objective tagged-segmentation"] = _file("wsss.objectives.tagged_segmentation")
    if type(settings).__module__.startswith("wsss.settings.own."):
        found[f"settings of {objective}"] = _file(type(settings).__module__)
    explains = stage in ("explanation", "audit", "search") or stage == "memory" and settings.explains
    if explains or stage == "cams" and getattr(settings, "explainer", "cam") != "cam":
        for module in explained_by(settings.explainer, settings.explainer_options):
            found[f"explainer {module.rpartition('.')[2].replace('_', '-')}"] = _file(module)
    return found


def versions(stage: str, settings: Settings | Any, root: Path = ROOT) -> dict[str, int | str]:
    """What is versioned in a run of a stage -> its version; the content's hash of a file that declares none, and
    nothing for a file that is not there."""
    files = {name: root / file for name, file in declaring(stage, settings).items()}
    return {name: version for name, file in files.items() if (version := declared(file)) is not None}


@cache
def declared(file: Path) -> int | str | None:
    """The version that a file declares, or the hash of its content where it declares none; None without a file."""
    if not file.is_file():
        return None
    found = _LINE.search(file.read_text(encoding="utf-8"))
    return int(found[1]) if found else file_content(str(file))


def _file(module: str) -> str:
    return f"{module.replace('.', '/')}.py"
