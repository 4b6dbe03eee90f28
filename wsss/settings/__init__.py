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
    Neutral,
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
    Storage,
    StoredMasksSettings,
)
from wsss.settings.cams import (
    Cams,
    CamsSettings,
    EnsembleSettings,
    ExternalCamsSettings,
    FeatureWalkSettings,
    WalkSettings,
)
from wsss.settings.classifiers import (
    Classifier,
    ClassifierSettings,
    ErasingSettings,
    GuidedSettings,
    LinearSettings,
    OcCseSettings,
    PNocSettings,
    POcSettings,
    PuzzleSettings,
    TiledSettings,
    VanillaSettings,
)
from wsss.settings.datasets import CocoSettings, Dataset, DatasetSettings, FolderSettings, ScenesSettings, VocSettings
from wsss.settings.explaining import ExplainedSettings, ExplanationSettings, explained_by, explainers
from wsss.settings.features import FeatureSettings
from wsss.settings.masks import (
    CRF_PRESETS,
    ChoiceSettings,
    Crf,
    CrfSettings,
    ExternalMasksSettings,
    IgnoreBand,
    InferenceSettings,
    Masks,
    MasksSettings,
    RegionMasksSettings,
    SegmenterMasksSettings,
    Threshold,
    VoteSettings,
)
from wsss.settings.memories import MemorySettings
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
    TokenCutSettings,
)
from wsss.settings.searches import FITNESS, SearchBudget, SearchSettings, SearchSpace
from wsss.settings.segmenters import (
    OF_SEARCH,
    ContinualSettings,
    CoTrainingSettings,
    EarlyLearningSettings,
    EmaTeacherSettings,
    PredictSettings,
    SegmentationSettings,
    Segmenter,
    SegmenterSettings,
)
from wsss.settings.text import BACKGROUNDS, TextCamsSettings
from wsss.settings.training import NetworkSettings, Ramp, TrainingSettings

__all__ = [
    "AblationSettings",
    "AffinityLabelSettings",
    "AffinitySettings",
    "AuditSettings",
    "AuditWeights",
    "Augment",
    "Augmentation",
    "BACKGROUNDS",
    "C2amHSettings",
    "C2amSettings",
    "CRF_PRESETS",
    "Cams",
    "CamsSettings",
    "ChoiceSettings",
    "Classifier",
    "ClassifierSettings",
    "CoTrainingSettings",
    "CocoSettings",
    "ContinualSettings",
    "ContrastSettings",
    "Count",
    "Crf",
    "CrfSettings",
    "Dataset",
    "DatasetSettings",
    "EarlyLearningSettings",
    "EmaTeacherSettings",
    "EnsembleSettings",
    "ErasingSettings",
    "EvaluationSettings",
    "ExplainedSettings",
    "ExplanationSettings",
    "ExternalCamsSettings",
    "ExternalMasksSettings",
    "FITNESS",
    "FeatureSettings",
    "FeatureWalkSettings",
    "FolderSettings",
    "Fraction",
    "GuidedSettings",
    "IgnoreBand",
    "InferenceSettings",
    "KINDS",
    "LinearSettings",
    "Log",
    "Masks",
    "MasksSettings",
    "MemorySettings",
    "NetworkSettings",
    "Neutral",
    "NonNegative",
    "Number",
    "OF_SEARCH",
    "OcCseSettings",
    "PNocSettings",
    "POcSettings",
    "Positive",
    "Precision",
    "PredictSettings",
    "PuzzleSettings",
    "Ramp",
    "Ref",
    "RegionMasksSettings",
    "Saliency",
    "SaliencyMapSettings",
    "SaliencyMaskSettings",
    "SaliencyNetSettings",
    "SaliencySettings",
    "Scales",
    "ScatteredSettings",
    "ScenesSettings",
    "SearchBudget",
    "SearchSettings",
    "SearchSpace",
    "SegmentationSettings",
    "Segmenter",
    "SegmenterMasksSettings",
    "SegmenterSettings",
    "Settings",
    "Softening",
    "Split",
    "Splits",
    "Storage",
    "StoredMasksSettings",
    "TextCamsSettings",
    "Threshold",
    "TiledSettings",
    "TokenCutSettings",
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
    "segmenters": Segmenter,
    "explanations": ExplanationSettings,
    "memories": MemorySettings,
    "audits": AuditSettings,
    "searches": SearchSettings,
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
    return key, {get_args(cls.model_fields[key].annotation)[0]: cls for cls in get_args(union) or (union,)}


def default_variant(annotation: Any) -> str | None:
    """The variant that is meant where the key that chooses is left out: a union's first class where that key is
    ``source``, and the class that declares its value of the key neutral, since it came before there was a choice; None
    where the choice decides what is trained (``objective`` of classifiers) or read (``kind``)."""
    key, classes = classes_of(annotation)
    if key is None or key == "source":
        return None if key is None else next(iter(classes))
    marks = {name: cls.model_fields[key].metadata for name, cls in classes.items()}
    return next((name for name, found in marks.items() if any(isinstance(m, Neutral) for m in found)), None)


def variants(kind: str) -> dict[str, type[Settings]]:
    """The settings classes of a kind by the value of their discriminator (``{"": cls}`` where there is only one)."""
    return classes_of(KINDS[kind])[1]
