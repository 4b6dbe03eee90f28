"""The readers of files that others may have made: a good example of each, how it is damaged, and what they promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import mutations
from tests.fuzz.artefacts import (
    good_exemplars,
    good_maps,
    good_masks,
    good_packs,
    good_photos,
    good_weights,
    read_exemplars,
    read_external_maps,
    read_maps,
    read_masks,
    read_packs,
    read_photos,
    read_weight_files,
)
from tests.fuzz.datasets import (
    good_coco,
    good_drawn,
    good_exports,
    good_regions,
    good_tags,
    good_voc,
    good_workbook,
    read_coco,
    read_drawn,
    read_exports,
    read_region_files,
    read_tag_files,
    read_voc,
    read_workbooks,
)
from tests.fuzz.examples import Named, is_texts
from wsss.config.loader import load
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError
from wsss.runtime.arguments import read_settings
from wsss.settings import KINDS, Settings
from wsss.text import nice


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        good: Writes a good example into an empty folder.
        hurt: How its files are damaged, by suffix; files of other suffixes stay.
        read: Reads the folder. Raises ``AssertionError`` where what it gets is not what is promised.
    """

    good: Callable[[Path], None]
    hurt: Mapping[str, mutations.Mutation]
    read: Callable[[Path], None]

    def example(self, folder: Path) -> dict[str, bytes]:
        """The good example: bytes by path below the folder."""
        self.good(folder)
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    def damaged(self, rng: Random, files: dict[str, bytes]) -> dict[str, bytes]:
        """The example with one of its files damaged."""
        name = rng.choice([name for name in files if Path(name).suffix in self.hurt])
        return {**files, name: self.hurt[Path(name).suffix](rng, files[name])}


RECIPES = """\
dataset: photos
seeds: [0, 1]
results: results
datasets:
  photos: {kind: folder, images: photos, labels: photos/tags.csv}
defaults:
  classifiers: {epochs: 3, crop: 64}
classifiers:
  plain: {objective: vanilla, backbone: resnet18, lr: 0.1}
  clever: {objective: p-noc, ordinary: plain}
cams:
  plain: {classifier: plain, scales: [1.0, 0.5]}
masks:
  plain: {cams: plain, threshold: {policy: fixed, value: 0.3}}
segmenters:
  plain: {masks: plain, predict: {crf: null}}
"""


def good_configuration(folder: Path) -> None:
    (folder / "c.yaml").write_text(RECIPES)


def read_configuration(folder: Path) -> None:
    made = read_yaml(folder / "c.yaml")
    try:
        config = load(made)
    except WsssError as error:
        assert "onfiguration" in str(error) or "c.yaml" in str(error), error
        raise Named from None
    assert is_texts(config.dataset) and all(0 <= seed < 2**32 for seed in config.seeds)
    assert all(isinstance(one, Settings) for recipes in config.recipes.values() for one in recipes.values())


def good_settings(folder: Path) -> None:
    (folder / "s.yaml").write_text("kind: coco\nroot: photos/coco\nyear: 2014\nbroken: drop\n")


def read_stage_settings(folder: Path) -> None:
    try:
        assert isinstance(read_settings(KINDS["datasets"], str(folder / "s.yaml")), Settings)
    except WsssError as error:
        assert "--settings" in str(error) or "onfiguration" in str(error), error
        raise Named from None


JSON, PNG, TEXT, HDF5 = mutations.of_json, mutations.of_png, mutations.of_text, mutations.of_hdf5
READERS: dict[str, Reader] = {
    "maps": Reader(good_maps, {".h5": HDF5}, read_maps),
    "external-maps": Reader(good_maps, {".h5": HDF5}, read_external_maps),
    "exemplars": Reader(good_exemplars, {".h5": HDF5}, read_exemplars),
    "masks": Reader(good_masks, {".png": PNG}, read_masks),
    "packs": Reader(good_packs, {".zip": mutations.of_archive(lambda _: PNG), ".json": JSON}, read_packs),
    "photos": Reader(
        good_photos,
        {".png": PNG, **dict.fromkeys((".jpg", ".gif", ".tif", ".webp", ".bmp", ".avif"), mutations.of_bytes)},
        read_photos,
    ),
    "coco": Reader(good_coco, {".json": JSON}, read_coco),
    "voc": Reader(good_voc, {".xml": TEXT, ".mat": mutations.of_bytes, ".png": PNG}, read_voc),
    "tables": Reader(good_tags, dict.fromkeys((".csv", ".tsv", ".txt"), TEXT), read_tag_files),
    "workbooks": Reader(good_workbook, {".xlsx": mutations.of_archive(lambda _: TEXT)}, read_workbooks),
    "exports": Reader(
        good_exports, {".json": JSON, ".xml": TEXT, ".txt": TEXT, ".yaml": mutations.of_yaml}, read_exports
    ),
    "regions": Reader(good_regions, {".json": JSON, ".png": PNG}, read_region_files),
    "drawn": Reader(good_drawn, {".json": JSON}, read_drawn),
    "configuration": Reader(good_configuration, {".yaml": mutations.of_yaml}, read_configuration),
    "settings": Reader(good_settings, {".yaml": mutations.of_yaml}, read_stage_settings),
    "weights": Reader(
        good_weights,
        {".safetensors": mutations.of_safetensors, ".pth": mutations.of_archive(lambda _: mutations.of_bytes),
         ".pt": mutations.of_bytes},
        read_weight_files,
    ),
}  # fmt: skip


def names(error: WsssError, folder: Path) -> bool:
    """Whether an error names one of the folder's files, or the folder."""
    files = [path.name for path in folder.rglob("*") if path.is_file()]
    return isinstance(error, Named) or any(one in str(error) for one in (str(folder), nice(folder), *files))
