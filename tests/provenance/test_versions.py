"""Declared versions: who has one, and what counts where there is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from wsss.provenance.files import file_content
from wsss.provenance.versions import KERNELS, ROOT, declared, declaring, versions
from wsss.settings import KINDS, CrfSettings, MasksSettings, classes_of, explainers
from wsss.steps import STEPS, TABLES


def files() -> list[Path]:
    """Every file that has to declare a version."""
    found = [f"stages/{stage}.py" for stage in ("index", "scores", *STEPS, *TABLES)]
    found += [f"wsss/data/kinds/{kind}.py" for kind in classes_of(KINDS["datasets"])[1]]
    kinds = ("classifiers", "saliency", "segmenters")
    objectives = {"affinity"}.union(*(classes_of(KINDS[kind])[1] for kind in kinds))
    found += [f"wsss/objectives/{name.replace('-', '_')}.py" for name in objectives]
    found += [f"wsss/explain/methods/{name.replace('-', '_')}.py" for name in explainers()]
    found += [f"{module.replace('.', '/')}.py" for module in KERNELS.values()]
    return [ROOT / name for name in sorted(found)]


@pytest.mark.parametrize("file", files(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_everything_that_is_shipped_declares_a_version(file: Path) -> None:
    assert isinstance(declared(file), int)


def test_every_stage_program_is_known() -> None:
    programs = {path.stem for path in (ROOT / "stages").glob("[!_]*.py")}
    assert programs == {"index", "scores", *STEPS, *TABLES}


def test_a_file_of_ones_own_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "wsss/objectives").mkdir(parents=True)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/classifier.py").write_text("VERSION = 4\n")
    own = tmp_path / "wsss/objectives/quiet.py"
    own.write_text("loss = 1\n")
    found = versions("classifier", SimpleNamespace(objective="quiet"), tmp_path)
    assert found == {"classifier": 4, "objective quiet": file_content(str(own))}


def test_a_kernel_counts_where_it_is_used() -> None:
    plain, refined = MasksSettings(cams="x", crf=None), MasksSettings(cams="x", crf=CrfSettings())
    assert "dense CRF" not in declaring("masks", plain)
    assert declaring("masks", refined)["dense CRF"] == "wsss/refine/crf.py"


def test_an_explainer_counts_by_its_name_and_its_base() -> None:
    settings = SimpleNamespace(explainer="smooth-grad", explainer_options={"base": "gradient"}, crf=None)
    found = declaring("cams", settings)
    assert {"explainer smooth-grad", "explainer gradient", "explainer seeds"} <= set(found)
    assert not [name for name in declaring("cams", SimpleNamespace(explainer="cam")) if name.startswith("explainer")]


@pytest.mark.parametrize("text", ["VERSION = '3'\n", "version = 3\n", "    VERSION = 3\n", "VERSION = 3.5\n"])
def test_only_a_whole_number_on_a_line_of_its_own_is_a_version(text: str, tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(text)
    assert declared(file) == file_content(str(file))
    assert declared(tmp_path / "none.py") is None
