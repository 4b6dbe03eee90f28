"""Weights of the packages of ``wsss.system.packaged_weights`` under timm's names."""

from __future__ import annotations

import timm
import torch

from wsss.errors import WsssError
from wsss.store.weights import load_weights
from wsss.system.packaged_weights import packaged_file

COUNTER = "num_batches_tracked"


def packaged_weights(backbone: str) -> dict[str, torch.Tensor]:
    """All tensors of a backbone, classification head included, from its package.

    They were converted from TensorFlow in the order of the layers, which is timm's, under other names
    (``_blocks.1._expand_conv.weight`` for ``blocks.1.0.conv_pw.weight``). So the order tells which is which.

    Raises:
        WsssError: No package has weights of this backbone; it is not installed; or it holds others than expected.
    """
    file = packaged_file(backbone)
    found = {name: tensor for name, tensor in load_weights(file)[0].items() if not name.endswith(COUNTER)}
    with torch.device("meta"):
        wanted = {k: v for k, v in timm.create_model(backbone).state_dict().items() if not k.endswith(COUNTER)}
    pairs = list(zip(wanted.items(), found.values(), strict=False))
    if len(wanted) != len(found) or any(want.shape != tensor.shape for (_, want), tensor in pairs):
        raise WsssError(
            f"{file}: not the weights of {backbone} that were expected; install the package's version 0.1.0"
        )
    return {name: tensor for (name, _), tensor in pairs}
