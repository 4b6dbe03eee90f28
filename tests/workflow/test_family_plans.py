"""Change X in a run with saliency, affinity, walk, ensemble and vote, and exactly these jobs run again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.checkout import Checkout, changed

CONFIG: dict[str, Any] = {
    "dataset": "scenes",
    "datasets": {"scenes": {"kind": "scenes", "train": 24, "val": 8}},
    "classifiers": {"vanilla": {"objective": "vanilla"}, "puzzle": {"objective": "puzzle"}},
    "cams": {
        "vanilla": {"classifier": "vanilla"},
        "puzzle": {"classifier": "puzzle"},
        "walked": {"source": "walk", "cams": "vanilla", "affinity": "edges"},
        "both": {"source": "ensemble", "members": ["vanilla", "puzzle"], "rule": "calibrated"},
    },
    "saliency": {
        "hinted": {"objective": "c2am-h", "hints": "vanilla"},
        "pool": {"objective": "saliency", "saliency": "hinted"},
    },
    "affinity": {"edges": {"cams": "vanilla", "saliency": "pool"}},
    "masks": {
        "walked": {"cams": "walked", "crf": "labels-1"},
        "salient": {"cams": "both", "saliency": "pool"},
        "voted": {"source": "vote", "members": ["walked", "salient"]},
    },
}

SCORED_MASKS = {"scores masks walked", "scores masks salient", "scores masks voted"}
AFTER_WALK = {"scores cams walked", "masks walked", "scores masks walked", "vote voted", "scores masks voted"}
AFTER_EDGES = {"walk walked", *AFTER_WALK}
AFTER_LABELS = {"affinity edges", *AFTER_EDGES}
AFTER_POOL_MAPS = {
    *("saliency_masks pool", "scores saliency pool", "scores saliency-masks pool"),
    *("affinity_labels edges", *AFTER_LABELS, "masks salient", "scores masks salient"),
}
AFTER_POOL = {"saliency_maps pool", *AFTER_POOL_MAPS}
AFTER_HINTED_MASKS = {"scores saliency-masks hinted", "saliency pool", *AFTER_POOL}
AFTER_HINTED = {"saliency_maps hinted", "scores saliency hinted", "saliency_masks hinted", *AFTER_HINTED_MASKS}
ENSEMBLE = {
    *("ensemble both", "scores cams both", "masks salient", "scores masks salient"),
    *("vote voted", "scores masks voted"),
}
VANILLA = {"scores classifiers vanilla", "cams vanilla", "scores cams vanilla", "saliency hinted", *AFTER_HINTED}
PUZZLE = {"classifier puzzle", "scores classifiers puzzle", "cams puzzle", "scores cams puzzle", *ENSEMBLE}
TOLD = {"summary scenes", "report scenes"}
ALL = {"index scenes", "classifier vanilla", *VANILLA, *PUZZLE, *TOLD}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout.build(tmp_path_factory.mktemp("family") / "checkout", CONFIG)
    assert checkout.plan() == ALL
    checkout.finish()
    assert checkout.plan() == set()
    return checkout


CASES: dict[str, tuple[tuple[str, ...], Any, set[str]]] = {
    "how the saliency network is applied": (("saliency", "pool", "maps"), {"flip": True}, AFTER_POOL),
    "how hints become masks": (
        ("saliency", "hinted", "refine"),
        {"threshold": 0.3},
        {"scores saliency hinted", "saliency_masks hinted", *AFTER_HINTED_MASKS},
    ),
    "how strong a hint is": (("saliency", "hinted", "hint_weight"), 2.0, {"saliency hinted", *AFTER_HINTED}),
    "affinity labels": (
        ("affinity", "edges", "labels"),
        {"foreground": 0.3},
        {"affinity_labels edges", *AFTER_LABELS},
    ),
    "affinity training": (("affinity", "edges", "epochs"), 4, AFTER_LABELS),
    "the walk": (("cams", "walked", "beta"), 8.0, AFTER_EDGES),
    "the rule of the ensemble": (("cams", "both", "rule"), "mean", ENSEMBLE),
    "the rule of the vote": (("masks", "voted", "rule"), "agreement", {"vote voted", "scores masks voted"}),
    "the other member": (("classifiers", "puzzle", "epochs"), 3, PUZZLE),
    "how maps are scored": (
        ("evaluation",),
        {"calibration_images": 5},
        {
            *("scores cams vanilla", "scores cams puzzle", "scores cams walked", *ENSEMBLE),
            *("scores saliency hinted", "scores saliency pool"),
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_change_runs_again_exactly(case: str, finished: Checkout, tmp_path: Path) -> None:
    path, value, expected = CASES[case]
    checkout = finished.copy(tmp_path / "copy")
    checkout.configure(changed(CONFIG, *path, value=value))
    assert checkout.plan() == expected | TOLD


def test_lists_of_folders_are_one_flag(finished: Checkout) -> None:
    said = finished.snakemake("-n", "-p", "-f", "results/scenes/s0/cams/both/manifest.json")
    run = "results/scenes/s0"
    assert f"--members {run}/cams/vanilla {run}/cams/puzzle" in said
    assert f"--scores {run}/scores/cams/vanilla {run}/scores/cams/puzzle" in said


def test_maps_made_elsewhere_count_by_content(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG) | {
        "cams": {"seed": {"source": "external", "path": "elsewhere/s{seed}.h5"}},
        "masks": {"seed": {"cams": "seed"}},
        "saliency": {},
        "affinity": {},
        "classifiers": {},
    }
    checkout = Checkout.build(tmp_path / "checkout", config)
    (checkout.folder / "elsewhere").mkdir()
    (checkout.folder / "elsewhere" / "s0.h5").write_text("maps")
    jobs = {"external_cams seed", "scores cams seed", "masks seed", "scores masks seed", *TOLD}
    assert checkout.plan() == {"index scenes", *jobs}
    checkout.finish()
    (checkout.folder / "elsewhere" / "s0.h5").touch()
    assert checkout.plan() == set()
    (checkout.folder / "elsewhere" / "s0.h5").write_text("other maps")
    assert checkout.plan() == jobs
