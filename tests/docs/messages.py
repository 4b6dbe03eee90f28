"""The messages that the project can give on purpose, read from the syntax trees of its programs.

A message is kept as a template: its fixed words, and … for each value in it. What counts as a message:

- what ``WsssError``, or a class that is made from it, is given;
- what is collected to be told together: ``problem(path, TEXT)``, ``Problem(..., TEXT, CURE)``, TEXT appended to a list
  called ``problems`` or ``wrong``, the pairs (path, TEXT) that ``wsss/config/consistency.py`` and
  ``wsss/settings/check.py`` give;
- what becomes part of such a message: a ``ValueError`` in ``wsss/settings`` and in the readers of images and tables;
- how a stage says that it ends (``wsss/system/exit.py``), and mishaps (``wsss/system/failures.py``).
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GAP = "…"
FEWEST = 2
"""Words that a template has at least; one with fewer is put together from what is collected elsewhere."""
LISTS = ("problems", "wrong")
VALUE_ERRORS = ("wsss/settings/", "wsss/data/images.py", "wsss/data/lists.py", "wsss/data/index.py")
"""Where a ``ValueError`` is meant for the user: it is turned into a problem, or into part of a message."""
PAIRS = ("wsss/config/consistency.py", "wsss/settings/check.py")
"""Where (path, TEXT) is yielded, returned or appended."""


@dataclass(frozen=True)
class Message:
    """A template and where it stands."""

    text: str
    file: str
    line: int


@dataclass
class Names:
    """What names stand for in a function and in the module around it."""

    values: dict[str, list[tuple[int, dict[ast.AST, int], ast.expr]]] = field(default_factory=dict)
    """name -> (line, which branch of which ``if``, what it is given)"""
    functions: dict[str, list[ast.expr]] = field(default_factory=dict)
    """function -> what it returns"""
    ways: dict[ast.AST, int] = field(default_factory=dict)
    """In which branches this is."""

    def at(self, name: str, line: int) -> list[ast.expr]:
        """What a name may stand for in a line: what it was last given, in each branch of an ``if``."""
        given = [v for v in self.values.get(name, ()) if v[0] <= line and not apart(v[1], self.ways)]
        before = sorted(given, key=lambda v: -v[0])
        found = before[:1]
        for one in before[1:]:
            if all(apart(one[1], other[1]) for other in found):
                found.append(one)
        return [value for _, _, value in found]


def apart(one: dict[ast.AST, int], other: dict[ast.AST, int]) -> bool:
    """Whether two places are in different branches of one ``if``."""
    return any(one.get(at, way) != way for at, way in other.items())


def collect(root: Path = ROOT) -> list[Message]:
    """All messages of the programs below ``root``, in the order of files and lines; the same text may stand twice, and
    is empty where the words come from elsewhere."""
    files = sorted([*(root / "wsss").rglob("*.py"), *(root / "stages").glob("*.py")])
    trees = {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    errors = error_classes(trees.values())
    found = []
    for file, tree in trees.items():
        for node, parts, names in sites(file, tree, errors):
            texts = combined(node, parts, names) or [("", "")]
            found += [Message(text, file, node.lineno) for _, text in texts]
    return found


def combined(node: ast.AST, parts: list[ast.expr], names: Names) -> list[tuple[str, str]]:
    """The templates of a place, and before each what its first part alone says."""
    said = [texts(part, names, node.lineno) for part in parts]
    found = {normal("; ".join(one)): normal(one[0]) for one in itertools.product(*said)}
    return [(first, text) for text, first in sorted(found.items()) if words(text) >= FEWEST]


def error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """``WsssError`` and the classes that are made from it."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    found = {"WsssError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


