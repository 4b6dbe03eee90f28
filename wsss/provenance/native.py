"""Extension modules in C++: where their source lies, and whether what was built comes from it.

The module ``NAME`` is built from ``native/NAME/*.cpp`` and ``*.hpp`` of the checkout by ``setup.py``. It carries the
digest of the source as ``SOURCE``, so that a build that has been left behind by its source is not used unnoticed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("_wsss_crf", "_wsss_walk")
FLAGS = ("-O3", "-funroll-loops", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
"""How it is compiled. Products and sums stay apart (no contraction), so that every processor computes the same bits;
no -march: measured with AVX2 and AVX-512, the dense CRF gains 10 % at most."""
_COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?\*/""", re.DOTALL)


def files(module: str, root: Path) -> list[Path]:
    """The C++ files of a module, empty where the checkout ``root`` has none."""
    return sorted(path for path in (root / "native" / module).glob("*") if path.suffix in (".cpp", ".hpp"))


def source(module: str, root: Path) -> str | None:
    """Flags and C++ text of a module, without comments and layout; None where the checkout ``root`` has none."""
    texts = []
    for path in files(module, root):
        bare = _COMMENT.sub(lambda match: match[1] or " ", path.read_text("utf-8"))
        lines = (" ".join(line.split()) for line in bare.splitlines())
        texts.append("\n".join([path.name, *filter(None, lines)]))
    return "\n".join([" ".join(FLAGS), *texts]) if texts else None


def digest(module: str, root: Path) -> str | None:
    """Sixteen hexadecimal digits for :func:`source`."""
    text = source(module, root)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]


def check(module: ModuleType) -> ModuleType:
    """The module. Raises ``ImportError`` where it was built from other source than the checkout holds."""
    if digest(module.__name__, ROOT) not in (None, module.SOURCE):
        raise ImportError(f"{module.__file__} was built from other source than {ROOT / 'native' / module.__name__}")
    return module
