"""The Python door: trained networks on photos, and whole runs, from a script or a notebook.

``import wsss`` gives ``load`` and ``run``; nothing heavy is imported before one of them is called.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss.data.images import read_image
from wsss.data.palette import encode_mask
from wsss.errors import WsssError
from wsss.interfaces.networks import adjusted, classes_of, network_in, recipe
from wsss.interfaces.photo_files import photo_files
from wsss.settings import PredictSettings
from wsss.store.artefact import Artefact
from wsss.system.cores import available_cores
from wsss.system.files import atomic_path
from wsss.text import nice

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from wsss.inference.tag_limits import TagLimits


@dataclass(frozen=True)
class Prediction:
    """The mask of a photo.

    Attributes:
        mask: uint8 (H, W), the upright photo's size: 0 background, c the c-th class.
        classes: Names of the classes; ``classes[c - 1]`` is that of value c.
        photo: uint8 (H, W, 3), RGB, upright.
        path: File of the photo; None for an array or a picture in memory.
    """

    mask: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    photo: np.ndarray = field(repr=False)
    path: Path | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Share of the photo's pixels, 0..1, of each class that is in the mask, the largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes) + 1)[1:]
        found = {name: int(n) / self.mask.size for name, n in zip(self.classes, counts, strict=True) if n}
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def overlay(self) -> Image:
        """The photo with half of each class's colour over it, and borders in the full colour."""
        from PIL import Image

        from wsss.interfaces.predict import overlay

        return Image.fromarray(overlay(self.photo, self.mask))

    def save(self, path: Path | str) -> Path:
        """Write the mask as 8-bit palette PNG (VOC colours); returns the path. Raises ``WsssError`` for any suffix but
        ``.png``: other formats would change values."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise WsssError(f"{path}: a mask is saved as .png; for a picture to look at, save the overlay")
        with atomic_path(path) as temporary:
            temporary.write_bytes(encode_mask(self.mask))
        return path

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the overlay."""
        return self.overlay()._repr_png_()


class Network:
    """A trained segmentation network, as ``wsss.load`` gives it.

    Attributes:
        folder: Where it lies.
        classes: Names of the object classes.
        settings: How it is applied, as its recipe has it: scales, mirror, dense CRF.
        tags_from: Folder of the classifier that says which classes a photo may hold; None: the network decides alone.
    """

    def __init__(self, found: Artefact, device: str = "auto", threads: int | None = None) -> None:
        self.folder = found.folder
        self.classes = classes_of(found)
        applied = recipe(found)
        self.settings: PredictSettings = applied.settings
        self.tags_from: Path | None = applied.tags_from
        self._device, self._threads = device, threads or available_cores()

    def __repr__(self) -> str:
        return f"wsss.load({nice(self.folder)!r})  # {', '.join(self.classes)}"

    @cached_property
    def _opened(self) -> tuple[torch.nn.Module, torch.device]:
        from wsss.inference.network import for_inference
        from wsss.models.segmenter import load_segmenter

        return for_inference(load_segmenter(self.folder)[0], self._device, self._threads)

    @cached_property
    def _limits(self) -> TagLimits | None:
        from wsss.inference.tag_limits import open_limits

        return open_limits(self.tags_from, self.classes, self._device, self._threads)

    def predict(self, photos: Any, scales: Sequence[float] | None = None, crf: str | None = None) -> Any:
        """Masks of photos; the same as those of ``wsss predict``, to the last pixel.

        Args:
            photos: One photo: the path of a file, a picture of Pillow, or an array uint8 (H, W, 3), RGB, or (H, W).
                Or several: a folder, a pattern such as ``photos/*.jpg``, or a list of any of these.
            scales: Sizes at which each photo is seen, 1: its own; None: as the recipe has it.
            crf: Name of a dense CRF, or ``none``; None: as the recipe has it.

        Returns:
            A ``Prediction`` for one photo; a list of them, sorted by path within a folder or pattern, for several.

        Raises:
            WsssError: No such photo, one that cannot be read, or a value out of range.
        """
        settings = adjusted(self.settings, scales, crf)
        single = not isinstance(photos, list | tuple) and not _is_many(photos)
        with tempfile.TemporaryDirectory(prefix="wsss-") as scratch:
            given = list(_sources(photos if isinstance(photos, list | tuple) else [photos], Path(scratch)))
            found = self._predicted(given, settings)
        return found[0] if single else found

    def _predicted(self, given: list[tuple[Path, bool]], settings: PredictSettings) -> list[Prediction]:
        """Predictions of files, in their order; each with whether the file is the user's."""
        from wsss.data.buckets import buckets
        from wsss.data.index import Item
        from wsss.inference.segmentation import pixel_probabilities
        from wsss.stages.predictions import labels_of

        network, device = self._opened
        pictures = [read_image(path) for path, _ in given]
        items = [
            Item(str(k), "val", path, None, picture.shape[0], picture.shape[1], (), False)
            for k, ((path, _), picture) in enumerate(zip(given, pictures, strict=True))
        ]
        among = buckets(items)
        pairs = pixel_probabilities(network, items, settings, device, self._threads, among)
        if self._limits is not None:
            pairs = self._limits(pairs, items, settings, self._threads, among)
        masks = {int(item.id): labels_of(item, scores, settings) for item, scores in pairs}
        return [
            Prediction(masks[k], self.classes, picture, path if own else None)
            for k, ((path, own), picture) in enumerate(zip(given, pictures, strict=True))
        ]


