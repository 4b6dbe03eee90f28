"""The examples in docstrings of losses, refinement and evaluation give what they show."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("losses", "refine", "evaluate")
    for path in (ROOT / "wsss" / package).glob("[a-z]*.py")
)
FUNCTIONS = ("losses.puzzle", "losses.erasing", "refine.pseudo_masks", "refine.votes", "evaluate.confusion")
"""Modules in which every public function has an example."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert not doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example(name: str) -> None:
    tree = ast.parse((ROOT / "wsss" / f"{name.replace('.', '/')}.py").read_text("utf-8"))
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert not [node.name for node in public if ">>>" not in (ast.get_docstring(node) or "")]
