"""The files of code that a run used: a remark."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from wsss.provenance.code import changed, short, used
from wsss.provenance.versions import ROOT


def test_what_is_imported_is_what_was_used() -> None:
    code = "import time, wsss.objectives.vanilla; from wsss.provenance.code import used; print(*used(time.time()))"
    names = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"wsss/objectives/vanilla.py", "wsss/models/classifier.py", "wsss/store/weights.py"} <= set(names)
    assert not [name for name in names if name.startswith(("wsss/settings", "wsss/provenance", "wsss/errors"))]
    assert "wsss/objectives/p_noc.py" not in names


def test_a_file_that_was_written_meanwhile_is_not_vouched_for() -> None:
    import wsss.data.palette

    name = Path(wsss.data.palette.__file__).relative_to(ROOT).as_posix()
    assert used(time.time())[name] not in ("edited", None)
    assert used(0.0)[name] == "edited"


def test_what_changed_since(tmp_path: Path) -> None:
    (tmp_path / "wsss").mkdir()
    record = {"wsss/same.py": "", "wsss/other.py": "1", "wsss/gone.py": "2", "wsss/system/progress.py": "3"}
    for name in ("same", "other"):
        (tmp_path / f"wsss/{name}.py").write_text(name)
    from wsss.provenance.files import file_content

    record["wsss/same.py"] = file_content(str(tmp_path / "wsss/same.py"))
    assert changed(record, tmp_path) == ["wsss/other.py", "wsss/gone.py"], "progress never changes a result"
    assert changed("an older manifest's one hash", tmp_path) == []


def test_few_are_named() -> None:
    assert short(["wsss/a/b.py", "stages/c.py"]) == "a/b.py, stages/c.py"
    assert short([f"{n}.py" for n in range(5)]) == "0.py, 1.py, 2.py and 2 more"
