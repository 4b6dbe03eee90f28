"""Cases that train: a few steps of SGD in fp32, so that what is learnt is a smooth function of what is computed.

Adam divides by the size of the gradient, so where that is rounding noise a weight goes a whole step in either
direction; one case has it all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.golden.cases import Case

SCENES = {"kind": "scenes", "train": 12, "val": 6, "size": 48, "classes": 3}
SMALL: dict[str, Any] = {
    **{"backbone": "resnet10t", "pretrained": False, "output_stride": 8, "crop": 48, "long_side": [40, 56]},
    **{"epochs": 1, "batch_size": 4, "lr": 0.004, "optimizer": "sgd", "precision": "fp32", "augment": []},
}
"""Three steps."""
OTHER: dict[str, Any] = {
    **{"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0, "warmup": 0.4, "ema": 0.6},
    **{"batch_norm": "fixed", "resize": "square", "augment": ["colour-jitter", "randaugment"], "head": "kur"},
    **{"sampling": "balanced", "positive_weight": "balanced"},
}
AGAIN: dict[str, Any] = {
    **{"batch_size": 3, "accumulate": 2, "accumulate_mode": "mean", "momentum": 0.9, "average_last": 1},
    **{"label_smoothing": 0.0, "poly_power": 0.5},
}
"""With ``OTHER``, what trainings have besides what ``SMALL`` has."""
INPUT: dict[str, Any] = {
    **{"guidance_layer": "input", "batch_norm": "fixed", "absent_classes": 0, "heatmap_scale": 0.01},
    **{"gt_masks": 4, "pixel": {"start": 1.0, "end": 1.0, "ramp_fraction": 0.0}},
}
HARDER: dict[str, Any] = {
    "architecture": "fpn",
    "augment": ["strong-jitter", "grey", "blur", "cutout"],
    "lr_schedule": "cosine",
    "epochs": 2,
}
CUT = {"objective": "token-cut", "backbone": "test_vit", "pretrained": "elsewhere/vit.safetensors"}
OF_STAGES = {"backbone": "resnet10t", "pretrained": False, "output_stride": 8}
LINEAR: dict[str, Any] = {
    **{"objective": "linear", "warm_start": "by-hand", "backbone": "resnet10t", "output_stride": 8},
    **{"pretrained": False, "size": 40, "penalty": 0.01, "positive_weight": "balanced"},
}
RISING = {"start": 0.5, "end": 1.0, "ramp_fraction": 1.0}
C2AM_LONG = {"resize": "square", "long_side": [56, 56]}
SEEDS = {"again": 1, "c2am": 1}
"""Other seeds than 0, where that puts a value so near to a kink (a ReLU at 0, two images equally like a third) that
rounding decides on which side."""


def training(stage: str, name: str, inputs: dict[str, str], **settings: Any) -> Case:
    """A training; fields of its settings that name a recipe are told by its inputs."""
    named = {flag: of.partition(".")[2] or "by-hand" for flag, of in inputs.items() if flag != "labels"}
    flags = ("--seed", str(SEEDS[name])) if name in SEEDS else ()
    return Case(stage, name, {**SMALL, **named, **settings}, inputs, flags)


def classifier(objective: str, name: str = "", inputs: dict[str, str] | None = None, **settings: Any) -> Case:
    return training("classifier", name or objective, inputs or {}, objective=objective, **settings)


X = {"masks": "external_masks.x"}
TAUGHT: dict[str, Any] = {"output_stride": 16, "epochs": 2, "batch_size": 6, "lr": 0.002}
BENT: dict[str, Any] = {**TAUGHT, "epochs": 4, "correction_start": 0.0, "sure": 0.4, "loss_cap": 1.2}
STEP: dict[str, Any] = {
    **{"objective": "continual", "supervision": "masks", "architecture": "fpn", "batch_size": 3, "lr": 0.002},
}
JUDGE = {"ordinary": "classifier"}
WARM = {"warm_start": "classifier"}

CASES = [
    Case("index", "scenes", SCENES, flags=("--dataset", "scenes")),
    classifier("vanilla"),
    classifier("vanilla", "options", **OTHER),
    classifier("vanilla", "again", WARM, **AGAIN),
    classifier("puzzle", reconstruction_norm="contrast", entropy={"start": 0.1, "end": 0.1, "ramp_fraction": 0.0}),
    classifier("vanilla", "resnest", backbone="resnest14d", output_stride=16),
    classifier("oc-cse", inputs=JUDGE),
    classifier("p-oc", inputs=JUDGE, erase_class="focal", erase_saturation=0.5),
    classifier(
        "p-noc", inputs=JUDGE, erase_class="balanced", adversary={"start": 0.5, "end": 1.0, "ramp_fraction": 1.0}
    ),
    Case("classifier", "linear", LINEAR, WARM),
    Case("classifier", "linear-centred", {**LINEAR, "warm_start": None, "features": "centred"}, {}),
    classifier("guided", gt_masks=4),
    classifier("guided", "guided-input", **INPUT),
    training("saliency", "c2am", WARM, objective="c2am", **C2AM_LONG),
    training("saliency", "c2am-h", {"hints": "external_cams.a", **WARM}, objective="c2am-h", **C2AM_LONG),
    training(
        "saliency",
        "c2am-h-otsu",
        {"hints": "external_cams.a", **WARM},
        objective="c2am-h",
        hint_threshold="otsu",
        **C2AM_LONG,
    ),
    training("saliency", "poolnet", {"saliency": "saliency_masks.crf"}, objective="saliency", lr=0.04),
    training("saliency", "fpn", {"saliency": "saliency_masks.crf"}, objective="saliency", architecture="fpn", lr=0.002),
    Case("saliency", "token-cut", CUT),
    Case("saliency", "token-cut-stages", CUT | {"features": "stages", "warm_start": "by-hand", **OF_STAGES}, WARM),
    training("affinity", "edges", {"labels": "affinity_labels.saliency", **WARM}, cams="a", radius=4),
    training("segmenter", "pseudo", X, output_stride=16, batch_size=6, lr=0.002),
    training("segmenter", "ema-teacher", X, objective="ema-teacher", **TAUGHT),
    training("segmenter", "early-learning", X, objective="early-learning", **BENT),
    training("segmenter", "co-training", {"masks": "masks.ignore"}, objective="co-training", **{**TAUGHT, "epochs": 1}),
    training("segmenter", "strong", X, batch_size=6, lr=0.002, **HARDER),
    replace(
        training("segmenter", "soft", {"masks": "segmenter_masks.soft"}, soft_weight=0.5, batch_size=6, lr=0.002),
        within=1e-2,  # a pixel of the masks may be another with other instructions
    ),
    training(
        "segmenter", "supervised", {}, supervision="masks", gt_masks=6, batch_size=3, architecture="fpn", lr=0.002
    ),
    training(
        "segmenter", "tagged", {}, supervision="masks", gt_masks=4, tags=0.5, batch_size=4, architecture="fpn", lr=0.002
    ),
    training("segmenter", "step-0", {}, classes=["ring", "cross"], **STEP),
    training(
        "segmenter",
        "step-1",
        {"warm_start": "segmenter.step-0", "memory": "memory.step"},
        classes=["stripes"],
        distil=0.5,
        outside_weight=0.5,
        **STEP,
    ),
    Case(
        "segmenter",
        "heatmaps",
        {"supervision": "classifier", "classifier": "x"},
        {"classifier": "classifier.guided-input"},
    ),
]
