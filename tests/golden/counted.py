"""Which settings count in the identities of artefacts, on record with the versions of what reads them.

A setting that comes new without ``Neutral(...)`` changes the identity of every artefact of its stages: all users would
make their results anew, with or without a change of what is computed. So it declares the value with which a stage does
what it did before, or somebody says by a VERSION that results change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, get_args

from tests.golden.programs import program, stages
from tests.golden.records import SETTINGS, VALUES, note, write_record
from wsss.provenance.versions import versions
from wsss.settings import Settings, classes_of
from wsss.settings.renamed import RENAMED
from wsss.steps import STEPS

FILE = VALUES / f"{SETTINGS}.json"
MASKS = {"masks": "x"}
"""What a segmenter cannot do without, by default."""
CLASSIFIER = {"classifier": "x"}
"""The same of explanations."""
Entry = dict[str, Any]


def minimal(cls: type[Settings]) -> Settings:
    """Settings by default, with a name or a number for every field that has none."""
    values = {name: _sample(field.annotation) for name, field in cls.model_fields.items() if field.is_required()}
    if "gt_masks" in cls.model_fields and "supervision" in cls.model_fields:
        values |= MASKS
    if "classifier" in cls.model_fields and "segmenter" in cls.model_fields:
        values |= CLASSIFIER
    found: Settings = cls.read(values)
    return found


def _sample(annotation: Any) -> Any:
    if annotation in (str, float):
        return "x" if annotation is str else 0.5
    return ["a", "b"]


def keys_of(settings: Settings, exclude: Set[str] = frozenset()) -> list[str]:
    """Names of the fields that count for these settings, and with dots those of settings within, also where a field is
    null by default."""
    found = []
    for name in settings.counted(exclude):
        found.append(name)
        fields = type(settings).model_fields
        for cls in _within(fields[name if name in fields else RENAMED[name]].annotation):
            found += [f"{name}.{key}" for key in keys_of(minimal(cls))]
    return sorted(found)


def _within(annotation: Any) -> Iterator[type[Settings]]:
    """The settings classes that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for part in get_args(annotation):
        yield from _within(part)


def entry(stage: str, settings: Settings) -> Entry:
    """What is on record of settings that a stage reads."""
    without = STEPS[stage].without if stage in STEPS else frozenset()
    return {"versions": versions(stage, settings), "keys": keys_of(settings, without)}


def current() -> dict[str, Entry]:
    """The entries of all settings of all stages: ``classifier vanilla`` and so on."""
    found = {}
    for stage in stages():
        union = program(stage)[0].settings
        for variant, cls in classes_of(union)[1].items() if union is not None else ():
            found[f"{stage} {variant}".strip()] = entry(stage, minimal(cls))
    return found


def on_record() -> dict[str, Any]:
    """The file as it is: ``entries`` and ``notes``."""
    return json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {"entries": {}, "notes": []}


def complaint(name: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    """What is wrong with settings beside their record, and what to do; None where nothing is."""
    record = "`python -m tests.golden --record settings`"
    if was is None or now is None:
        return f"settings of {name} are {'new' if was is None else 'gone'}: record that ({record})"
    new, gone = (sorted(set(a) - set(b)) for a, b in ((now["keys"], was["keys"]), (was["keys"], now["keys"])))
    if now["versions"] != was["versions"]:
        return f"VERSION of what reads the settings of {name} was raised: record it ({record})"
    if new:
        return (
            f"{', '.join(new)} of {name} came new without a neutral value, so every artefact of the stage gets another "
            "identity and is made anew: declare `Annotated[T, Neutral(value)]` with the value at which a stage does "
            f"what it did before, or raise VERSION of one of {', '.join(now['versions'])} and record ({record})"
        )
    if gone:
        return (
            f"{', '.join(gone)} of {name} no longer count, so every artefact of the stage gets another identity: raise "
            f"VERSION of one of {', '.join(now['versions'])} to say that this is meant, and record ({record})"
        )
    return None


def record_settings(path: Path, explain: str | None = None, only_versions: bool = False) -> tuple[list[str], list[str]]:
    """Put settings on record; the names of those that changed, and what is wrong with the others.

    ``only_versions``: leave alone what has other keys; what was recorded of a case raises the versions here as well.
    """
    was, now = on_record(), current()
    written, refused, entries = [], [], dict(was["entries"])
    for name in sorted(was["entries"].keys() | now.keys()):
        before, after = was["entries"].get(name), now.get(name)
        said = complaint(name, before, after)
        same = before is not None and after is not None and before["versions"] == after["versions"]
        other = before is None or after is None or before["keys"] != after["keys"]
        if said is None or (only_versions and other):
            continue
        if same and not explain:
            refused.append(said)
            continue
        entries.pop(name, None)
        entries |= {} if after is None else {name: after}
        written.append(name)
    notes = was["notes"] + ([note(explain)] if explain and written else [])
    if written:
        write_record(path, {"entries": dict(sorted(entries.items())), "notes": notes})
    return written, refused
