"""Cases that score and put scores together."""

from __future__ import annotations

import json

from tests.golden.cases import Case

KINDS = {
    "classifiers": {"by-hand": "classifier"},
    "cams": {"a": "external_cams.a", "b": "external_cams.b", "mean": "ensemble.mean"},
    "saliency": {"by-hand": "saliency"},
    "saliency-masks": {"crf": "saliency_masks.crf"},
    "masks": {"fixed": "masks.fixed", "calibrated": "masks.calibrated", "vote": "vote.agreement"},
    "segmenters": {"x": "external_masks.x"},
}
FIXED = tuple(f"scores.{name}" for name in ("cams-a", "cams-b", "cams-mean", "masks-fixed", "masks-vote"))
SHOWN = (*FIXED, "scores.saliency-by-hand", "scores.saliency-masks-crf")
"""Scores of what was made of fixed inputs: their figures are told with a digit after the point, and none hangs on what
a training came to."""
LAYOUT = [
    ["priors", "a", {"CAM": ["cams", "a"], "masks": ["masks", "fixed"]}],
    ["priors", "b", {"CAM": ["cams", "b"], "masks": ["masks", "agreement"]}],
]
EXPLAINED = tuple(f"explanation.{name}" for name in ("cam", "minmax", "curves"))


def scores(kind: str, name: str, of: str) -> Case:
    settings = {"threshold": 0.4, "calibration_images": 5, "thresholds": 50}
    return Case("scores", f"{kind}-{name}", settings, {"artefact": of}, ("--kind", kind))


CASES = [
    *(scores(kind, name, of) for kind, artefacts in KINDS.items() for name, of in artefacts.items()),
    Case("summary", "scenes", {}, {"scores": SHOWN}),
    Case("report", "scenes", None, {"scores": SHOWN}),
    Case("ablation_table", "scenes", None, {"scores": FIXED}, ("--layout", json.dumps(LAYOUT))),
    Case("explanations", "scenes", None, {"explanations": EXPLAINED}),
    Case(
        "continual",
        "scenes",
        None,
        {
            "segmenters": ("segmenter.step-0", "segmenter.step-1"),
            "predictions": ("predictions.plain", "predictions.crf"),
            "memories": ("memory.step",),
        },
        within=2e-2,
    ),
    Case("audits", "scenes", None, {"audits": ("audit.box", "audit.gradient")}, within=5e-2),
    Case("searches", "scenes", None, {"searches": ("search.gradient",)}, within=5e-2),
]