def _is_many(photos: Any) -> bool:
    """Whether a path names several photos: a folder, or a pattern and no file."""
    if not isinstance(photos, str | os.PathLike):
        return False
    path = Path(photos)
    return path.is_dir() or not path.is_file() and any(sign in str(photos) for sign in "*?[")


def _sources(photos: Sequence[Any], scratch: Path) -> list[tuple[Path, bool]]:
    """The file of each photo, and whether it is the user's; what is in memory is written without loss first."""
    found: list[tuple[Path, bool]] = []
    for one in photos:
        if isinstance(one, str | os.PathLike):
            files, _ = photo_files([Path(one) if Path(one).exists() else str(one)])
            found += [(path, True) for paths in files.values() for path in paths]
        else:
            found.append((_written(one, scratch / f"{len(found)}.png"), False))
    return found


def _written(picture: Any, path: Path) -> Path:
    from PIL import Image, ImageOps

    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
    else:
        array = np.asarray(picture)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (3, 4):
            raise WsssError(
                "a photo is a path, a picture of Pillow, or an array uint8 (height, width, 3), not "
                f"{type(picture).__name__} {array.dtype} {array.shape}"
            )
        picture = Image.fromarray(array)
    picture.save(path, compress_level=1)
    return path


def load(network: Path | str, device: str = "auto", threads: int | None = None) -> Network:
    """A trained segmentation network.

    Args:
        network: Its folder, ``results/DATASET/sSEED/segmenters/NAME``; or the folder of a run or of a seed, if one
            network alone is there.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Cores that it may use; None: all.

    Raises:
        WsssError: No network there, or several.
    """
    return Network(network_in(Path(network)), device, threads)


def run(config: Path | str | Mapping[str, Any] = "config.yaml", *flags: str, folder: Path | str = ".") -> Path:
    """Make whatever is missing or out of date, as ``wsss run`` does, and wait for it.

    Finished results that the configuration makes stale are made again without a question; the old ones are kept.

    Args:
        config: A configuration file, or its content as a mapping.
        flags: Further words of ``wsss run``: ``"-n"``, ``"all_masks"``, ``"--most", "5"``.
        folder: Where it runs: paths in the configuration start here.

    Returns:
        The folder of the results (``results``).

    Raises:
        WsssError: The configuration has problems, or the run failed; what it said stands on stderr.
    """
    from wsss.config.loader import load as load_config
    from wsss.config.yaml import read_yaml

    folder = Path(folder)
    with tempfile.TemporaryDirectory(prefix="wsss-") as scratch:
        if isinstance(config, Mapping):
            import yaml

            path = Path(scratch) / "config.yaml"
            path.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), "utf-8")
        else:
            path = (folder / config).absolute()
            if not path.is_file():
                raise WsssError(f"{path}: there is no such configuration; wsss init FOLDER writes one for your photos")
        results = load_config(read_yaml(path)).results
        words = [sys.executable, "-m", "wsss", "run", "--configfile", str(path), "--yes", *flags]
        code = subprocess.run(words, cwd=folder, env=_environment()).returncode
    if code:
        raise WsssError(f"the run failed (exit code {code}); what went wrong stands above, and in {folder / 'logs'}")
    return folder / results


def _environment() -> dict[str, str]:
    """That of this process, with the place where this package lies, which need not be installed."""
    here = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}
