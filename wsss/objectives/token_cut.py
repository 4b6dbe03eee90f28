"""TokenCut: saliency from the features of a frozen network, with nothing to train (``wsss.models.token_cut``)."""

from __future__ import annotations

from pathlib import Path

from wsss.models.frozen_features import frozen_features
from wsss.models.token_cut import TokenCut
from wsss.objectives.base import Learner
from wsss.settings import TokenCutSettings

VERSION = 1


class TokenCutLearner(Learner):
    """The network as it was published, or with the backbone of a classifier.

    Attributes:
        network: What the artefact keeps.
    """

    def __init__(self, settings: TokenCutSettings, warm_start: Path | None = None) -> None:
        self.network = TokenCut(frozen_features(settings, warm_start), settings.threshold).eval()
