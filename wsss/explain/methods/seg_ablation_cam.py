"""Seg-Ablation-CAM (Gipiskis et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from wsss.explain.methods.ablation_cam import AblationCam

VERSION = 1


@dataclass(frozen=True)
class SegAblationCam(AblationCam):
    """L = sum_k w_k A_k with w_k = (T - T without channel k) / |T|, for ``Regions`` of a segmentation network.

    A channel is set to zero everywhere, or only inside or outside the region (``part``). The decoder alone runs, once a
    channel; with ``part: all`` every class and region shares its passes.
    """

    closed_form: bool = False
