"""Explanations of classifiers and segmentation networks: raw signed maps of every label of a batch.

Three things meet: a ``Subject`` (a network and the layer that is looked at), a target (``Classes`` of a classifier,
``Regions`` of a segmentation network), and a method, fetched by its name::

    subject = Subject(torchvision.models.resnet50(), layer="layer4", head="fc")
    rows = find("minmax-cam")()(subject, images, Classes("pred"))

``rows.maps`` has one row for each pair of an image and a class, ``rows.image_idx`` and ``rows.class_idx`` say which.
What maps are worth is measured by ``wsss.explain.metrics``; ``Cam`` has the call of pytorch-grad-cam.
"""

from __future__ import annotations

from wsss.explain.adapter import Cam
from wsss.explain.base import Explainer, Explanation
from wsss.explain.callables import Scalars
from wsss.explain.methods import find, names
from wsss.explain.regions import Regions
from wsss.explain.subject import Subject, subject_of
from wsss.explain.targets import Classes, Rows, Target

__all__ = [
    "Cam",
    "Classes",
    "Explainer",
    "Explanation",
    "Regions",
    "Rows",
    "Scalars",
    "Subject",
    "Target",
    "find",
    "names",
    "subject_of",
]
