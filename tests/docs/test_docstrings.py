"""Everything public in ``wsss/`` and ``stages/`` says what it is.

Public is what has no leading underscore: modules, classes, functions of a module and methods of a class; what stands
inside a function is not. Two kinds of methods need no docstring of their own: those that override one which a base
class in the project documents, and ``forward``, ``train`` and ``extra_repr``, which torch asks for and of which the
class's own docstring tells. Nor does the function ``work`` of a stage program: the program's docstring tells of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TORCHS = frozenset({"forward", "train", "extra_repr"})
WORK = "work"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Module:
    """A parsed module: its name, its tree, and what its imports bind (name here -> module and name there)."""

    name: str
    tree: ast.Module
    bound: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def parsed(cls, name: str, text: str) -> Module:
        module = cls(name, ast.parse(text))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                module.bound |= {one.asname or one.name: (node.module, one.name) for one in node.names}
            elif isinstance(node, ast.Import):
                module.bound |= {one.asname or one.name: (one.name, "") for one in node.names}
        return module

    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}


@cache
def project() -> dict[str, Module]:
    paths = [*ROOT.glob("wsss/**/*.py"), *ROOT.glob("stages/*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(paths)}
    return {name: Module.parsed(name, path.read_text("utf-8")) for name, path in names.items()}


def bases(module: Module, cls: ast.ClassDef, known: dict[str, Module]) -> Iterator[tuple[Module, ast.ClassDef]]:
    """The classes of the project that a class comes from, near and far."""
    for base in cls.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):  # module.Class
            where, within = module.bound.get(base.value.id, ("", "")), base.attr
            where = f"{where[0]}.{where[1]}".rstrip(".")
        elif isinstance(base, ast.Name):
            where, within = module.bound.get(base.id, (module.name, base.id))
        else:
            continue
        above = known.get(where) or known.get(f"{where}.__init__")
        if above is None:
            continue
        if within in above.classes():
            yield above, above.classes()[within]
            yield from bases(above, above.classes()[within], known)


def documents(cls: ast.ClassDef, method: str) -> bool:
    """Whether the body of a class documents a method or attribute of this name, or its docstring does."""
    own = any(isinstance(n, FUNCTION) and n.name == method and ast.get_docstring(n) for n in cls.body)
    return own or f"    {method}:" in (ast.get_docstring(cls, clean=False) or "")


def silent(module: Module, known: dict[str, Module]) -> list[str]:
    """Names of what is public in a module and says nothing."""
    found = [] if ast.get_docstring(module.tree) else [module.name]
    for node in module.tree.body:
        if not isinstance(node, (*FUNCTION, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not (module.name.startswith("stages.") and node.name == WORK):
            found.append(f"{module.name}.{node.name}")
        if not isinstance(node, ast.ClassDef):
            continue
        above = [cls for _, cls in bases(module, node, known)]
        for method in node.body:
            if not isinstance(method, FUNCTION) or method.name.startswith("_") or ast.get_docstring(method):
                continue
            if method.name not in TORCHS and not any(documents(cls, method.name) for cls in above):
                found.append(f"{module.name}.{node.name}.{method.name}")
    return found


@pytest.mark.parametrize("name", project())
def test_everything_public_says_what_it_is(name: str) -> None:
    assert not silent(project()[name], project()), "add a docstring: short, true, with shapes and units of arrays"


CASES = {
    "x = 1": ["m"],
    '"""."""\ndef f(): pass': ["m.f"],
    '"""."""\nclass A: pass': ["m.A"],
    '"""."""\nclass A:\n """."""\n def f(self): pass': ["m.A.f"],
    '"""."""\nclass A:\n """."""\n @property\n def f(self): pass': ["m.A.f"],
    '"""."""\ndef _f(): pass\nclass A:\n """."""\n def _f(self): pass\n def __len__(self): pass': [],
    '"""."""\ndef f():\n """."""\n def g(): pass': [],
    '"""."""\nclass A:\n """."""\n def forward(self): pass': [],
    '"""."""\nfrom base import Base\nclass A(Base):\n """."""\n def told(self): pass\n def untold(self): pass': [
        "m.A.untold"
    ],
    '"""."""\nimport base\nclass B(base.Base):\n """."""\nclass A(B):\n """."""\n def told(self): pass': [],
}


def test_the_work_of_a_stage_is_told_by_its_program() -> None:
    text = '"""Does it."""\ndef work(run): pass\ndef more(): pass'
    assert silent(Module.parsed("stages.one", text), {}) == ["stages.one.more"]
    assert silent(Module.parsed("wsss.one", text), {}) == ["wsss.one.work", "wsss.one.more"]


@pytest.mark.parametrize("text", CASES)
def test_what_is_found_silent(text: str) -> None:
    base = Module.parsed("base", '"""."""\nclass Base:\n """."""\n def told(self):\n  """."""\n def untold(self): pass')
    module = Module.parsed("m", text)
    assert silent(module, {"base": base, "m": module}) == CASES[text]
