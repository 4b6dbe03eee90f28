"""The steps of the chain as a table: which recipes each rule serves, where it writes, what it reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A rule that makes one artefact a recipe: which recipes it serves, where it writes, which part of the settings
    it reads.

    Attributes:
        kind: Kind of the recipes; also those of the references that count.
        folder: Folder of its artefacts below ``results/<dataset>/s<seed>``.
        variants: Values of the key that chooses between settings classes; empty: all.
        part: Block of the recipe that holds its settings; None: the recipe itself, without ``without``.
        without: Fields that this step does not read.
        reads: Its own input folders ``flag -> folder``, of the same name as the recipe.
        refs: Fields of the recipe that it follows; None: all.
    """

    kind: str
    folder: str
    variants: tuple[str, ...] = ()
    part: str | None = None
    without: frozenset[str] = frozenset()
    reads: tuple[tuple[str, str], ...] = ()
    refs: tuple[str, ...] | None = None


STEPS: dict[str, Step] = {
    "classifier": Step("classifiers", "classifiers"),
    "cams": Step("cams", "cams", ("classifier",)),
    "text_cams": Step("cams", "cams", ("text",)),
    "walk": Step("cams", "cams", ("walk",)),
    "feature_walk": Step("cams", "cams", ("feature-walk",)),
    "ensemble": Step("cams", "cams", ("ensemble",)),
    "external_cams": Step("cams", "cams", ("external",)),
    "saliency": Step("saliency", "saliency", without=frozenset({"maps", "refine"})),
    "saliency_maps": Step("saliency", "saliency-maps", part="maps", reads=(("saliency", "saliency"),), refs=()),
    "saliency_masks": Step("saliency", "saliency-masks", part="refine", reads=(("maps", "saliency-maps"),), refs=()),
    "affinity_labels": Step("affinity", "affinity-labels", part="labels", refs=("cams", "saliency")),
    "affinity": Step(
        "affinity", "affinity", without=frozenset({"labels"}),
        reads=(("labels", "affinity-labels"),), refs=("warm_start",),
    ),
    "masks": Step("masks", "masks", ("cams",)),
    "vote": Step("masks", "masks", ("vote",)),
    "choice": Step("masks", "masks", ("choice",)),
    "segmenter_masks": Step("masks", "masks", ("segmenter",)),
    "regions": Step("masks", "masks", ("regions",)),
    "external_masks": Step("masks", "masks", ("external",)),
    "segmenter": Step("segmenters", "segmenters", without=frozenset({"predict", "tags_from"})),
    "predictions": Step(
        "segmenters", "predictions", part="predict", reads=(("segmenter", "segmenters"),), refs=("tags_from",)
    ),
    "explanation": Step("explanations", "explanations"),
    "memory": Step("memories", "memories"),
    "audit": Step("audits", "audits"),
    "search": Step("searches", "searches"),
}  # fmt: skip
"""Rule -> what it makes. A rule, its stage program and its entry here carry the same name."""
READ_FROM = {"hints": "cams", "saliency": "saliency-maps"}
"""Field -> folder that stands for the recipe it names, where that is not the folder of the kind."""
LEARNT_FROM = {"saliency": "saliency-masks"}
"""The same for a saliency network, which learns from the masks of the recipe it names."""
SCORED = {
    "classifiers": "classifiers",
    "cams": "cams",
    "saliency": "saliency-maps",
    "saliency-masks": "saliency-masks",
    "masks": "masks",
    "segmenters": "predictions",
}
"""Kind of scores -> folder of the artefacts that are scored."""
OF_RECIPES = {"saliency-masks": "saliency"}
"""Kind of scores -> kind of recipe, where the two differ."""
COMPARED = {"explanations": "explanations", "audits": "audits", "continual": "memories", "searches": "searches"}
"""Table of a dataset, of its folder's name -> kind of the recipes that it puts side by side, or that it is made for."""
TABLES = frozenset({"summary", "report", "ablation_table", *COMPARED})
"""Stages that put scores, explanations, audits or searches together; made in seconds, so old ones are not kept."""
PIXEL_SCORES = ("cams", "saliency")
"""Kinds that are scored at thresholds; for the rest the evaluation's settings make no difference."""
