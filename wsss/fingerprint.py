"""The content hash of a program: what it does, not how it is written or where it lies.

The unit is the top-level definition. ``from wsss.x import a`` counts the statements of ``wsss/x.py`` that define ``a``
and, in turn, what these use; ``import wsss.x`` and ``from wsss import x`` count the whole module. Imports inside
functions, relative imports and re-exports through ``__init__.py`` are followed. Of every module that is touched, the
statements that act when it is imported (calls, loops, assignments to items) count too.

An extension module in C++ counts whole, by its source and flags (``wsss.native``). Comments, docstrings, layout and the
order of functions do not count, nor do modules outside the checkout. The syntax tree is written out here, with empty
fields left out, because ``ast.dump`` differs between Python's minor versions.

What it cannot see: modules and names that are looked up by a text at run time. Such modules are given as ``extra``.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from wsss.native import source as native_source

ROOT = Path(__file__).resolve().parents[1]
"""The checkout: stages put it first on the path, so this is the code that runs."""
UNCOUNTED = frozenset(
    "wsss.settings wsss.config wsss.consistency wsss.errors wsss.wording wsss.fingerprint wsss.identity "
    "wsss.launch wsss.gpus wsss.native".split()
)
"""Modules whose code does not count. Settings act through their values alone, and these stand in the settings string;
the others only phrase messages, compute hashes, or bring processes together and onto a GPU."""


def _uncounted(name: str) -> bool:
    """Whether a module, or a package around it, is one of ``UNCOUNTED``."""
    return any(name == one or name.startswith(f"{one}.") for one in UNCOUNTED)


_SILENT = frozenset({"type_params", "type_comment", "type_ignores", "kind", "ctx"})
"""Fields of the tree that say nothing about what the program does, or that only newer Pythons have."""
_HARMLESS = frozenset(
    "dataclass cache lru_cache contextmanager no_grad inference_mode njit jit overload wraps total_ordering".split()
)
"""Decorators that register nothing; a function under any other one counts as soon as its module is touched."""
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITION = (*_FUNCTION, ast.ClassDef)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def written(node: object) -> str:
    """The syntax tree as text, the same for all Pythons; bare strings (docstrings) and ``pass`` are left out."""
    if isinstance(node, list):
        return "[" + ",".join(written(n) for n in node if not isinstance(n, ast.Pass) and not _is_text(n)) + "]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__}:{node!r}"
    parts = [
        f"{name}={written(value)}"
        for name in sorted(node._fields)
        if name not in _SILENT
        and ((value := getattr(node, name, None)) not in (None, []) or isinstance(node, ast.Constant))
    ]
    return f"{type(node).__name__}({','.join(parts)})"


@dataclass
class _Statement:
    """A top-level statement: what it binds, the names it uses, what it imports (module, name or None, bound as).

    The text of an extension module in C++ stands here as one statement, too."""

    node: ast.stmt | str
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    imports: list[tuple[str, str | None, str]] = field(default_factory=list)
    acts: bool = False

    @cached_property
    def text(self) -> str:
        return written(self.node)

    @property
    def main(self) -> bool:
        """``if __name__ == "__main__":`` acts in the program itself alone."""
        return isinstance(self.node, ast.If) and _is_test(self.node, "__name__")


def _targets(node: ast.AST) -> Iterator[ast.AST]:
    """What an assignment, loop or ``with`` binds, tuples taken apart."""
    if isinstance(node, (ast.Tuple, ast.List)):
        for one in node.elts:
            yield from _targets(one)
    elif isinstance(node, ast.Starred):
        yield from _targets(node.value)
    else:
        yield node


def _decorator(node: ast.expr) -> str:
    """``functools.lru_cache(None)`` -> ``lru_cache``."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_test(node: ast.If, name: str) -> bool:
    """``if NAME:``, ``if typing.NAME:`` or ``if NAME == ...:``."""
    test = node.test.left if isinstance(node.test, ast.Compare) else node.test
    return isinstance(test, ast.Name) and test.id == name or isinstance(test, ast.Attribute) and test.attr == name


class _Module:
    """A parsed file and its top-level statements."""

    def __init__(self, name: str, path: Path | None, package: bool) -> None:
        self.name, self.package = name, package
        self.statements: list[_Statement] = []
        tree = ast.parse(path.read_bytes(), str(path)) if path else ast.Module([], [])
        for node in tree.body:
            self._add(node)
        self.binds = {name for s in self.statements for name in s.binds}

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def _imports(self, node: ast.AST) -> list[tuple[str, str | None, str]]:
        if isinstance(node, ast.Import):
            return [(a.name, None, a.asname or a.name.split(".")[0]) for a in node.names]
        if isinstance(node, ast.ImportFrom):
            return [(self._absolute(node), a.name, a.asname or a.name) for a in node.names]
        return []

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Pass) or _is_text(node):
            return
        if isinstance(node, ast.If) and _is_test(node, "TYPE_CHECKING"):
            for other in node.orelse:
                self._add(other)
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                one = (
                    ast.Import([alias])
                    if isinstance(node, ast.Import)
                    else ast.ImportFrom(node.module, [alias], node.level)
                )
                imports = self._imports(one)
                self.statements.append(_Statement(one, {imports[0][2]}, set(), imports))
            return
        made = _Statement(node)
        for inner in ast.walk(node):
            made.imports += self._imports(inner)
            if isinstance(inner, ast.Name):
                made.uses.add(inner.id)
        if isinstance(node, _DEFINITION):
            made.binds = {node.name}
            made.acts = any(_decorator(d) not in _HARMLESS for d in node.decorator_list)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for bound in _targets(target):
                    made.binds |= {bound.id} if isinstance(bound, ast.Name) else set()
                    made.acts |= not isinstance(bound, ast.Name)
        else:
            made.acts = True
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    made.binds.add(inner.id)
                elif isinstance(inner, _DEFINITION):
                    made.binds.add(inner.name)
            made.binds |= {bound for _, _, bound in made.imports}
        if type(node).__name__ == "TypeAlias":  # ``type X = ...`` of Python 3.12
            made.acts = False
        self.statements.append(made)


