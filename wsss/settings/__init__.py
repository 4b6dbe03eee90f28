"""Typed settings of every stage: defaults, units, ranges, meaning.

A *recipe* is one named block of ``config.yaml``; the class that reads it stands in this package, one per kind of stage.
Nothing here imports torch, so the workflow can read settings while it is parsed, and nothing here computes: settings
act through their values alone.

How values are read: strictly. ``epochs: "3"`` is refused, and so is an unknown key. The one kindness is for
numbers: YAML 1.1 takes ``1e-4`` for a string (it wants ``1.0e-4``), so a string that is a number is read as one
wherever a fraction or a rate is expected.
"""

from __future__ import annotations

from typing import Any, get_args

from wsss.settings.affinity import AffinityLabelSettings, AffinitySettings
from wsss.settings.audits import AuditSettings, AuditWeights, Softening
from wsss.settings.base import (
    WITHOUT_EFFECT,
    Augment,
    Augmentation,
    Count,
    Fraction,
    Log,
    NonNegative,
    Number,
    Positive,
    Precision,
    Ref,
    Scales,
    ScatteredSettings,
    Settings,
    Split,
    Splits,
)
from wsss.settings.cams import Cams, CamsSettings, EnsembleSettings, ExternalCamsSettings, WalkSettings
from wsss.settings.classifiers import (
    Classifier,
    ClassifierSettings,
    ErasingSettings,
    GuidedSettings,
    OcCseSettings,
    PNocSettings,
    POcSettings,
    PuzzleSettings,
    TiledSettings,
    VanillaSettings,
)
from wsss.settings.datasets import CocoSettings, Dataset, DatasetSettings, FolderSettings, ScenesSettings, VocSettings
from wsss.settings.explaining import ExplainedSettings, ExplanationSettings, explained_by, explainers
from wsss.settings.masks import (
    CRF_PRESETS,
    Crf,
    CrfSettings,
    ExternalMasksSettings,
    IgnoreBand,
    InferenceSettings,
    Masks,
    MasksSettings,
    SegmenterMasksSettings,
    Threshold,
    VoteSettings,
)
from wsss.settings.run import AblationSettings, EvaluationSettings, WorkstationSettings
from wsss.settings.saliency import (
    C2amHSettings,
    C2amSettings,
    ContrastSettings,
    Saliency,
    SaliencyMapSettings,
    SaliencyMaskSettings,
    SaliencyNetSettings,
    SaliencySettings,
)
from wsss.settings.segmenters import PredictSettings, SegmenterSettings
from wsss.settings.training import NetworkSettings, Ramp, TrainingSettings

__all__ = [
    "AblationSettings",
    "AffinityLabelSettings",
    "AffinitySettings",
    "AuditSettings",
    "AuditWeights",
    "Augment",
    "Augmentation",
    "C2amHSettings",
    "C2amSettings",
    "CRF_PRESETS",
    "Cams",
    "CamsSettings",
    "Classifier",
    "ClassifierSettings",
    "CocoSettings",
    "ContrastSettings",
    "Count",
    "Crf",
    "CrfSettings",
    "Dataset",
    "DatasetSettings",
    "EnsembleSettings",
    "ErasingSettings",
    "EvaluationSettings",
    "ExplainedSettings",
    "ExplanationSettings",
    "ExternalCamsSettings",
    "ExternalMasksSettings",
    "FolderSettings",
    "Fraction",
    "GuidedSettings",
    "IgnoreBand",
    "InferenceSettings",
    "KINDS",
    "Log",
    "Masks",
    "MasksSettings",
    "NetworkSettings",
    "NonNegative",
    "Number",
    "OcCseSettings",
    "PNocSettings",
    "POcSettings",
    "Positive",
    "Precision",
    "PredictSettings",
    "PuzzleSettings",
    "Ramp",
    "Ref",
    "Saliency",
    "SaliencyMapSettings",
    "SaliencyMaskSettings",
    "SaliencyNetSettings",
    "SaliencySettings",
    "Scales",
    "ScatteredSettings",
    "ScenesSettings",
    "SegmenterMasksSettings",
    "SegmenterSettings",
    "Settings",
    "Softening",
    "Split",
    "Splits",
    "Threshold",
    "TiledSettings",
    "TrainingSettings",
    "VanillaSettings",
    "VocSettings",
    "VoteSettings",
    "WITHOUT_EFFECT",
    "WalkSettings",
    "WorkstationSettings",
    "classes_of",
    "default_variant",
    "explained_by",
    "explainers",
    "variants",
]

KINDS: dict[str, Any] = {
    "datasets": Dataset,
    "classifiers": Classifier,
    "cams": Cams,
    "saliency": Saliency,
    "affinity": AffinitySettings,
    "masks": Masks,
    "segmenters": SegmenterSettings,
    "explanations": ExplanationSettings,
    "audits": AuditSettings,
}
"""Blocks of named recipes in the order of the chain, and what reads each."""


def classes_of(annotation: Any) -> tuple[str | None, dict[str, type[Settings]]]:
    """The settings classes of a union by the value of the key that chooses between them, and that key.

    A plain class gives ``(None, {"": cls})``.
    """
    if isinstance(annotation, type):
        return None, {"": annotation}
    union, field = get_args(annotation)[:2]
    key = field.discriminator
    return key, {get_args(cls.model_fields[key].annotation)[0]: cls for cls in get_args(union)}


def default_variant(annotation: Any) -> str | None:
    """The variant that is meant where the key that chooses is left out: a union's first class, if that key has a
    default there and nowhere decides what is trained (``source``, but not ``objective`` or ``kind``)."""
    key, classes = classes_of(annotation)
    return next(iter(classes)) if key == "source" else None


def variants(kind: str) -> dict[str, type[Settings]]:
    """The settings classes of a kind by the value of their discriminator (``{"": cls}`` where there is only one)."""
    return classes_of(KINDS[kind])[1]
