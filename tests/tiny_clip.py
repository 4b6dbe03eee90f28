"""A tiny CLIP with random weights in a folder, as open_clip reads one: config and safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def write_clip(folder: Path, drawn: Callable[[str, tuple[int, ...]], np.ndarray] | None = None) -> dict[str, str]:
    """Write it. Returns the settings ``model`` and ``weights`` that name it.

    ``drawn(name, shape)``: values in [0, 1) for a tensor, in place of what torch would draw.
    """
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in weights.items() if drawn is not None else ():
        if tensor.ndim > 1:
            values = torch.from_numpy(drawn(name, tuple(tensor.shape)))
            weights[name] = 2 * (values - 0.5) * tensor.shape[-1] ** -0.5
    save_file(weights, folder / "clip.safetensors")
    return {"model": f"local-dir:{folder}", "weights": str(folder / "clip.safetensors")}
