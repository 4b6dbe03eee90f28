"""What all settings share: strict reading, and the types of numbers, shares and lists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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


@dataclass(frozen=True)
class Ref:
    """Marks a field that holds the name of another recipe; ``kind`` is the block that the name must stand in."""

    kind: str


Number = Annotated[float, BeforeValidator(as_number)]
Fraction = Annotated[float, BeforeValidator(as_number), Field(ge=0, le=1)]
NonNegative = Annotated[float, BeforeValidator(as_number), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(as_number), Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Scales = Annotated[tuple[Annotated[float, BeforeValidator(as_number), Field(gt=0, le=4)], ...], Field(min_length=1)]
Augmentation = Literal["colour-jitter", "randaugment"]
Augment = Annotated[tuple[Augmentation, ...], BeforeValidator(as_list)]
Recolouring = Annotated[tuple[Literal["colour-jitter"], ...], BeforeValidator(as_list)]
"""Augmentation that leaves every pixel where it is: what trainings on masks or hints can have."""
Split = Literal["train", "val"]
Splits = Annotated[tuple[Split, ...], BeforeValidator(as_list), Field(min_length=1)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Log = Literal["tensorboard", "mlflow"]


WITHOUT_EFFECT = frozenset({"shards", "processes", "log"})
"""Fields that say how the work is spread or watched and not what comes out of it: they stand in no canonical string and
in no manifest, so a change re-runs nothing."""


class Settings(BaseModel):
    """Base of all settings: strict, frozen, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, use_attribute_docstrings=True
    )

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that came later than artefacts that are worth keeping: at their defaults they stand in no canonical
    string, so that their coming changes none."""

    @classmethod
    def read(cls, values: dict[str, Any]) -> Any:
        """Build from plain YAML or JSON values. Raises ``pydantic.ValidationError``."""
        return cls.model_validate_json(json.dumps(values, default=str), strict=True)

    def canonical(self, exclude: set[str] | None = None) -> str:
        """One JSON string, keys sorted, defaults filled in (but those of ``LATER``): equal settings give equal
        strings."""
        unused = {name for name in self.LATER if getattr(self, name) == type(self).model_fields[name].default}
        left_out = unused | WITHOUT_EFFECT | (exclude or set())
        return json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True, ensure_ascii=False)


class ScatteredSettings(Settings):
    """What every stage has whose images may be shared out between jobs."""

    shards: Annotated[int, Field(ge=1, le=4096)] = 1
    """Jobs that share the images, and one more then puts their shares together; 1: one job does it all. The result
    does not depend on it, and a change re-runs nothing that is made."""
