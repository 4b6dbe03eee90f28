"""Telling attacked images from clean ones: by their maps, or by their predictions alone.

ML-LOO (Yang et al. 2020) thresholds how far attributions scatter; here several such figures go into a logistic
regression. For segmentation networks the entropy of the prediction is the known detector (Maag and Fischer 2023). A
detector that the attacker knows of is no defence.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from wsss.beyond.compared import cosine, spearman
from wsss.beyond.looking import Question, Viewer
from wsss.beyond.predicted import agreement, confidence, entropy, labels_of
from wsss.evaluate.classification import roc_auc
from wsss.evaluate.confusion import plain

QUALITY = 75
"""Of the JPEG that maps and predictions are compared with."""
FOUND = 0.95
"""Share of the attacked images that are to be found, where false alarms are counted."""
OF_MAPS = ("iqr", "deviation", "map_entropy", "variation", "gini", "inside", "other", "under_jpeg", "under_noise")
"""What the regression reads."""
ALONE = {"under_jpeg": -1, "entropy": 1, "confidence": -1, "agreement_jpeg": -1}
"""Figures that are tried as detectors by themselves, and the sign with which they mean an attack."""
RIDGE = 1e-2


def as_jpeg(colours: torch.Tensor, quality: int = QUALITY) -> torch.Tensor:
    """Colours (1, 3, H, W) in [0, 1] as they come out of a JPEG file."""
    pixels = (colours[0].detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        made = torch.from_numpy(np.array(image))
    return (made.permute(2, 0, 1)[None].float() / 255).to(colours)


def through_jpeg(colours: torch.Tensor) -> torch.Tensor:
    """The same with the derivative of the identity: how an attack sees past a step that has none (Athalye et al.
    2018)."""
    return colours + (as_jpeg(colours) - colours).detach()


def figures(viewer: Viewer, other: Viewer, colours: torch.Tensor, eps: float, name: str, seed: int) -> dict[str, float]:
    """What a detector knows of colours (1, 3, H, W), from themselves alone: ``OF_MAPS`` and the keys of ``ALONE``. An
    image without a predicted object has 0 for all that is read off maps.

    Args:
        viewer: The audited network and method.
        other: The same network, explained by another method.
        colours: In [0, 1].
        eps: Size of the attacks that are expected; half of it is what the map is shaken with.
        name: Names the noise.
        seed: The run's seed.
    """
    logits, packed = viewer.scores(colours), as_jpeg(colours)
    labels = labels_of(logits)
    found = {
        "entropy": entropy(logits),
        "confidence": confidence(logits),
        "agreement_jpeg": agreement(labels, labels_of(viewer.scores(packed))),
    }
    question = viewer.question(logits)
    if question is None:
        return {**dict.fromkeys(OF_MAPS, 0.0), **found}
    map = viewer.look(colours, question, name, seed).map
    drawn = hashlib.sha256(f"{seed} shaken {name}".encode()).digest()
    noise = torch.randn(colours.shape, generator=torch.Generator().manual_seed(int.from_bytes(drawn[:7], "little")))
    shaken = (colours + noise.to(colours) * eps / 2).clamp(0, 1)
    return {
        **of_map(map),
        "inside": inside(map, question),
        "other": float(cosine(map, other.look(colours, question, name, seed).map)),
        "under_jpeg": spearman(map, viewer.look(packed, question, name, seed).map),
        "under_noise": spearman(map, viewer.look(shaken, question, name, seed).map),
        **found,
    }


def of_map(map: torch.Tensor) -> dict[str, float]:
    """How the values of a map (h, w) that adds up to 1 scatter, in units of their mean: inter-quartile range, standard
    deviation, total variation; entropy as a share of the highest; Gini coefficient."""
    values = map.double().cpu().numpy()
    flat = np.sort(values.ravel()) * values.size
    low, high = np.quantile(flat, (0.25, 0.75))
    shares = values[values > 0]
    steps = np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum()
    order = np.arange(1, flat.size + 1)
    total = flat.sum()
    return {
        "iqr": float(high - low),
        "deviation": float(flat.std()),
        "map_entropy": float(-(shares * np.log(shares)).sum() / np.log(values.size)),
        "variation": float(steps),
        "gini": float(2 * (order @ flat) / (flat.size * total) - (flat.size + 1) / flat.size) if total else 0.0,
    }


def inside(map: torch.Tensor, question: Question) -> float:
    """Share of a map in the predicted region; 0 for classifiers, who predict none."""
    if question.region is None:
        return 0.0
    region = torch.nn.functional.interpolate(
        question.region[:, None].float(), size=map.shape, mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
    return float((map * region).sum())


def logistic(features: np.ndarray, attacked: np.ndarray, ridge: float = RIDGE, steps: int = 50) -> np.ndarray:
    """Weights float64 (n + 1,) of a logistic regression, the last for the constant, by Newton's method.

    Minimises the mean log loss plus ``ridge`` / 2 times the squared weights (not of the constant).

    Args:
        features: (N, n), of about unit size.
        attacked: bool (N,).
    """
    rows = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.full(rows.shape[1], ridge)
    penalty[-1] = 1e-9  # where all are of one kind the constant would run away
    weights = np.zeros(rows.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (p - attacked) / len(rows) + penalty * weights
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows / len(rows) + np.diag(penalty)
        change = np.linalg.solve(curvature, gradient)
        weights = weights - change
        if np.abs(change).max() < 1e-9:
            break
    return weights


def in_first_half(id: str) -> bool:
    """Whether an image is one that a detector is fitted on, by its id alone."""
    return hashlib.sha256(id.encode()).digest()[0] % 2 == 0


def judged(clean: np.ndarray, attacked: np.ndarray) -> dict[str, float | None]:
    """How well scores tell attacked images from clean ones: ``auroc``, and ``false_alarms``, the share of clean images
    that score at least as high as the threshold that finds 95 % of the attacked.

    Examples:
        >>> judged(np.array([0.1, 0.4]), np.array([0.35, 0.8]))["auroc"]
        0.75
    """
    truth = np.r_[np.zeros(len(clean), bool), np.ones(len(attacked), bool)]
    area = plain(roc_auc(truth, np.r_[clean, attacked]))
    if area is None:
        return {"auroc": None, "false_alarms": None}
    needed = int(np.ceil(FOUND * len(attacked) - 1e-9))
    threshold = np.sort(attacked)[::-1][needed - 1]
    return {"auroc": area, "false_alarms": float((clean >= threshold).mean())}


def roc(clean: np.ndarray, attacked: np.ndarray) -> list[list[float]]:
    """Points (false alarms, found) of the ROC curve, from (0, 0) to (1, 1), one for each different score."""
    points = [[0.0, 0.0]]
    for threshold in np.unique(np.r_[clean, attacked])[::-1]:
        points.append([float((clean >= threshold).mean()), float((attacked >= threshold).mean())])
    return points


def detectors(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What detectors are worth.

    Args:
        rows: A row for each image and condition: ``image``, ``condition`` (clean, attack, output, adaptive), and the
            figures of ``figures``.

    Returns:
        ``images`` of each half; ``results``: ``{detector, attack, auroc, false_alarms}`` on the second half, for the
        regression fitted on each attack and tried on each, and for the single figures; ``roc`` of the regression on the
        attack that it was fitted on. None where a half has no image.
    """
    halves = [[r for r in rows if in_first_half(r["image"]) == first] for first in (True, False)]
    images = [len({r["image"] for r in half}) for half in halves]
    kinds = [k for k in ("attack", "output", "adaptive") if any(r["condition"] == k for r in rows)]

    def values(half: Sequence[dict[str, Any]], kind: str, names: Sequence[str]) -> np.ndarray:
        picked = [[r[name] for name in names] for r in half if r["condition"] == kind]
        return np.array(picked, np.float64).reshape(-1, len(names))

    results: list[dict[str, Any]] = []
    curves: dict[str, list[list[float]]] = {}
    fitted_on, tried_on = halves
    for kind in kinds if min(images) else ():
        for name, sign in ALONE.items():
            clean, attacked = (sign * values(tried_on, k, [name])[:, 0] for k in ("clean", kind))
            results.append({"detector": name, "attack": kind, **judged(clean, attacked)})
    for learnt in (k for k in ("attack", "output") if k in kinds and min(images)):
        clean, attacked = (values(fitted_on, k, OF_MAPS) for k in ("clean", learnt))
        both = np.vstack([clean, attacked])
        middle, spread = both.mean(0), both.std(0)
        spread[spread < 1e-12] = 1.0
        weights = logistic((both - middle) / spread, np.r_[np.zeros(len(clean), bool), np.ones(len(attacked), bool)])
        for kind in kinds:
            clean, attacked = (
                ((values(tried_on, k, OF_MAPS) - middle) / spread) @ weights[:-1] for k in ("clean", kind)
            )
            results.append({"detector": f"maps, fitted on {learnt}", "attack": kind, **judged(clean, attacked)})
            if kind == learnt:
                curves[kind] = roc(clean, attacked)
    return {"images": images, "results": results, "roc": curves}
