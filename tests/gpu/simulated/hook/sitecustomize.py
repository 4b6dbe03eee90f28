"""Python reads this file at its start: as soon as a process has imported torch, its GPUs are simulated."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder


class _ThenSimulate(Loader):
    """The loader of torch, and what follows it."""

    def __init__(self, plain) -> None:
        self.plain = plain

    def create_module(self, spec):
        return self.plain.create_module(spec)

    def exec_module(self, module) -> None:
        self.plain.exec_module(module)
        from tests.gpu.simulated.device import begin

        begin()


class _Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = _ThenSimulate(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
