"""Network weights as safetensors, with the settings that rebuild the network in the file's header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from wsss.errors import WsssError
from wsss.system.files import atomic_path, parse_json, usual_mode


def save_weights(path: Path | str, weights: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write a state dict (any shapes and dtypes) atomically; ``about`` is kept as JSON in the header."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"wsss": json.dumps(about, sort_keys=True)})
        temporary.chmod(usual_mode())  # safetensors gives its owner alone the right to read


def described(path: Path) -> dict[str, Any]:
    """What was said about weights when they were saved, without reading them."""
    try:
        with safe_open(path, framework="np") as file:
            return _about(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise WsssError(f"{path}: not a readable file of weights ({error}); fetch or make it again") from error


def _about(file: Any) -> dict[str, Any]:
    """What was said about weights, from an opened file. Raises ``ValueError``."""
    about = parse_json((file.metadata() or {}).get("wsss", "{}"))
    if not isinstance(about, dict):
        raise ValueError("what its header says of it is no mapping")
    return about


def load_weights(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A state dict on the CPU, and what was said about it.

    ``.safetensors`` and pickled ``.pth``/``.pt`` files are read, the latter with ``weights_only=True``: no code in the
    file is run. A state dict one level down (``state_dict``, ``model``) is found.

    Raises:
        WsssError: The file is missing, or is not a file of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise WsssError(f"{path}: no such file of weights; check the path (it is relative to the working directory)")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                about = _about(file)
            return load_file(path), about
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise WsssError(f"{path}: not a readable file of weights ({error}); fetch or make it again") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a crafted file provokes
        raise WsssError(f"{path}: refused, the file holds more than tensors; convert it to safetensors") from error
    for key in ("state_dict", "model"):
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(one, torch.Tensor) for name, one in weights.items()
    ):
        raise WsssError(f"{path}: refused, the file holds more than tensors by name; convert it to safetensors")
    return weights, {}
