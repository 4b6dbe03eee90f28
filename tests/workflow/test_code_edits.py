"""Edits of the real code: how it is written never counts, and what it does counts for the stages that reach it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from house import ROOT

from wsss.fingerprint import fingerprint
from wsss.settings import KINDS, classes_of, explained_by, explainers

FOUND_BY_NAME = {
    "index": [f"wsss.data.{kind}" for kind in classes_of(KINDS["datasets"])[1]],
    "classifier": [f"wsss.objectives.{name.replace('-', '_')}" for name in classes_of(KINDS["classifiers"])[1]],
    "saliency": [f"wsss.objectives.{name.replace('-', '_')}" for name in classes_of(KINDS["saliency"])[1]],
    "explanation": [module for name in explainers() for module in explained_by(name, {})],
}
"""Stage -> modules that its settings name."""
TRAININGS = {"affinity", "classifier", "saliency", "segmenter"}
MAPS = {"cams", "walk", "ensemble", "external_cams", "saliency_maps", "explanation"}
MASKS = {"masks", "vote", "external_masks", "saliency_masks", "affinity_labels", "predictions"}
EDITS: dict[tuple[str, str], set[str]] = {
    ("wsss/refine/random_walk.py", "random_walk"): {"walk"},
    ("wsss/refine/votes.py", "majority"): {"vote"},
    ("wsss/refine/ensembles.py", "combine"): {"ensemble"},
    ("wsss/refine/affinity_labels.py", "labels_by_thresholds"): {"affinity_labels"},
    ("wsss/refine/crf.py", "refine_scores"): {"predictions"},
    ("wsss/evaluate/confusion.py", "confusion"): {"scores", "report"},
    ("wsss/inference.py", "class_activation_maps"): {"cams"},
    ("wsss/objectives/c2am_h.py", "Goal"): {"saliency"},
    ("wsss/objectives/p_noc.py", "Goal"): {"classifier"},
    ("wsss/data/voc.py", "read_objects"): {"index"},
    ("wsss/engine.py", "Trainer"): TRAININGS,
    ("wsss/data/loading.py", "training_loader"): TRAININGS,
    ("wsss/map_parts.py", "write_maps"): MAPS,
    ("wsss/mask_parts.py", "write_masks"): MASKS,
    ("wsss/explain/methods/minmax_cam.py", "Method"): {"explanation"},
    ("wsss/explain/comparing.py", "table"): {"explanations"},
    ("wsss/cli/show.py", "show"): set(),
    ("wsss/dag.py", "Plan"): set(),
}
"""(file, function or class) -> the stages that another line in its body concerns."""


class Checkout:
    """A copy of the programs and the library, and the hashes of its stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("stages", "wsss"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes(self) -> dict[str, str]:
        programs = {p.stem: p for p in (self.folder / "stages").glob("[!_]*.py")}
        return {name: fingerprint(p, self.folder, FOUND_BY_NAME.get(name, ())) for name, p in programs.items()}

    def sources(self) -> list[Path]:
        return [path for part in ("stages", "wsss") for path in (self.folder / part).rglob("*.py")]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return Checkout(tmp_path_factory.mktemp("code") / "before").hashes()


def test_layout_comments_and_docstrings_never_count(before: dict[str, str], tmp_path: Path) -> None:
    """Every file laid out anew, without a comment and with other docstrings."""
    other = Checkout(tmp_path / "other")
    for path in other.sources():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Expr(ast.Constant("Said differently."))
        path.write_text("# another comment\n\n" + ast.unparse(tree))
    assert other.hashes() == before


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: ":".join(edit))
def test_another_line_concerns_the_stages_that_reach_it(
    edit: tuple[str, str], before: dict[str, str], tmp_path: Path
) -> None:
    file, name = edit
    other = Checkout(tmp_path / "other")
    tree = ast.parse((other.folder / file).read_text())
    node = next(one for one in tree.body if getattr(one, "name", "") == name)
    if isinstance(node, ast.ClassDef):
        node = next(one for one in node.body if isinstance(one, ast.FunctionDef))
    node.body.append(ast.parse("print()").body[0])
    (other.folder / file).write_text(ast.unparse(tree))
    after = other.hashes()
    assert {stage for stage in before if after[stage] != before[stage]} == EDITS[edit]
