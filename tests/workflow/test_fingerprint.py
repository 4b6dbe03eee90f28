"""What counts as a change of code, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.fingerprint import fingerprint, reached

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "stages/_house.py": "import sys\nsys.path.insert(0, '..')\n",
    "stages/work.py": "import _house\nfrom wsss.tools import used\n\nif __name__ == '__main__':\n    used()\n",
    "wsss/__init__.py": "__version__ = '1'\n",
    "wsss/tools.py": '''"""Tools."""
import math
from wsss.deep import helper
from wsss.other import stranger

LIMIT = 3
UNUSED = 4


def used(n=LIMIT):
    """Says what it does."""
    # and why
    return helper(n) + math.pi


def unused():
    return stranger() + UNUSED
''',
    "wsss/deep/__init__.py": "from .inner import helper, sibling\n",
    "wsss/deep/inner.py": """from ..lazy import nothing


def helper(n):
    import _fast

    from wsss.lazy import late

    return late(n)


def sibling():
    return nothing()
""",
    "wsss/lazy.py": "def late(n):\n    return n\n\n\ndef nothing():\n    return 0\n",
    "wsss/other.py": "def stranger():\n    return 1\n",
    "native/_fast/fast.cpp": '#include "fast.hpp"\n// Twice.\nint twice(int n) { return 2 * n; }  /* so it is */\n',
    "native/_fast/fast.hpp": 'const char *url = "http://x";  // not a comment\n',
    "native/_other/other.cpp": "int x = 1;\n",
    "wsss/settings.py": "X = 1\n",
    "wsss/plug/__init__.py": "",
    "wsss/plug/one.py": "from wsss.lazy import nothing\nY = nothing()\n",
    "wsss/plug/two.py": "Z = 1\n",
}


class Code:
    """A small checkout; each state of it lies in a folder of its own, as files are parsed once a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def hash(self, edits: dict[str, tuple[str, str] | str] | None = None, extra: tuple[str, ...] = ()) -> str:
        self.count += 1
        root = self.folder / f"{self.count}"
        for path, text in FILES.items():
            edit = (edits or {}).get(path)
            if isinstance(edit, tuple):
                assert edit[0] in text
                text = text.replace(*edit)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text + (edit if isinstance(edit, str) else ""))
        return fingerprint(root / "stages" / "work.py", root, extra)


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path)


COUNTS: dict[str, dict] = {
    "the program": {"stages/work.py": ("used()", "used(2)")},
    "what runs at its import": {"stages/_house.py": ("'..'", "'.'")},
    "a function in use": {"wsss/tools.py": ("math.pi", "math.e")},
    "a constant that it uses": {"wsss/tools.py": ("LIMIT = 3", "LIMIT = 5")},
    "behind a re-export": {"wsss/deep/inner.py": ("late(n)", "late(n + 1)")},
    "behind an import in a function": {"wsss/lazy.py": ("return n", "return -n")},
    "another thing under the same name": {"wsss/deep/__init__.py": ("helper, sibling", "sibling as helper")},
    "the C++ of an extension module": {"native/_fast/fast.cpp": ("2 * n", "3 * n")},
    "a text in it that looks like a comment": {"native/_fast/fast.hpp": ("//x", "//y")},
    "a call at import": {"wsss/tools.py": "\nprint(1)\n"},
    "an item set at import": {"wsss/tools.py": "\nTABLE[0] = 1\n"},
    "a function that registers itself": {"wsss/tools.py": "\n\n@register\ndef new():\n    pass\n"},
    "a call at the import of a package around it": {"wsss/deep/__init__.py": "\nprint(1)\n"},
}
SILENT: dict[str, dict] = {
    "nothing": {},
    "a comment": {"wsss/tools.py": ("# and why", "# because")},
    "a docstring": {"wsss/tools.py": ("Says what it does", "Does")},
    "no docstring": {"wsss/tools.py": ('"""Says what it does."""', "")},
    "layout": {"wsss/tools.py": ("helper(n) + math.pi", "(helper(\n        n)\n        + math.pi)")},
    "a comment in C++": {"native/_fast/fast.cpp": ("// Twice.", "// Two times.")},
    "a comment within a line of C++": {"native/_fast/fast.cpp": ("/* so it is */", "")},
    "the layout of C++": {"native/_fast/fast.cpp": ("int twice(int n) {", "    int  twice(int n) {  ")},
    "an extension module that is not used": {"native/_other/other.cpp": ("1", "2")},
    "an unused function": {"wsss/tools.py": ("stranger() +", "stranger() -")},
    "an unused constant": {"wsss/tools.py": ("UNUSED = 4", "UNUSED = 5")},
    "a module behind an unused function": {"wsss/other.py": ("return 1", "return 2")},
    "an unused neighbour": {"wsss/deep/inner.py": ("return nothing()", "return 1")},
    "a new function": {"wsss/lazy.py": "\n\ndef more():\n    return 3\n"},
    "a new cached function": {"wsss/lazy.py": "\n\n@functools.cache\ndef more():\n    return 3\n"},
    "an import for types": {"wsss/lazy.py": "\nif TYPE_CHECKING:\n    import os\n"},
    "what a library does as a program": {"wsss/lazy.py": "\nif __name__ == '__main__':\n    late(1)\n"},
    "the typed settings": {"wsss/settings.py": ("X = 1", "X = 2")},
    "the version": {"wsss/__init__.py": ("'1'", "'2'")},
    "a module found by name": {"wsss/plug/one.py": ("Y =", "W =")},
    "the order of functions": {
        "wsss/lazy.py": (FILES["wsss/lazy.py"], "def nothing():\n    return 0\n\n\ndef late(n):\n    return n\n")
    },
}