class _Reach:
    """Collects the statements that a program reaches."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self.modules: dict[str, _Module | None] = {}
        self.counted: dict[str, set[int]] = {}
        self.whole: set[str] = set()
        self.todo: list[tuple[str, str | None]] = []
        self.seen: set[tuple[str, str | None]] = set()

    def module(self, name: str) -> _Module | None:
        if name not in self.modules:
            self.modules[name] = None if not name or _uncounted(name) else _find(name, self.folders)
        return self.modules[name]

    def touch(self, name: str) -> None:
        """A module that is imported, and the packages around it: what acts on import counts."""
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            one = ".".join(parts[:i])
            if one in self.counted:
                continue
            found = self.module(one)
            if found is not None:
                self.counted[one] = set()
                for k, statement in enumerate(found.statements):
                    if statement.acts and not statement.main:
                        self.count(found, k)

    def count(self, module: _Module, k: int) -> None:
        if k in self.counted[module.name]:
            return
        self.counted[module.name].add(k)
        statement = module.statements[k]
        self.todo += [(module.name, use) for use in statement.uses & module.binds]
        self.todo += [(source, name) for source, name, _ in statement.imports]

    def name(self, module: _Module, name: str) -> None:
        if name == "__version__":  # only ever recorded
            return
        self.touch(module.name)
        if name in module.binds:
            for k, statement in enumerate(module.statements):
                if name in statement.binds:
                    self.count(module, k)
        elif self.module(f"{module.name}.{name}") is not None:
            self.everything(f"{module.name}.{name}")
        elif not _uncounted(f"{module.name}.{name}"):
            # A star import, a module's own __getattr__, or a name that is not there: take no chances.
            self.everything(module.name)

    def everything(self, name: str, main: bool = False) -> None:
        found = self.module(name)
        self.touch(name)
        if found is not None and name not in self.whole:
            self.whole.add(name)
            for k in range(len(found.statements)):
                if main or not found.statements[k].main:
                    self.count(found, k)

    def run(self) -> str:
        while self.todo:
            step = self.todo.pop()
            if step in self.seen:
                continue
            self.seen.add(step)
            source, name = step
            found = self.module(source)
            if found is None:
                continue
            if name is None or name == "*":
                self.everything(source)
            else:
                self.name(found, name)
        lines = []
        for name in sorted(self.counted):
            module = self.modules[name]
            assert module is not None  # nothing else is counted
            statements = [module.statements[k] for k in sorted(self.counted[name])]
            texts = sorted(s.text for s in statements if isinstance(s.node, _DEFINITION) and not s.acts)
            texts += [s.text for s in statements if not isinstance(s.node, _DEFINITION) or s.acts]
            lines += [f"{name}\n", *(f"{t}\n" for t in texts)]
        return "".join(lines)


@cache
def _find(name: str, folders: tuple[Path, ...]) -> _Module | None:
    """Parse a module of the checkout, once a process; None for those from elsewhere."""
    for folder in folders:
        base = folder.joinpath(*name.split("."))
        if (base / "__init__.py").is_file():
            return _Module(name, base / "__init__.py", package=True)
        if base.with_name(base.name + ".py").is_file():
            return _Module(name, base.with_name(base.name + ".py"), package=False)
        if "." in name and base.is_dir():
            return _Module(name, None, package=True)
        if (text := native_source(name, folder)) is not None:
            found = _Module(name, None, package=False)
            found.statements.append(_Statement(text, acts=True))
            return found
    return None


@cache
def reached(program: Path, root: Path, extra: tuple[str, ...] = ()) -> str:
    """The text that is hashed: each module, then what counts of it. Good for looking at why a hash changed."""
    reach = _Reach((program.parent, root))
    reach.everything(program.stem, main=True)
    for module in extra:
        reach.everything(module)
    return reach.run()


def fingerprint(program: Path | str, root: Path | str, extra: Iterable[str] = ()) -> str:
    """Sixteen hexadecimal digits for a program and what it imports.

    ``root`` is the checkout (the folder that holds ``wsss/``); ``extra`` names modules that the program finds by name
    at run time. Raises ``FileNotFoundError`` where the program or an extra module does not exist."""
    program, root, extra = Path(program).resolve(), Path(root).resolve(), tuple(sorted(extra))
    if not program.is_file():
        raise FileNotFoundError(program)
    for module in extra:
        if _find(module, (program.parent, root)) is None:
            raise FileNotFoundError(f"no module {module} in {root}")
    return hashlib.sha256(reached(program, root, extra).encode()).hexdigest()[:16]
