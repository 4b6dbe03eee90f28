"""Read ``config.yaml``: named recipes that refer to each other.

``load`` takes the mapping that YAML gives and returns a ``Config``, or raises one ``WsssError`` that lists every
problem, each with the key's path, what is allowed and the nearest valid name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from wsss.config.consistency import inconsistencies
from wsss.config.yaml import refuse_bomb
from wsss.errors import WsssError
from wsss.settings import (
    KINDS,
    AblationSettings,
    EvaluationSettings,
    Settings,
    WorkstationSettings,
    classes_of,
    default_variant,
    variants,
)
from wsss.settings.check import check, oddities
from wsss.settings.fields import named, references
from wsss.text import dotted, listed, nearest, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BLOCKS: dict[str, type[Settings]] = {
    "evaluation": EvaluationSettings,
    "ablation": AblationSettings,
    "workstation": WorkstationSettings,
}
CODE = ("declared", "strict")
SEEDS = 2**32
"""Seeds lie below it, as every generator takes them."""
KEYS = ("dataset", "seeds", "results", "code", "datasets", "defaults", *(k for k in KINDS if k != "datasets"), *BLOCKS)

Node = tuple[str, str]
"""Kind and name of a recipe."""


@dataclass(frozen=True)
class Config:
    """A run: what to build, and the settings of every recipe by kind and name."""

    dataset: tuple[str, ...]
    """Names of the datasets to run on."""
    seeds: tuple[int, ...]
    results: str
    """Folder of the results, relative to the working directory."""
    recipes: dict[str, dict[str, Any]]
    """kind -> name -> settings; the kinds are those of ``wsss.settings.KINDS``."""
    code: str = "declared"
    """``strict``: an artefact is made again as soon as a file of code that made it has changed; ``declared``: when a
    version is raised."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    ablation: AblationSettings = field(default_factory=AblationSettings)
    workstation: WorkstationSettings = field(default_factory=WorkstationSettings)

    def refs(self, kind: str, name: str) -> dict[str, tuple[str, str]]:
        """What a recipe refers to: field -> (kind, name), without the fields that are null; the entries of a list are
        called ``field.0``, ``field.1``, ..."""
        settings: Settings = self.recipes[kind][name]
        return {
            f: (target, n)
            for key, target in references(type(settings)).items()
            for f, n in named(key, getattr(settings, key))
        }


def discriminator(kind: str) -> str | None:
    """The key that chooses between the settings classes of a kind; None where there is one class."""
    return classes_of(KINDS[kind])[0]


def merge(low: Any, high: Any) -> Any:
    """Put ``high`` over ``low``, block by block."""
    if isinstance(low, dict) and isinstance(high, dict):
        return {**low, **{k: merge(low[k], v) if k in low else v for k, v in high.items()}}
    return high