@pytest.mark.parametrize("case", COUNTS)
def test_counts(case: str, code: Code) -> None:
    assert code.hash(COUNTS[case]) != code.hash()


@pytest.mark.parametrize("case", SILENT)
def test_does_not_count(case: str, code: Code) -> None:
    assert code.hash(SILENT[case]) == code.hash()


def test_whole_modules_count_whole(code: Code) -> None:
    for line in ("import wsss.tools", "from wsss import tools", "import wsss.tools as t", "from wsss.tools import *"):
        imported = {"stages/work.py": ("from wsss.tools import used", line)}
        unused = {"wsss/tools.py": ("UNUSED = 4", "UNUSED = 5")}
        assert code.hash(imported) != code.hash({**imported, **unused})


def test_modules_found_by_name_are_given(code: Code) -> None:
    one = ("wsss.plug.one",)
    assert code.hash(extra=one) != code.hash()
    assert code.hash({"wsss/plug/one.py": ("Y =", "W =")}, one) != code.hash(extra=one)
    assert code.hash({"wsss/lazy.py": ("return 0", "return 1")}, one) != code.hash(extra=one)
    assert code.hash({"wsss/plug/two.py": ("Z =", "W =")}, one) == code.hash(extra=one)


def test_flags_of_the_compiler_count(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code.hash()
    monkeypatch.setattr("wsss.provenance.native.FLAGS", ("-O0",))
    assert code.hash() != before


def test_what_is_missing_is_said(tmp_path: Path, code: Code) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "none.py", tmp_path)
    with pytest.raises(FileNotFoundError, match="wsss.plug.three"):
        code.hash(extra=("wsss.plug.three",))


def test_the_stages_reach_what_they_should() -> None:
    """On the real code: each stage knows its own part, and no other."""

    def modules(stage: str, *extra: str) -> set[str]:
        text = reached(ROOT / "stages" / f"{stage}.py", ROOT, extra)
        return {line for line in text.splitlines() if "(" not in line}

    assert "wsss.objectives.p_noc" not in modules("classifier", "wsss.objectives.vanilla")
    assert "wsss.objectives.p_noc" in modules("classifier", "wsss.objectives.p_noc")
    assert "wsss.models.backbone" in modules("cams")
    assert "wsss.refine.crf" in modules("masks")
    for stage in ("masks", "saliency_masks", "affinity_labels", "predictions"):
        assert "_wsss_crf" in modules(stage)
    assert "_wsss_crf" not in modules("cams")
    assert not any(m.startswith(("wsss.objectives", "wsss.models")) for m in modules("masks") | modules("scores"))
    assert not any(m.startswith("wsss.data.voc") for m in modules("index", "wsss.data.folder"))
    assert not {"wsss.settings", "wsss.config", "wsss.dag"} & modules("classifier")
