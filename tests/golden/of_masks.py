"""Cases that write masks, and the datasets besides the scenes.

All but predictions are made of fixed inputs, so that no pixel hangs on what a training came to.
"""

from __future__ import annotations

from typing import Any

from tests.golden.cases import Case

INDEX_OF = {
    "folder": {
        **{"images": "elsewhere/photos", "labels": "elsewhere/tags.csv", "separator": "|", "val_share": 0.3},
        **{"masks": "elsewhere/photo-masks", "split_seed": 3, "mask_order": "trust"},
    },
    "voc": {"root": "elsewhere/VOC2012", "sbd": "elsewhere/sbd", "broken": "drop"},
    "coco": {"root": "elsewhere/coco", "year": 2014},
}
CALIBRATED = {"policy": "calibrated"}
FEW = {"preset": "labels", "iterations": 3}
A = {"cams": "external_cams.a"}
SCORED = {**A, "scores": "scores.cams-a"}
SNAPPED = {"source": "regions", "masks": "x", "regions": "elsewhere/regions"}
PREDICTED = 1.5e-3
SALIENT = {"saliency": "saliency"}


def masks(name: str, inputs: dict[str, str], **settings: Any) -> Case:
    return Case("masks", name, {"cams": "a", "crf": None, **settings}, inputs)


def labels(name: str, inputs: dict[str, str], **settings: Any) -> Case:
    return Case("affinity_labels", name, settings, {**A, **inputs})


def vote(rule: str) -> Case:
    members = ("external_masks.x", "external_masks.y", "external_masks.z")
    settings = {"source": "vote", "members": ["x", "y", "z"], "rule": rule}
    return Case("vote", rule, settings, {"members": members}, exact=True)


def choice(by: str, inputs: tuple[str, ...], **settings: Any) -> Case:
    settings = {"source": "choice", "members": [name.partition(".")[2] for name in inputs], "by": by, **settings}
    return Case("choice", f"by-{by}", settings, {"members": inputs}, exact=True)


def again(name: str, networks: int, **settings: Any) -> Case:
    settings = {"source": "segmenter", "segmenters": ["by-hand"] * networks, "prior": "x", **settings}
    inputs = {"segmenters": ("segmenter",) * networks, "prior": "external_masks.x"}
    return Case("segmenter_masks", name, settings, inputs, within=PREDICTED)


def elsewhere(name: str) -> Case:
    settings = {"source": "external", "path": f"elsewhere/masks-{name}"}
    return Case("external_masks", name, settings, exact=True)


CASES = [
    *(
        Case("index", kind, {"kind": kind, **settings}, flags=("--dataset", kind), exact=True)
        for kind, settings in INDEX_OF.items()
    ),
    *map(elsewhere, "xyz"),
    Case(
        "external_masks",
        "overridden",
        {"source": "external", "path": "elsewhere/masks-x", "corrected": "elsewhere/corrections"},
        exact=True,
    ),
    Case("regions", "both", {**SNAPPED, "covered": 0.4}, {"masks": "external_masks.x"}, exact=True),
    *map(vote, ("majority", "agreement")),
    choice("agreement", ("external_masks.x", "external_masks.y", "external_masks.z")),
    choice("masks", ("external_masks.z", "external_masks.y", "external_masks.x"), calibration_images=3),
    again("corrected", 1, sure=0.6),
    again("two-networks", 2, crf=None, ignore=None, guard=False, prior_weight=0.25, flip=False),
    again("soft", 1, crf=None, keep_probabilities=True),
    masks("fixed", A, threshold={"policy": "fixed", "value": 0.4}),
    masks("calibrated", SCORED, threshold=CALIBRATED, crf=FEW),
    masks("per-class", SCORED, threshold={"policy": "oracle", "per_class": True}),
    masks("otsu", A, threshold={"policy": "otsu"}),
    masks("otsu-crf", A, threshold={"policy": "otsu"}, crf=FEW),
    masks("scores-crf", A, crf="psa"),
    masks("saliency", {**A, **SALIENT}, saliency="by-hand"),
    masks("saliency-crf", {**A, **SALIENT}, saliency="by-hand", crf="labels-1"),
    masks("saliency-agreement", {**A, **SALIENT}, saliency="by-hand", saliency_threshold="agreement", crf=FEW),
    masks("ignore", A, ignore={"foreground": 0.5, "background": 0.2}, crf=FEW),
    Case("saliency_masks", "crf", {"threshold": 0.3, "crf": FEW}, {"maps": "saliency"}),
    Case("saliency_masks", "plain", {"threshold": 0.3, "crf": None}, {"maps": "saliency"}),
    Case("saliency_masks", "otsu", {"threshold": "otsu", "crf": None}, {"maps": "saliency"}),
    labels("two-thresholds", {}, crf=FEW),
    labels("otsu", {}, policy="otsu", crf=None),
    labels("otsu-saliency", SALIENT, policy="otsu", crf=None),
    labels("two-thresholds-plain", {}, crf=None, foreground=0.5, background=0.2),
    labels("saliency", SALIENT, crf=FEW),
    labels("saliency-plain", SALIENT, crf=None, foreground=0.5, background=0.3),
    Case("predictions", "plain", {"scales": [0.5, 1.0]}, {"segmenter": "segmenter"}, within=PREDICTED),
    Case(
        "predictions",
        "tags",
        {"scales": [1.0], "tag_threshold": 0.5},
        {"segmenter": "segmenter", "tags_from": "classifier"},
        within=PREDICTED,
    ),
    Case("predictions", "heatmaps", {"scales": [1.0]}, {"segmenter": "segmenter.heatmaps"}, within=PREDICTED),
    Case(
        "predictions",
        "crf",
        {"scales": [1.0], "flip": True, "combine_flips": "add", "crf": "deeplab"},
        {"segmenter": "segmenter"},
        within=PREDICTED,
    ),
]
