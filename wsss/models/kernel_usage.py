"""Kernel usage regularisation: a head whose classes compete for each kernel (David, Pedrini and Dias 2023)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from wsss.errors import WsssError


class KernelUsageHead(nn.Conv2d):
    """A 1x1 convolution with the weights W_eff = alpha W * softmax of W over the classes, in training and inference.

    No loss, but another parameterisation: raw weights are what is trained, stored and decayed. Strongly negative ones
    hardly act, and below about -1 their gradient is reversed, so weight decay is in place. A bias stays as it is.

    Args:
        channels: K.
        classes: C.
        alpha: Scale above 0. None: C, with which equal weights act unchanged; the published layers have 1 unless told,
            and 20 for the 20 classes of VOC.
        bias: Whether there is one.

    Raises:
        WsssError: alpha is not above 0.
    """

    def __init__(self, channels: int, classes: int, alpha: float | None = None, bias: bool = False) -> None:
        super().__init__(channels, classes, 1, bias=bias)
        self.alpha = float(classes if alpha is None else alpha)
        if not self.alpha > 0:
            raise WsssError(f"kernel usage regularisation: alpha ({alpha}) must be above 0")

    def effective_weight(self) -> torch.Tensor:
        """W_eff fp32 (C, K, 1, 1): what explanations read in place of ``weight``."""
        with torch.autocast(self.weight.device.type, enabled=False):
            weight = self.weight.float()
            return self.alpha * weight * weight.softmax(0)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, h, w) of features (B, K, h, w)."""
        return F.conv2d(maps, self.effective_weight().to(self.weight.dtype), self.bias)

    def extra_repr(self) -> str:
        of_torch = super().extra_repr()  # type: ignore[no-untyped-call]  # torch gives it no types
        return f"{of_torch}, alpha={self.alpha:g}"