class _Reader:
    """Collects problems while a configuration is read."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.problems: dict[str, None] = {}
        self.classes: dict[Node, type[Settings]] = {}
        self.merged: dict[Node, dict[str, Any]] = {}
        self.recipes: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

    def problem(self, path: tuple[str | int, ...], text: str) -> None:
        self.problems[f"{dotted(path)}: {text}" if path else text] = None

    def mapping(self, *path: str) -> dict[str, Any]:
        """A block of the file; empty where it is absent or null."""
        value: Any = self.raw
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or isinstance(value, dict):
            return value or {}
        self.problem(path, f"expected a block of keys, got {shown(value)}")
        return {}

    def top(self) -> None:
        for key in self.raw:
            if key not in KEYS:
                self.problem((str(key),), f"unknown key{nearest(key, KEYS)} (allowed: {listed(KEYS)})")

    def defaults(self) -> None:
        for kind, values in self.mapping("defaults").items():
            if kind not in KINDS:
                self.problem(
                    ("defaults", str(kind)), f"unknown kind of recipe{nearest(kind, KINDS)} (allowed: {listed(KINDS)})"
                )
                continue
            allowed = list(dict.fromkeys(f for cls in variants(kind).values() for f in cls.model_fields))
            for key in self.mapping("defaults", kind) if isinstance(values, dict | None) else {}:
                if key not in allowed:
                    self.problem(
                        ("defaults", kind, str(key)), f"unknown key{nearest(key, allowed)} (allowed: {listed(allowed)})"
                    )

    def settings_class(self, kind: str, name: str, values: dict[str, Any]) -> type[Settings] | None:
        key, choices = discriminator(kind), variants(kind)
        if key is None:
            return choices[""]
        if (usual := default_variant(KINDS[kind])) is not None:
            values.setdefault(key, usual)
        if key not in values:
            self.problem((kind, name, key), f"missing; allowed: {listed(choices)}")
        elif not isinstance(values[key], str) or values[key] not in choices:
            text = f"unknown {key} {shown(values[key])}{nearest(values[key], choices)} (allowed: {listed(choices)})"
            path = (kind, name, key) if key in (self.raw[kind][name] or {}) else ("defaults", kind, key)
            self.problem(path, text)
        else:
            return choices[values[key]]
        return None

    def recipe(self, kind: str, name: str, own: Any, low: dict[str, Any]) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            rule = "a name starts with a letter or digit and holds letters, digits, '.', '_' and '-'"
            self.problem(
                (kind, str(name)),
                f"{shown(name)} is not a valid name; {rule}" + ("" if isinstance(name, str) else "; put it in quotes"),
            )
            return
        if own is not None and not isinstance(own, dict):
            self.problem((kind, name), f"expected a block of settings, got {shown(own)}")
            return
        own = own or {}
        values = merge(low, own)
        cls = self.settings_class(kind, name, values)
        if cls is None:
            return
        # Defaults of a kind reach each recipe as far as its class has the key; unknown ones were refused above.
        values = {k: v for k, v in values.items() if k in own or k in cls.model_fields}
        self.classes[kind, name], self.merged[kind, name] = cls, values
        settings, problems = check(cls, values)
        for path, text in problems:
            given = own if path and path[0] in own or not path else low
            from_defaults = bool(path) and given is low and path[0] in low
            self.problem(("defaults", kind, *path) if from_defaults else (kind, name, *path), text)
        if settings is not None:
            self.recipes[kind][name] = settings

    def references(self) -> None:
        """Every name stands in its block, and no chain of names comes back to itself."""
        edges: dict[Node, list[tuple[str, Node]]] = {}
        for node, cls in self.classes.items():
            edges[node] = []
            for key, kind in references(cls).items():
                known = self.mapping(kind)
                for _, name in named(key, self.merged[node].get(key)):
                    if name not in known:
                        near = nearest(name, map(str, known))
                        self.problem((*node, key), f"no recipe {name!r} in '{kind}'{near} (there: {listed(known)})")
                    elif (kind, name) in self.classes:
                        edges[node].append((key, (kind, name)))
        done: set[Node] = set()
        for start in edges:
            self.follow(start, edges, [], done)

    def follow(
        self, node: Node, edges: dict[Node, list[tuple[str, Node]]], trail: list[tuple[Node, str]], done: set[Node]
    ) -> None:
        nodes = [n for n, _ in trail]
        if node in nodes:
            circle = trail[nodes.index(node) :]
            steps = " -> ".join(dotted((*n, key)) for n, key in circle)
            self.problem(
                (*circle[0][0], circle[0][1]), f"recipes refer to each other in a circle: {steps} -> {dotted(node)}"
            )
            return
        if node in done:
            return
        for key, target in edges[node]:
            self.follow(target, edges, [*trail, (node, key)], done)
        done.add(node)

    def run(self) -> tuple[tuple[str, ...], tuple[int, ...], str]:
        known = self.mapping("datasets")
        names = self.raw.get("dataset")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names:
            self.problem(("dataset",), f"give the name of a dataset, or a list of names (there: {listed(known)})")
            names = []
        for name in names:
            if not isinstance(name, str) or name not in known:
                self.problem(
                    ("dataset",),
                    f"no recipe {shown(name)} in 'datasets'{nearest(name, map(str, known))} (there: {listed(known)})",
                )
        seeds = self.raw.get("seeds", [0])
        good = isinstance(seeds, list) and bool(seeds) and all(type(s) is int and 0 <= s < SEEDS for s in seeds)
        if not good or len(set(seeds)) != len(seeds):
            self.problem(
                ("seeds",),
                f"expected a list of different whole numbers from 0 to {SEEDS - 1}, like [0, 1, 2], got {shown(seeds)}",
            )
        results = self.raw.get("results", "results")
        if not isinstance(results, str) or not results.strip("/ ") or set(results) & set("{}*?"):
            self.problem(
                ("results",), f"expected the path of a folder without braces and wildcards, got {shown(results)}"
            )
        return tuple(names), tuple(seeds) if good else (), results.rstrip("/") if isinstance(results, str) else ""

    def block(self, key: str) -> Any:
        settings, problems = check(BLOCKS[key], self.mapping(key))
        for path, text in problems:
            self.problem((key, *path), text)
        return settings


def load(raw: Any) -> Config:
    """Read the mapping that YAML gives.

    Raises ``WsssError`` with every problem, one per line."""
    if not isinstance(raw, dict):
        raise WsssError("The configuration is empty or no mapping; start from the project's config.yaml.")
    refuse_bomb(raw)
    reader = _Reader(raw)
    for path, text in oddities({k: v for k, v in raw.items() if k not in (*KINDS, *BLOCKS)}):
        reader.problem(path, text)
    reader.top()
    reader.defaults()
    for kind in KINDS:
        low = reader.mapping("defaults").get(kind)
        for name, own in reader.mapping(kind).items():
            reader.recipe(kind, name, own, low if isinstance(low, dict) else {})
    reader.references()
    datasets, seeds, results = reader.run()
    code = raw.get("code", CODE[0])
    if code not in CODE:
        reader.problem(("code",), f"unknown value {shown(code)}{nearest(str(code), CODE)} (allowed: {listed(CODE)})")
    blocks = {key: reader.block(key) for key in BLOCKS}
    for path, text in inconsistencies(reader.recipes, datasets):
        reader.problem(path, text)
    if reader.problems:
        count = len(reader.problems)
        head = "The configuration has one problem:" if count == 1 else f"The configuration has {count} problems:"
        raise WsssError("\n".join([head, *(f"  {p}" for p in reader.problems)]))
    return Config(dataset=datasets, seeds=seeds, results=results, code=code, recipes=reader.recipes, **blocks)
