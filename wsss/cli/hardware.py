"""This machine as ``wsss init`` sees it: GPUs, and where ImageNet weights of a backbone can be had."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsss.errors import WsssError
from wsss.system.cores import available_cores
from wsss.system.packaged_weights import PACKAGED, PACKAGES, is_installed
from wsss.text import nice

USUAL = {"cpu": "mobilenetv2_100", "cuda": "resnet50"}
"""Backbone by type of device, with weights of the hub; on a CPU one that trains at 10 to 50 photos a second on two
cores."""
UNTRAINED = "resnet10t"
"""Backbone where no weights can be had: small enough to learn from the photos alone."""
FOLDER = "weights"
"""Name of folders that are looked through for files of weights."""
SUFFIXES = (".safetensors", ".pth", ".pt")
WAIT = 5.0
"""Seconds to wait for the hub's answer."""


@dataclass(frozen=True)
class Machine:
    """What trains."""

    gpus: int
    gpu: str = ""
    """Name and memory of the first GPU."""
    cores: int = 1

    @property
    def device(self) -> str:
        """Where networks run: ``cuda`` or ``cpu``."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        cores = f"{self.cores} CPU core{'s' * (self.cores > 1)}"
        return f"{self.gpus} x {self.gpu}, {cores}" if self.gpus else f"no GPU, {cores}"


@dataclass(frozen=True)
class Weights:
    """A backbone and its ImageNet weights.

    Attributes:
        backbone: timm name.
        pretrained: As in the settings: a file's path, ``True`` for the hub's, ``packaged``, ``False`` for none.
        said: Where they come from, in words.
    """

    backbone: str
    pretrained: str | bool
    said: str


def this_machine() -> Machine:
    """GPUs as torch sees them, and the cores this process may use."""
    import torch

    cores = available_cores()
    if not torch.cuda.is_available():
        return Machine(0, cores=cores)
    about = torch.cuda.get_device_properties(0)
    return Machine(torch.cuda.device_count(), f"{about.name} ({about.total_memory / 2**30:.0f} GiB)", cores)


def choose_weights(device: str, given: Path | None, backbone: str | None, near: Iterable[Path]) -> Weights:
    """A backbone for a device, and weights for it: the given file, else one in a folder ``weights``, else the
    hub's, else those of an installed package.

    Args:
        device: ``cpu`` or ``cuda``.
        given: A file of weights that was named.
        backbone: A timm name that was given; None: the file's name tells, or what is usual for the device.
        near: Folders in which a folder ``weights`` is looked for.

    Raises:
        WsssError: The given file is missing or does not fit, or its backbone is unknown.
    """
    from wsss.models.backbone import check_name

    if backbone is not None:
        check_name(backbone)
    if given is not None:
        if not given.is_file():
            raise WsssError(f"--weights {given}: there is no such file")
        named = backbone or model_of(given)
        if named is None:
            raise WsssError(f"--weights {given}: its name is no model of timm; name the network with --backbone")
        must_fit(named, given)
        return Weights(named, nice(given), f"{nice(given)} (given)")
    wanted = backbone or USUAL[device]
    files = {path: name for path in _files(near) if (name := model_of(path)) and name in (backbone or name,)}
    for path, name in sorted(files.items(), key=lambda one: (one[1] != wanted, str(one[0]))):
        try:
            must_fit(name, path)
        except WsssError:
            continue
        return Weights(name, nice(path), f"{nice(path)} (found)")
    where = hub(wanted)
    if where is not None:
        return Weights(wanted, True, f"the hub of timm ({where})")
    for name in (backbone,) if backbone else PACKAGES:
        if name in PACKAGES and is_installed(name):
            return Weights(name, PACKAGED, f"those of the package {PACKAGES[name].distribution}")
    return Weights(backbone or UNTRAINED, False, "none: no file given or found, and the hub cannot be reached")


def _files(near: Iterable[Path]) -> list[Path]:
    folders = {(one / FOLDER).resolve(): one / FOLDER for one in near}
    return [path for one in folders.values() if one.is_dir() for path in one.iterdir() if path.suffix in SUFFIXES]


def model_of(path: Path) -> str | None:
    """The timm model that a file of weights is named after: ``mobilenetv2_100.safetensors``,
    ``resnet50.a1_in1k.pth``; None for other names."""
    import timm

    name = path.name.partition(".")[0]
    return name if timm.is_model(name) else None


def must_fit(backbone: str, path: Path) -> None:
    """Raise ``WsssError`` unless the file holds weights of this backbone."""
    import timm

    from wsss.models.backbone import load_pretrained

    load_pretrained(timm.create_model(backbone, num_classes=0), backbone, str(path))


def hub(backbone: str) -> str | None:
    """Whether the hub's weights of a timm model can be had: ``cached``, ``to be fetched``, or None."""
    import timm
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    about = timm.get_pretrained_cfg(backbone)
    if about is None or not about.hf_hub_id:
        return None
    for name in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(try_to_load_from_cache(about.hf_hub_id, name), str):
            return "cached"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    try:
        get_hf_file_metadata(hf_hub_url(about.hf_hub_id, "model.safetensors"), timeout=WAIT)
    except Exception:  # the hub's clients raise many kinds, and each means the same here
        return None
    return "to be fetched once"
