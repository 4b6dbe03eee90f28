"""Seg-HiRes-Grad-CAM (Rheude et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from wsss.explain.methods.hires_cam import HiResCam

VERSION = 1


@dataclass(frozen=True)
class SegHiResGradCam(HiResCam):
    """L = sum_k (dT_c(M) / dA_k) * A_k, cell by cell, for ``Regions`` of a segmentation network.

    With a 1x1 convolution after A it is zero outside M and adds up to T - b |M|.
    """
