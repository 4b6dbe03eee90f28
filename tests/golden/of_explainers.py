"""Cases of explanations that are measured, of audits, memories and a search, and of explainers that no stage offers:
those of segmentation networks."""

from __future__ import annotations

from typing import Any

from tests.golden.cases import DIRECT, Case
from tests.golden.of_maps import OPTIONS

FEW: dict[str, Any] = {"classifier": "by-hand", "images": 4, "calibration_images": 4, "pictures": 2}


def explanation(name: str, explainer: str, needs: str | None = None, **settings: Any) -> Case:
    values = {**FEW, "explainer": explainer, "explainer_options": OPTIONS.get(explainer, {}), **settings}
    return Case("explanation", name, values, {"classifier": "classifier"}, needs=needs)


def audit(name: str, kind: str, explainer: str, **settings: Any) -> Case:
    """Few steps: where a gradient is nearly 0 its sign hangs on rounding, and every step adds such signs."""
    values = {kind: "by-hand", "explainer": explainer, "eps": [8], "steps": 2, "images": 3, "pictures": 1, **settings}
    return Case("audit", name, values, {kind: kind}, within=5e-2)


def search(name: str, **settings: Any) -> Case:
    """Two networks, ordered by their size: by anything else rounding could turn them round."""
    space = {"architecture": "fpn", "backbone": {"resnet10t": False, "test_resnet": False}, "width": [64]}
    values = {"teacher": "by-hand", "space": space, "size": 64, "grid": 8, "images": 4, "population": 2, **settings}
    few = {"iterations": 0, "random_search": False, "warm_steps": 1, "batch_size": 4, "fitness": "params"}
    return Case("search", name, {**values, **few}, {"teacher": "segmenter"}, within=5e-2)


def of_regions(name: str, within: float | None = None) -> Case:
    return Case(DIRECT, name, {}, {"segmenter": "segmenter"}, within=within)


TIGHT = {"threshold": 0.7, "dilate": 0}
"""So that some boxes are smaller than their images."""


def memory(name: str, inputs: dict[str, str], **settings: Any) -> Case:
    values = {"supervision": "masks", "dilate": 2, "budget_kib": 12, "pictures": 1, **settings}
    return Case("memory", name, values, inputs, within=2e-2)


CASES = [
    explanation("curves", "gradient-x-input", policy="gt_or_pred", images=2, curves=True, curve_steps=2),
    explanation("minmax", "minmax-cam", policy="gt", fill="blur"),
    explanation("cam", "cam", policy="pred", fill="image_mean"),
    explanation("train", "grad-cam", policy="gt_and_pred", split="train"),
    Case(
        "explanation",
        "regions",
        {
            "segmenter": "by-hand",
            "region": "box",
            "at": [0.25, 0.25, 0.75, 0.5],
            "classes": ["cross"],
            "images": 2,
            "curves": True,
            "curve_steps": 2,
            "curve_fills": ["black", "noise"],
            "pictures": 1,
        },
        {"segmenter": "segmenter"},
    ),
    explanation("road", "gradient", "pytorch_grad_cam", policy="gt", images=2, road=[50], pictures=0),
    audit("box", "segmenter", "seg-grad-cam", optimizer="adam", detector=True),
    audit("gradient", "classifier", "gradient", optimizer="adam", goal="top-k"),
    memory("step", {"segmenter": "segmenter.step-0"}, segmenter="step-0", method="true-box"),
    memory("salient", {"segmenter": "segmenter", "cams": "external_cams.a"}, segmenter="by-hand", cams="a", **TIGHT),
    search("gradient", explainer="gradient"),
    of_regions("seg-grad-cam"),
    of_regions("seg-hires-grad-cam"),
    of_regions("seg-ablation-cam", within=3e-2),
]
