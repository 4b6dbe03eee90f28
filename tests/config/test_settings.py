"""What the settings of a training refuse because it would have no effect, or a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from wsss.config.loader import load
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError
from wsss.settings import AffinitySettings, C2amHSettings, C2amSettings
from wsss.workflow.values import with_variant

CONFIG = """
dataset: s
datasets: {s: {kind: scenes}}
classifiers: {plain: {objective: vanilla}}
cams: {plain: {source: classifier, classifier: plain}}
affinity: {edges: {cams: plain}}
defaults:
  classifiers: &small {epochs: 2, augment: []}
  affinity: {<<: *small, radius: 5}
"""


def test_augmentation_of_affinity_leaves_pixels_where_they_are(tmp_path: Path) -> None:
    assert AffinitySettings.read({"cams": "x", "augment": "colour-jitter"}).augment == ("colour-jitter",)
    with pytest.raises(ValidationError, match="augment"):
        AffinitySettings.read({"cams": "x", "augment": ["randaugment"]})
    (tmp_path / "shared.yaml").write_text(CONFIG)
    edges = load(read_yaml(tmp_path / "shared.yaml")).recipes["affinity"]["edges"]
    assert (edges.augment, edges.epochs, edges.radius) == ((), 2, 5)


def test_what_has_no_effect_cannot_be_set() -> None:
    assert AffinitySettings(cams="x").batch_norm == "fixed"
    with pytest.raises(ValidationError, match="batch_norm"):
        AffinitySettings.read({"cams": "x", "batch_norm": "normal"})
    assert C2amSettings().label_smoothing == 0
    with pytest.raises(ValidationError, match="label_smoothing"):
        C2amSettings.read({"label_smoothing": 0.1})
    assert C2amHSettings.read({"hints": "x"}).label_smoothing == 0.1
    assert C2amHSettings.read({"hints": "x", "label_smoothing": 0.2}).label_smoothing == 0.2


def test_a_segmenter_that_names_no_objective_is_what_it_was() -> None:
    """The choice came later: it stands in what a stage is started with, and not in identities."""
    segmenters = {"old": {"masks": "m"}, "new": {"masks": "m", "objective": "segmentation"}}
    config = {**yaml.safe_load(CONFIG), "masks": {"m": {"cams": "plain"}}, "segmenters": segmenters}
    old, new = load(config).recipes["segmenters"].values()
    assert old == new and '"objective": "segmentation"' in old.canonical()
    assert "objective" not in old.counted() and with_variant("segmenter", {}) == {"objective": "segmentation"}
    config["defaults"]["segmenters"] = {"objective": "segmentatoin"}
    with pytest.raises(WsssError, match="unknown objective .segmentatoin.; did you mean 'segmentation'?"):
        load(config)
