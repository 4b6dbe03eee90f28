"""What stages refuse, in the words that say what to do instead, where no other test does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from wsss.data.index import Item, write_index
from wsss.errors import WsssError
from wsss.models.segmenter import Segmenter
from wsss.runtime.run import Run
from wsss.settings import (
    AffinityLabelSettings,
    AffinitySettings,
    C2amSettings,
    ExplanationSettings,
    SaliencyMapSettings,
    SaliencyMaskSettings,
    SegmentationSettings,
)
from wsss.stages.ablation_table import make as write_ablation_table
from wsss.stages.affinity import make as train_affinity
from wsss.stages.affinity_labels import AffinityLabelWriter
from wsss.stages.explanation import make as write_explanations
from wsss.stages.explanations import read_explained
from wsss.stages.saliency import make as train_saliency
from wsss.stages.saliency_maps import make as write_saliency_maps
from wsss.stages.saliency_masks import SaliencyMaskWriter
from wsss.stages.segmenter import make as train_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights
from wsss.system.files import write_json


def run(at: Path, settings: object, labels: tuple[int, ...] = (), **inputs: Path) -> Run:
    """A run on an index of one training image without a mask."""
    index = at / "index"
    index.mkdir()
    Image.new("RGB", (5, 4)).save(index / "a.png")
    write_index(index, ("cat",), [Item("a", "train", index / "a.png", None, 4, 5, labels, False)])
    write_json(index / "report.json", {})
    write_manifest(index, {"stage": "index"})
    args = SimpleNamespace(out=at, state=None, seed=0, threads=1, device="cpu")
    return Run(args, settings, {"index": index, **inputs}, "segmenter")


def item(at: Path) -> Item:
    """A picture that is no longer as large as the index has it."""
    Image.new("RGB", (9, 9)).save(at / "a.png")
    return Item("a", "train", at / "a.png", None, 4, 5, (0,), False)


def maps(at: Path) -> MagicMock:
    """A store of maps of the size that the index has."""
    store = MagicMock(folder=at)
    store.full_of.return_value = np.ones((1, 4, 5), np.float32)
    return store


def unsuited(at: Path) -> object:
    """Maps of a network of probabilities, to be made by the rule for logits."""
    about = {"kind": "saliency-net", "architecture": "unet", "backbone": "test_resnet", "output_stride": 32}
    save_weights(at / "model.safetensors", Segmenter("unet", "test_resnet", 1, 32).state_dict(), about)
    write_manifest(at, {})
    return write_saliency_maps(run(at, SaliencyMapSettings(activation="relu"), saliency=at))


def half_explained(at: Path) -> object:
    write_manifest(at, {"seed": 0, "inputs": {}})
    return read_explained(at)


def ablation(at: Path) -> None:
    layout = json.dumps([["priors", "vanilla", {"CAM": ["cams", "v"]}]])
    write_ablation_table(SimpleNamespace(args=SimpleNamespace(layout=layout), several=lambda name: []))


REFUSALS: dict[str, Callable[[Path], object]] = {
    "'supervision: masks' needs ground-truth masks, and no training image has one": lambda at: train_segmenter(
        run(at, SegmentationSettings(supervision="masks"))
    ),
    "--masks: name the folder of pseudo-labels to learn from": lambda at: train_segmenter(
        run(at, SegmentationSettings(masks="m"))
    ),
    "index: no training image has a tag; see report.json": lambda at: train_saliency(run(at, C2amSettings())),
    "index: no training image has a label; see report.json there": lambda at: train_affinity(
        run(at, AffinitySettings(cams="c"))
    ),
    "a.png is now 9 x 9, in the index 4 x 5; build the index again": lambda at: AffinityLabelWriter(
        maps(at), None, None, AffinityLabelSettings()
    )(item(at)),
    "a.png is now 9 x 9, in the index 4 x 5": lambda at: SaliencyMaskWriter(maps(at), None, SaliencyMaskSettings())(
        item(at)
    ),
    "activation: a saliency network gives probabilities; use sigmoid": unsuited,
    "index: there are no images in the split val; explain the other one": lambda at: write_explanations(
        run(at, ExplanationSettings(classifier="c"))
    ),
    "no whole explanations (FileNotFoundError": half_explained,
    "scores of cams v were not given (--scores)": ablation,
}
"""The words -> what provokes them, in an empty folder."""


@pytest.mark.parametrize("said", REFUSALS)
def test_refusal(said: str, tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=re.escape(said)):
        REFUSALS[said](tmp_path)
