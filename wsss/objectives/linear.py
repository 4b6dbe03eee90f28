"""A linear layer on the features of a frozen backbone: a linear probe (Alain and Bengio 2017) as a classifier.

Pooling and a 1x1 convolution commute, so a classifier's score of a class is the product of its weights with the pooled
features f; with the backbone frozen these are computed once. The weights are the minimum of

    sum over c of (mean over i of l(w_c . f_i / s, y_ic) + lambda/2 |w_c|^2),    s^2 = mean over i of |f_i|^2

with l the binary cross entropy; they are found by L-BFGS (Liu and Nocedal 1989) in double precision. There is one
minimum, so nothing depends on a start, an order or a seed. With plain features the layer has no bias, like the head of
other classifiers. With centred ones (``wsss.models.centred_features``) it has one: the weight of a feature that is 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from wsss.data.index import Item
from wsss.errors import WsssError
from wsss.inference.features import pooled_features
from wsss.losses.classification import positive_weights
from wsss.models.centred_features import centred
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.folding import fold_batch_norm
from wsss.objectives.base import Fitted
from wsss.settings import InferenceSettings, LinearSettings
from wsss.system.log import log

VERSION = 1
MOST_ITERATIONS = 2000
TOLERANCE = 1e-6
"""Largest component of the gradient at the minimum."""


class Linear(Fitted):
    """L = mean l(GAP(A), y) + lambda/2 |w|^2, over the weights of the head."""

    network: Classifier

    def __init__(
        self,
        settings: LinearSettings,
        classes: int,
        given: dict[str, Path],
        frequencies: torch.Tensor | None = None,
    ) -> None:
        self.settings, self.classes = settings, classes
        self.weights = positive_weights(settings.positive_weight, classes, frequencies)
        self.network = build_classifier(settings, classes, given.get("warm_start"))

    def fit(
        self, items: list[Item], device: torch.device, threads: int, heed: Callable[[], None]
    ) -> tuple[Classifier, tuple[float, float]]:
        s = self.settings
        view = InferenceSettings(scales=(1.0,), flip=s.flip, max_side=s.size)
        seen = copy.deepcopy(self.network).to(device).to(memory_format=torch.channels_last).eval()
        fold_batch_norm(seen, torch.zeros(1, 3, 64, 64, device=device))
        features = pooled_features(seen.backbone, items, view, device, threads, heed)
        labels = np.zeros((len(items), self.classes))
        for row, item in zip(labels, items, strict=True):
            row[list(item.labels)] = 1
        views = features.shape[1]
        positive = None if self.weights is None else self.weights.double().numpy()
        rows, width = features.reshape(len(items) * views, -1), features.shape[-1]
        head, centring = self.network.head, self.network.centring
        if centring is not None:
            rows, centre = centred(rows)
            rows = np.pad(rows, ((0, 0), (0, 1)), constant_values=1)
            centring.centre.copy_(torch.from_numpy(centre))
        found, losses = fit_linear(rows, labels.repeat(views, axis=0), s.penalty, positive, heed)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(found[:, :width, None, None]))
            if head.bias is not None:
                head.bias.copy_(torch.from_numpy(found[:, width]))
        return self.network.to(device).eval(), losses


def fit_linear(
    features: np.ndarray,
    labels: np.ndarray,
    penalty: float,
    positive: np.ndarray | None = None,
    heed: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, tuple[float, float]]:
    """Weights of a multi-label logistic regression without bias, and the loss after each iteration.

    Args:
        features: (N, D), any float type.
        labels: (N, C) in {0, 1}.
        penalty: lambda, above 0.
        positive: Weights (C,) of the positive half of the loss; None: 1.
        heed: Called after each iteration.

    Returns:
        float64 (C, D), for features as they are given; and the loss of the module's formula before and after.

    Raises:
        WsssError: The features are not finite, or all 0.

    Examples:
        >>> weights, _ = fit_linear(np.array([[2.0], [-2.0]]), np.array([[1.0], [0.0]]), penalty=0.5)
        >>> scaled = 2 * weights.item()  # w, for s = 2: the slope -1 / (1 + e^w) + w / 2 is 0
        >>> round(scaled / 2 - 1 / (1 + np.exp(scaled)), 5) + 0.0
        0.0
    """
    x, y = features.astype(np.float64), labels.astype(np.float64)
    count, (width, classes) = len(x), (x.shape[1], y.shape[1])
    scale = float(np.sqrt((x**2).sum(1).mean()))
    if not np.isfinite(scale) or scale == 0:
        raise WsssError(
            "the features of the backbone are not finite, or all 0, so no layer can be fitted to them; check "
            "'backbone' and 'pretrained'"
        )
    x /= scale
    weight = np.ones(classes) if positive is None else positive

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(classes, width)
        z = x @ w.T
        # -log s(z) and -log (1 - s(z)), without overflow
        above, below = np.logaddexp(0, -z), np.logaddexp(0, z)
        probability = np.exp(-above)
        loss = (weight * y * above + (1 - y) * below).sum() / count + penalty / 2 * (flat @ flat)
        residual = (1 - y) * probability - weight * y * (1 - probability)
        return float(loss), (residual.T @ x / count + penalty * w).ravel()

    def noted(_: np.ndarray) -> None:
        heed()

    options = {"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0, "maxcor": 20}
    start = np.zeros(classes * width)
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", callback=noted, options=options)
    slope = float(np.abs(found.jac).max())
    if slope > 10 * TOLERANCE:
        log.warning(f"the fit stopped at a gradient of {slope:.1e} ({found.message}); a larger 'penalty' helps")
    log.info(f"{count} views, {found.nit} iterations")
    return found.x.reshape(classes, width) / scale, (loss_and_gradient(start)[0], float(found.fun))
