"""Which of the project's messages a run of the tests reached: not by their words in a test, but by the lines that ran.

    WSSS_REACHED=/tmp/reached python -m pytest     records them, those of programs that tests start included
    python tests/docs/reached.py /tmp/reached      lists those that no test reached; exit code 1 where there is one

While it records, the modules of ``wsss`` are compiled with a call around every text that ``messages`` knows. Messages
that no test can reach stand in ``unreached.txt``, each with its reason; one that was reached has to leave it.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import os
import re
import sys
from pathlib import Path
from types import CodeType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from messages import GAP, ROOT, collect, combined, error_classes, sites  # noqa: E402

EXCUSED = Path(__file__).with_name("unreached.txt")
CALL = "_wsss_says"


class Recorder:
    """Compiles modules with calls around their messages, and writes each message that is made to ``folder``, once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.templates: list[list[tuple[re.Pattern[str], str]]] = []
        self.seen: set[str] = set()
        self.errors = error_classes(
            ast.parse((ROOT / "wsss" / f"{name}.py").read_text()) for name in ("errors", "mishaps")
        )

    def says(self, site: int, value: Any) -> Any:
        said = " ".join(str(value).split())
        for pattern, template in self.templates[site]:
            if template not in self.seen and pattern.fullmatch(said):
                self.seen.add(template)
                with open(self.folder / f"{os.getpid()}.txt", "a", encoding="utf-8") as file:
                    file.write(template + "\n")
        return value

    def compile(self, source: bytes, path: str) -> CodeType:
        tree = ast.parse(source, path)
        wrapped: dict[int, int] = {}
        for node, parts, names in sites(Path(path).relative_to(ROOT).as_posix(), tree, self.errors):
            wrapped[id(parts[0])] = len(self.templates)
            known = combined(node, parts, names)
            self.templates.append(
                [(re.compile(".*".join(map(re.escape, first.split(GAP))), re.S), template) for first, template in known]
            )
        recorder = self

        class Wrap(ast.NodeTransformer):
            def visit(self, node: ast.AST) -> ast.AST:
                site = wrapped.get(id(node))
                node = self.generic_visit(node)
                if site is None:
                    return node
                name = ast.Name(CALL, ast.Load())
                return ast.copy_location(ast.Call(name, [ast.Constant(site), node], []), node)

        setattr(builtins, CALL, recorder.says)
        return compile(ast.fix_missing_locations(Wrap().visit(tree)), path, "exec", dont_inherit=True)


def install(folder: str | Path) -> None:
    """Record in this process from now on, before anything of ``wsss`` is imported."""
    recorder = Recorder(Path(folder).resolve())
    recorder.folder.mkdir(parents=True, exist_ok=True)

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            return recorder.compile(self.get_data(self.path), self.path)

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] != "wsss":
                return None
            spec = super().find_spec(fullname, path, target)
            if spec and spec.origin and spec.origin.endswith(".py") and Path(spec.origin).is_relative_to(ROOT / "wsss"):
                spec.loader = Loader(fullname, spec.origin)
            return spec

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]


def excused() -> dict[str, str]:
    """template -> why no test reaches it."""
    lines = EXCUSED.read_text(encoding="utf-8").splitlines() if EXCUSED.exists() else []
    return dict(line.split("  # ", 1) for line in lines if line and not line.startswith("#"))


def main(folder: str) -> int:
    texts = {message.text: message for message in reversed(collect()) if message.text}
    reached = {line for file in Path(folder).glob("*.txt") for line in file.read_text(encoding="utf-8").splitlines()}
    known = excused()
    missed = [m for text, m in sorted(texts.items()) if text not in reached and text not in known]
    for message in sorted(missed, key=lambda m: (m.file, m.line)):
        print(f"no test reaches {message.file}:{message.line}: {message.text}")
    for text in known:
        if text in reached or text not in texts:
            print(f"{EXCUSED.name}: to be taken out, for {'it was reached' if text in texts else 'it is gone'}: {text}")
    print(
        f"{len(texts.keys() & reached)} of {len(texts)} messages were reached, {len(known)} are excused",
        file=sys.stderr,
    )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
