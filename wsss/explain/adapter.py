"""Explainers called as those of pytorch-grad-cam are, so that its metrics and overlays work on them.

    with Cam("minmax-cam", Subject(network, layer="layer4", head="fc")) as cam:
        shown = cam(input_tensor=images, targets=[ClassifierOutputTarget(281)])
        overlay = show_cam_on_image(photo, shown[0], use_rgb=True)

pytorch-grad-cam itself is not needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from wsss.errors import WsssError
from wsss.explain import postprocess
from wsss.explain.base import Explainer, Explanation
from wsss.explain.callables import Scalars
from wsss.explain.methods import find
from wsss.explain.subject import Subject
from wsss.explain.targets import Classes, Policy, Rows, Target

FACTORS = (0.9, 1.0, 1.1)
"""What the images are multiplied with when maps are smoothed over augmentations, mirrored and not."""


@dataclass(frozen=True, eq=False)
class OneEach(Classes):
    """One class of each image; which are considered present still follows from the policy.

    Args:
        classes: A class number for each image; None: the class with the highest score.
    """

    policy: Policy = "pred"
    classes: Sequence[int] | None = None

    def rows(self, output: torch.Tensor, single_label: bool = False) -> Rows:
        present = super().rows(output, single_label).present
        if self.classes is None:
            return Rows(torch.arange(len(output), device=output.device), output.argmax(1), present)
        wrong = [c for c in self.classes if not 0 <= c < output.shape[1]]
        if wrong:
            raise WsssError(f"class {wrong[0]} is asked for, the network has classes 0 to {output.shape[1] - 1}")
        numbers = torch.arange(len(output), device=output.device)
        return Rows(numbers, torch.tensor(self.classes, dtype=torch.int64, device=output.device), present)

    def about(self) -> dict[str, Any]:
        return {**super().about(), "only": "highest" if self.classes is None else list(self.classes)}


class Cam:
    """An explainer with the call of pytorch-grad-cam's ``BaseCAM``.

    Args:
        explainer: A method, or its name.
        subject: The network and its layer; several (of one network): maps are averaged over their layers.
        seed: The run's seed.

    Attributes:
        model: The network.
        outputs: What the network said of the last batch.
        explanations: The raw maps of the last call, one for each subject.
    """

    def __init__(self, explainer: Explainer | str, subject: Subject | Sequence[Subject], seed: int = 0) -> None:
        self.explainer = find(explainer)() if isinstance(explainer, str) else explainer
        self.subjects = [subject] if isinstance(subject, Subject) else list(subject)
        if not self.subjects or any(each.network is not self.subjects[0].network for each in self.subjects):
            raise WsssError("maps are averaged over layers of one network; give at least one subject, all of the same")
        self.seed = seed
        self.model = self.subjects[0].network
        self.outputs: torch.Tensor | None = None
        self.explanations: list[Explanation] = []

    def __call__(
        self,
        input_tensor: torch.Tensor,
        targets: Sequence[Any] | Target | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """Maps fp32 (B, H, W) at the input's size: rectified, from 0 to (nearly) 1, all zero where nothing is positive.

        Args:
            input_tensor: Normalised images (B, 3, H, W).
            targets: For each image a ``ClassifierOutputTarget``, a class number, or any function of the image's output
                (all of one kind; methods that read the head's weights or contrast classes take no functions); None:
                the class with the highest score. Or a ``Target`` of this package that asks one thing of each image.
            aug_smooth: Mean over the images mirrored or not and times 0.9, 1 and 1.1: six times the cost.
            eigen_smooth: Not possible here.

        Raises:
            WsssError: Targets that do not match the images or the method; ``eigen_smooth``.
        """
        if eigen_smooth:
            raise WsssError(
                "eigen_smooth needs each channel's map and explainers give their sum; leave it False, or take "
                "external:pgc:EigenGradCAM"
            )
        if not aug_smooth:
            return self._maps(input_tensor, targets).cpu().numpy()
        found = []
        for mirrored in (False, True):
            for factor in FACTORS:
                images = (input_tensor.flip(-1) if mirrored else input_tensor) * factor
                maps = self._maps(images, targets)
                found.append(maps.flip(-1) if mirrored else maps)
        return torch.stack(found).mean(0).cpu().numpy()

    def __enter__(self) -> Cam:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays behind after a call, so there is nothing to undo, and no error is hidden."""

    def _maps(self, images: torch.Tensor, targets: Sequence[Any] | Target | None) -> torch.Tensor:
        target = target_of(targets, len(images))
        self.explanations = [self.explainer(each, images, target, seed=self.seed) for each in self.subjects]
        self.outputs = self.explanations[0].output
        layers = []
        for made in self.explanations:
            if made.image_idx.tolist() != list(range(len(images))):
                raise WsssError(
                    f"the target gives {len(made.rows)} maps for {len(images)} images, and one each is asked for here; "
                    "call the explainer itself for all of them"
                )
            maps = made.maps
            if maps.ndim == 4:
                maps = postprocess.reduce_channels(maps, self.explainer.channels or "max_abs")
            layers.append(maps)
        return postprocess.pgc(layers, images.shape[2:])


def target_of(targets: Sequence[Any] | Target | None, images: int) -> Target:
    """The target that a list of pytorch-grad-cam's stands for.

    Raises:
        WsssError: Not one for each image, or neither classes nor functions.
    """
    if targets is None:
        return OneEach()
    if isinstance(targets, Target):
        return targets
    targets = list(targets)
    if len(targets) != images:
        raise WsssError(f"{len(targets)} targets for {images} images; give one for each")
    classes = [number for number in map(class_of, targets) if number is not None]
    if len(classes) == len(targets):
        return OneEach(classes=classes)
    if all(callable(each) for each in targets):
        return Scalars(targets)
    raise WsssError("targets are class numbers, ClassifierOutputTargets or functions of an image's output")


def class_of(target: int | Callable[[torch.Tensor], torch.Tensor]) -> int | None:
    """The class whose score a target is, by its number or as a ``ClassifierOutputTarget``; None: something else."""
    # by name: its kin (softmax, ...) have a category too
    number = getattr(target, "category", None) if type(target).__name__ == "ClassifierOutputTarget" else target
    return int(number) if isinstance(number, int | np.integer) and not isinstance(number, bool) else None
