"""For every key of every settings class another value that is valid too, derived from the key's type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from wsss.config.loader import BLOCKS, Config, load
from wsss.errors import WsssError
from wsss.settings import KINDS, Settings, classes_of
from wsss.settings.fields import block, hints, marks, options, reference

Raw = dict[str, Any]
TOGETHER: dict[str, list[Raw]] = {
    "TrainingSettings.nodes": [{"processes": 2, "nodes": 2}],
    "TrainingSettings.stage_to": [{"stage_to": "$TMPDIR"}],
    "SegmenterSettings.supervision": [{"supervision": "masks", "masks": None}],
    "SegmentationSettings.classifier": [{"supervision": "classifier", "classifier": "guided", "masks": None}],
    "SegmentationSettings.tags": [{"supervision": "masks", "masks": None, "tags": 0.5}],
    "SegmentationSettings.masked_share": [{"supervision": "masks", "masks": None, "tags": 0.5, "masked_share": 0.25}],
    "SegmenterSettings.gt_masks": [{"supervision": "masks", "masks": None, "gt_masks": 5}],
    "ExplainedSettings.explainer": [{"explainer": "grad-cam"}],
    "ExplainedSettings.explainer_options": [{"explainer": "smooth-grad", "explainer_options": {"n": 3}}],
    "MemorySettings.explainer": [{"explainer": "gradient"}],
    "MemorySettings.classes": [{"classes": ["cat"]}],
    "AuditSettings.explainer": [{"explainer": "hires-cam"}],
    "AuditSettings.explainer_options": [{"explainer": "smooth-grad", "explainer_options": {"n": 3}}],
    "SegmenterSettings.decoder_channels": [{"decoder_channels": 64}],
    "SearchSettings.explainer_options": [{"explainer": "smooth-grad", "explainer_options": {"n": 3}}],
    "SearchSettings.space.backbone": [{"backbone": {"resnet10t": False}}],
    "SearchSettings.space.width": [{"width": [64]}],
    "FeatureSettings.features": [{"features": "patches", "warm_start": None}],
    "TokenCutSettings.features": [{"features": "patches", "warm_start": None}],
    "TextCamsSettings.templates": [{"templates": ["a photo of a {}."]}],
    "TextCamsSettings.synonyms": [{"synonyms": {"cat": ["cat", "feline"]}}],
    "TextCamsSettings.background": [{"background": ["sky"]}],
    "TextCamsSettings.short_side": [{"short_side": 448}],
    "ExplanationSettings.at": [{"region": "pixel", "at": [0.5, 0.5]}],
    "ExplanationSettings.classes": [{"classes": ["cat"]}],
    "GuidedSettings.guidance_layer": [{"guidance_layer": "input", "batch_norm": "fixed"}],
    "ClassifierSettings.features": [{"features": "centred", "warm_start": "centred"}],
    "LinearSettings.features": [{"features": "centred", "warm_start": None}],
    "ClassifierSettings.kur_alpha": [{"head": "kur", "kur_alpha": 2.0}],
}
"""Class and key -> what to put into the block, where no other value fits without another key's."""


@dataclass(frozen=True)
class Case:
    """One key of one recipe, or of a block like ``evaluation``, and a configuration in which that key differs."""

    kind: str
    name: str | None
    path: tuple[str, ...]
    raw: Raw
    config: Config


def spelled_out(raw: Raw) -> Raw:
    """The same configuration with every key of every recipe and block written down."""
    config = load(raw)
    recipes = {
        kind: {name: settings.model_dump(mode="json") for name, settings in config.recipes[kind].items()}
        for kind in KINDS
    }
    blocks = {key: getattr(config, key).model_dump(mode="json") for key in BLOCKS}
    return {
        "dataset": list(config.dataset),
        "seeds": list(config.seeds),
        "results": config.results,
        **recipes,
        **blocks,
    }


def key_of(cls: type[Settings], path: tuple[str, ...]) -> str:
    """``Class.key`` or ``Class.block.key``, with the class that a recipe's class has the key (or the block) from."""
    owner = next(base for base in cls.__mro__ if path[0] in vars(base).get("__annotations__", ()))
    return ".".join((owner.__name__, *path))