def sites(file: str, tree: ast.Module, errors: set[str]) -> Iterator[tuple[ast.AST, list[ast.expr], Names]]:
    """Every place that makes a message: the node, its parts, and what the names around it stand for."""
    for names, node in walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in errors and node.args:
                yield node, node.args[:1], names
            elif called == "ValueError" and node.args and file.startswith(VALUE_ERRORS):
                yield node, node.args[:1], names
            elif called == "ArgumentTypeError":
                yield node, node.args[:1], names
            elif called == "problem" and len(node.args) == 2:
                yield node, node.args[1:], names
            elif called == "Problem" and len(node.args) >= 5:
                yield node, node.args[3:5], names
            elif called == "add" and file == "wsss/data/validate.py":
                yield node, node.args[-2:], names
            elif called == "_end" and file == "wsss/system/exit.py":
                yield node, node.args[2:3], names
            elif called == "append" and isinstance(node.func.value, ast.Name):
                to, given = node.func.value.id, node.args[0]
                if to in LISTS and not isinstance(given, (ast.Call, ast.Tuple)):
                    yield node, [given], names
                elif file in PAIRS and isinstance(given, ast.Tuple):
                    yield node, given.elts[1:2], names
        elif isinstance(node, (ast.Yield, ast.Return)) and file in PAIRS and isinstance(node.value, ast.Tuple):
            if len(node.value.elts) == 2:
                yield node, node.value.elts[1:], names
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if file == "wsss/system/failures.py" and name == "cure":
                yield node, [node.value], names
            elif name in LISTS and isinstance(node.value, ast.List):
                for one in node.value.elts:
                    yield node, [one], names
        elif isinstance(node, ast.AugAssign) and getattr(node.target, "id", "") in LISTS:
            for one in node.value.elts if isinstance(node.value, ast.List) else ():
                if not isinstance(one, ast.Call):
                    yield node, [one], names


def walk(tree: ast.Module) -> Iterator[tuple[Names, ast.AST]]:
    """Every node, and what names stand for around it."""
    functions = {
        node.name: [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }

    def inside(node: ast.AST, ways: dict[ast.AST, int]) -> Iterator[tuple[dict[ast.AST, int], ast.AST]]:
        for name, held in ast.iter_fields(node):
            for child in held if isinstance(held, list) else [held]:
                if isinstance(child, ast.AST):
                    way = {**ways, node: name == "body"} if isinstance(node, ast.If) else ways
                    yield way, child
                    if not isinstance(child, ast.FunctionDef):
                        yield from inside(child, way)

    def visit(node: ast.AST, above: Names) -> Iterator[tuple[Names, ast.AST]]:
        names = Names({name: list(values) for name, values in above.values.items()}, functions)
        for ways, one in inside(node, {}):
            if isinstance(one, ast.Assign) and len(one.targets) == 1:
                target, value = one.targets[0], one.value
                tuples = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                for to, what in zip(target.elts, value.elts, strict=False) if tuples else [(target, value)]:
                    if isinstance(to, ast.Name):
                        names.values.setdefault(to.id, []).append((one.lineno, ways, what))
        for ways, one in inside(node, {}):
            yield replace(names, ways=ways), one
            if isinstance(one, ast.FunctionDef):
                yield from visit(one, names)

    yield from visit(tree, Names())


def texts(node: ast.expr, names: Names, line: int, depth: int = 3) -> list[str]:
    """What an expression may say: its fixed words, with … for every value."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        plain = "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        if words(plain) >= FEWEST or not depth:
            return [plain]
        parts = [part if isinstance(part, ast.Constant) else part.value for part in node.values]
        said = [texts(part, names, line, depth - 1) for part in parts]
        return ["".join(one) for one in itertools.product(*said)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = texts(node.left, names, line, depth), texts(node.right, names, line, depth)
        return ["".join(one) for one in itertools.product(*both)]
    if isinstance(node, ast.IfExp):
        return [*texts(node.body, names, line, depth), *texts(node.orelse, names, line, depth)]
    if depth and isinstance(node, ast.Name) and (values := names.at(node.id, line)):
        return [text for value in values for text in texts(value, names, line, depth - 1)]
    if depth and isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names.functions:
        inner = Names({}, names.functions)
        return [text for value in names.functions[node.func.id] for text in texts(value, inner, line, depth - 1)]
    return [GAP]


def words(text: str) -> int:
    return len(re.findall(r"[^\W\d_]{2,}", text))


def normal(text: str) -> str:
    """On one line, and with one … where several follow each other."""
    return re.sub(rf"{GAP}(\s*{GAP})+", GAP, " ".join(text.split())).strip()
