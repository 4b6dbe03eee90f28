"""Features of a frozen backbone, by which parts of an image are alike or not; nothing is trained for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsss.settings.base import Neutral, Ref
from wsss.settings.training import NetworkSettings


class FeatureSettings(NetworkSettings):
    """Which features of which network are compared, and on which grid."""

    output_stride: Literal[8, 16, 32] = 32
    """Input pixels per cell of the last stage. With ``warm_start``: as the classifier has it. Without effect for
    patches and keys."""
    features: Annotated[Literal["stages", "patches", "keys"], Neutral("stages")] = "stages"
    """``stages``: the mean over several stages of a backbone, of the cosines of their features; ``patches``: the patch
    tokens of a vision transformer's last block, of DINO or DINOv2, say; ``keys``: the keys of its last attention, which
    TokenCut compares. Of patches and keys the grid is that of the patches."""
    warm_start: Annotated[str, Ref("classifiers")] | None = None
    """A trained classifier whose backbone is read in place of ``pretrained``; name one where that is ``false``, for
    random features tell little."""
    stages: Annotated[tuple[Literal[2, 4, 8, 16, 32], ...], Field(min_length=1)] = (4, 8, 16, 32)
    """The stages whose features are compared, by their strides (those that they have without dilation). Coarse ones
    alone know objects and not their borders."""
    grid_stride: Literal[4, 8, 16] = 8
    """Input pixels per cell of the grid, for stages."""

    @model_validator(mode="after")
    def _published(self) -> FeatureSettings:
        if self.features != "stages" and self.warm_start is not None:
            raise ValueError(
                f"features: {self.features} are of a transformer as it was published; leave 'warm_start' out, or "
                "compare 'stages'"
            )
        return self