def cases(raw: Raw, kinds: tuple[str, ...]) -> dict[str, Case]:
    """A case for each key of these kinds of recipes or blocks, where another value fits there: for the first recipe
    in which one does. A key that several classes inherit is one."""
    found: dict[str, Case] = {}
    raw = spelled_out(raw)
    config = load(raw)
    for kind in kinds:
        recipes = config.recipes[kind] if kind in KINDS else {None: getattr(config, kind)}
        for name, settings in recipes.items():
            at = tuple(filter(None, (kind, name)))
            for path, annotation, value in fields(settings):
                key = key_of(type(settings), path)
                if f"{kind}: {key}" in found:
                    continue
                if kind in KINDS and path == (classes_of(KINDS[kind])[0],):
                    # what chooses the class: the recipe becomes what another one is
                    candidates = [(at[:1], {name: raw[kind][other]}) for other in recipes if other != name]
                else:
                    updates = [{path[-1]: other} for other in others(annotation, value, config, name)]
                    updates += TOGETHER.get(key, [])
                    candidates = [((*at, *path[:-1]), update) for update in updates]
                for candidate in candidates:
                    made = put(raw, *candidate)
                    if (read := other_than(config, made, kind, name)) is not None:
                        found[f"{kind}: {key}"] = Case(kind, name, path, made, read)
                        break
    return found


def keys_of(kinds: tuple[str, ...]) -> set[str]:
    """The names of the cases that ``cases`` should find: all that recipes and blocks of these kinds can have, where
    more than one value is possible."""
    found: set[str] = set()

    def add(kind: str, cls: type[Settings], path: tuple[str, ...], held: type[Settings]) -> None:
        for name, annotation in hints(held).items():
            inner = block(annotation)
            if inner is not None:
                add(kind, cls, (*path, name), inner)
            if not is_fixed(annotation) and (inner is None or may_be_null(annotation)):
                found.add(f"{kind}: {key_of(cls, (*path, name))}")

    for kind in kinds:
        key, classes = classes_of(KINDS[kind]) if kind in KINDS else (None, {"": BLOCKS[kind]})
        for cls in classes.values():
            add(kind, cls, (), cls)
            found |= {f"{kind}: {key_of(cls, (key,))}"} if key else set()
    return found


def fields(settings: Settings) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Every key of a block and of the blocks in it: path, annotation, value."""
    for name, annotation in hints(type(settings)).items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            for path, inner, held in fields(value):
                yield (name, *path), inner, held
        if block(annotation) is None or may_be_null(annotation):
            yield (name,), annotation, value


def put(raw: Raw, at: tuple[str, ...], update: Raw) -> Raw:
    """The configuration with some keys of the block at a path replaced. What does not change is shared: copies of all
    of it, for each of hundreds of keys, took longer than to read them."""
    made = dict(raw)
    inner = made
    for part in at:
        inner[part] = dict(inner[part])
        inner = inner[part]
    inner.update(update)
    return made


def other_than(config: Config, raw: Raw, kind: str, name: str | None) -> Config | None:
    """What a configuration is read as; None where it is not valid, or no other than ``config`` in this recipe or
    block."""
    try:
        read = load(raw)
    except WsssError:
        return None
    if kind in KINDS:
        return read if read.recipes[kind][name] != config.recipes[kind][name] else None
    return read if getattr(read, kind) != getattr(config, kind) else None


def others(annotation: Any, value: Any, config: Config, name: str | None) -> Iterator[Any]:
    """Values that a key may have in place of its own; not all of them fit the keys beside it."""
    if (kind := reference(annotation)) is not None:
        known = [other for other in config.recipes[kind] if other not in (name, value)]
        if isinstance(value, tuple):
            yield from (list(reversed(value)), *([*value[:-1], other] for other in known))
        else:
            yield from known
    elif isinstance(value, tuple):
        yield list(reversed(value))
        yield list(value[:-1])
        inner = get_args(marks(next(o for o in options(annotation) if get_origin(marks(o)[0]) is tuple))[0])
        for n, one in enumerate(value):
            element = inner[0] if inner[-1] is Ellipsis else inner[n]
            yield from ([*value[:n], other, *value[n + 1 :]] for other in others(element, one, config, name))
        if not value:
            yield from ([other] for other in others(inner[0], None, config, name))
    else:
        for option in options(annotation):
            yield from other_scalars(marks(option)[0], value)
    if may_be_null(annotation) and value is not None:
        yield None


def other_scalars(bare: Any, value: Any) -> Iterator[Any]:
    """Other values of one plain type."""
    if get_origin(bare) is Literal:
        yield from get_args(bare)
    elif bare is bool:
        yield not value
    elif bare in (int, float):
        near = value if isinstance(value, int | float) else 1
        yield from (bare(n) for n in (near + 1, near - 1, 2 * near, near // 2))
        if bare is float:
            yield from (near / 2, (near + 1) / 2)
    elif bare is str:
        yield from ("else", "|")
    elif get_origin(bare) is tuple:
        yield []
    elif isinstance(bare, type) and issubclass(bare, Settings):
        yield {}


def may_be_null(annotation: Any) -> bool:
    return any(marks(option)[0] is type(None) for option in options(annotation))


def is_fixed(annotation: Any) -> bool:
    """Whether there is but one value."""
    bare = marks(annotation)[0]
    return get_origin(bare) is Literal and len(get_args(bare)) == 1
