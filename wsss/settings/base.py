"""What all settings share: strict reading, and the types of numbers, shares and lists."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wsss.settings.renamed import FORMER


def as_number(value: Any) -> Any:
    """Read ``"1e-4"`` as 0.0001; leave everything else to the strict check."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write it like 0.001 or 1.0e-3") from None
    return value


def as_tuple(value: Any) -> Any:
    """Lists become tuples: what a validator returns is checked as Python, where a strict tuple is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_list(value: Any) -> Any:
    """Let one name stand for a list of one name."""
    return (value,) if isinstance(value, str) else as_tuple(value)


Names = Annotated[tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...])]
"""A list of names, or one."""


@dataclass(frozen=True)
class Ref:
    """Marks a field that holds the name of another recipe; ``kind`` is the block that the name must stand in."""

    kind: str


@dataclass(frozen=True)
class Neutral:
    """Marks a field that came after results that are worth keeping. With ``value`` a stage does what it did before
    there was the field, which then is no part of an artefact's identity: its coming makes no result stale."""

    value: Any


Number = Annotated[float, BeforeValidator(as_number)]
Fraction = Annotated[float, BeforeValidator(as_number), Field(ge=0, le=1)]
NonNegative = Annotated[float, BeforeValidator(as_number), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(as_number), Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, BeforeValidator(as_number), Field(gt=0, le=4)], ...], Field(min_length=1)]
Augmentation = Literal["colour-jitter", "randaugment", "strong-jitter", "grey", "blur", "cutout"]
Augment = Annotated[tuple[Augmentation, ...], BeforeValidator(as_list)]
MaskAugmentation = Literal["colour-jitter", "strong-jitter", "grey", "blur", "cutout"]
MaskAugment = Annotated[tuple[MaskAugmentation, ...], BeforeValidator(as_list)]
"""Augmentation that leaves every pixel where it is, or out of the mask: what trainings on masks can have."""
Recolour = Literal["colour-jitter", "strong-jitter", "grey", "blur"]
Recolouring = Annotated[tuple[Recolour, ...], BeforeValidator(as_list)]
"""Augmentation that leaves every pixel where it is: what trainings on hints, or on few masks, can have."""
Split = Literal["train", "val"]
Splits = Annotated[tuple[Split, ...], BeforeValidator(as_list), Field(min_length=1)]
Veto = Annotated[Literal["tags"] | None, Neutral(None)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Log = Literal["tensorboard", "mlflow"]
Storage = Literal["png", "packed"]


WITHOUT_EFFECT = frozenset({"shards", "processes", "nodes", "stage_to", "log", "keep", "storage"})
"""Fields that say how the work is spread, watched or stored and not what comes out of it: they stand in no canonical
string and in no manifest, so a change re-runs nothing."""


class Settings(BaseModel):
    """Base of all settings: strict, frozen, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
        defer_build=True,  # a program reads one or two of a hundred classes
    )

    @classmethod
    def model_rebuild(cls, *, _parent_namespace_depth: int = 2, **options: Any) -> bool | None:
        """As pydantic has it. A Ctrl-C waits until the class is built: within pydantic it would end as an error of the
        class."""
        from wsss.system.workers import signals_held

        with signals_held():
            return super().model_rebuild(_parent_namespace_depth=_parent_namespace_depth + 1, **options)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Any:
        """Build from plain YAML or JSON values. Raises ``pydantic.ValidationError``."""
        return cls.model_validate_json(json.dumps(values, default=str), strict=True)

    def canonical(self, exclude: set[str] | None = None) -> str:
        """One JSON string, keys sorted, defaults filled in: what a stage is started with."""
        plain = self.model_dump(mode="json", exclude={*WITHOUT_EFFECT, *(exclude or ())})
        return json.dumps(plain, sort_keys=True, ensure_ascii=False)

    def counted(self, exclude: Set[str] = frozenset()) -> dict[str, Any]:
        """What of the settings is part of an artefact's identity, as plain values: all but ``exclude``, fields without
        effect, and fields that have the value that they declare neutral. Renamed fields have their former names."""
        plain = self.model_dump(mode="json", exclude={*WITHOUT_EFFECT, *exclude})
        for name in list(plain):
            value = getattr(self, name)
            marks = [mark for mark in type(self).model_fields[name].metadata if isinstance(mark, Neutral)]
            if any(type(mark.value) is type(value) and mark.value == value for mark in marks):
                del plain[name]
                continue
            plain[FORMER.get(name, name)] = value.counted() if isinstance(value, Settings) else plain[name]
            if name in FORMER:
                del plain[name]
        return plain


class ScatteredSettings(Settings):
    """What every stage has whose images may be shared out between jobs."""

    shards: Annotated[int, Field(ge=1, le=4096)] = 1
    """Jobs that share the images, and one more then puts their shares together; 1: one job does it all. The result
    does not depend on it, and a change re-runs nothing that is made."""
    keep: bool = True
    """``false``: the files are deleted once all that reads them is made; the manifest stays, and so what follows is not
    made again. Should something need them later, they are made again first."""


class StoredMasksSettings(Settings):
    """What every stage has that writes a mask for each image."""

    storage: Storage = "png"
    """``png``: each mask is a file of its own, which any viewer opens; ``packed``: the same files, 1,024 in a ZIP file,
    where a quota counts files. What a mask is does not depend on it, and a change re-runs nothing that is made."""
