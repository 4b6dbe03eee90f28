"""The lines of docs/interfaces.md, run as they stand there, and what they give."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.cli import parser
from wsss.data.index import Item, write_index
from wsss.models.segmenter import load_segmenter
from wsss.store.manifest import write_manifest
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

PAGE = (Path(__file__).parents[2] / "docs" / "interfaces.md").read_text(encoding="utf-8")
IDS = ["train-00000", "train-00001"]


def lines(mark: str) -> str:
    """The code blocks that begin with this comment (or hold this word, where there is no comment)."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    return "\n".join(block for block in blocks if block.startswith(f"# {mark}\n") or mark in block.splitlines()[0])


def played(mark: str, **names: Any) -> dict[str, Any]:
    exec(compile(lines(mark), f"docs/interfaces.md ({mark})", "exec"), names)  # noqa: S102
    return names


@pytest.fixture
def results(tmp_path, monkeypatch, networks) -> dict[str, np.ndarray]:
    """A run's folder to stand in, and the pseudo-labels in it by id."""
    monkeypatch.chdir(tmp_path)
    index, masks = Path("results/scenes/index"), MaskFolder("results/scenes/s0/masks/p-noc/masks")
    (index / "images").mkdir(parents=True)
    random, items, made = np.random.default_rng(0), [], {}
    for id in [*IDS, "val-00000"]:
        image = index / "images" / f"{id}.png"
        Image.fromarray(random.integers(0, 255, (96, 80, 3), dtype=np.uint8)).save(image)
        items.append(Item(id, id.split("-")[0], image, None, 96, 80, (0, 1), False))
        if id in IDS:
            made[id] = random.choice(np.array([0, 1, 2, 255], np.uint8), (96, 80))
            masks.write(id, made[id])
    write_index(index, ("cat", "dog"), items)
    write_json(index / "report.json", {"dataset": "scenes"})
    write_manifest(index, {"stage": "index"})
    Path("results/scenes/s0/segmenters").mkdir()
    Path("results/scenes/s0/segmenters/p-noc").symlink_to(networks["unet"])
    played("from wsss.interfaces import write_list")
    assert Path("train.txt").read_text() == "train-00000\ntrain-00001\n"
    return made


def test_torchvision(results):
    torch.manual_seed(0)
    found = played("torchvision")
    assert found["image"].shape == (3, 64, 64) and found["mask"].shape == (1, 64, 64)
    assert set(found["mask"].unique().tolist()) == {0, 1, 2, 255}
    whole = found["tv_tensors"].Mask(found["Image"].open("results/scenes/s0/masks/p-noc/masks/train-00000.png"))
    assert np.array_equal(whole[0].numpy(), results["train-00000"])


def test_hugging_face_datasets(results):
    pytest.importorskip("datasets", reason="pip install '.[interfaces]'")
    dataset = played("datasets")["dataset"]
    assert len(dataset) == 2
    for row, id in zip(dataset, IDS, strict=True):
        assert np.array_equal(np.array(row["mask"]), results[id]) and row["image"].size == (80, 96)


def test_mmsegmentation(results):
    """Where it is not installed, its rule: image and mask of an id are PATH/ID.SUFFIX, the mask read by Pillow."""
    names = {"BaseSegDataset": lambda *given, **more: (given, more)}
    try:
        from mmseg.datasets import BaseSegDataset  # noqa: F401
    except ImportError:
        code = lines("mmseg").replace("from mmseg.datasets import BaseSegDataset\n", "")
        exec(compile(code, "docs/interfaces.md (mmseg)", "exec"), names)  # noqa: S102
        (ids, image, mask, about), more = names["dataset"]
        pairs = [
            {
                "img_path": f"{more['data_prefix']['img_path']}/{id}{image}",
                "seg_map_path": f"{more['data_prefix']['seg_map_path']}/{id}{mask}",
            }
            for id in Path(ids).read_text().splitlines()
        ]
    else:
        dataset = played("mmseg")["dataset"]
        about, pairs = dataset.metainfo, [dataset.get_data_info(n) for n in range(len(dataset))]
        assert dataset.reduce_zero_label is False and dataset.ignore_index == 255
    assert list(about["classes"]) == ["background", "cat", "dog"]
    assert [Path(pair["img_path"]).stem for pair in pairs] == IDS
    for pair, id in zip(pairs, IDS, strict=True):
        assert Image.open(pair["img_path"]).size == (80, 96)
        assert np.array_equal(np.array(Image.open(pair["seg_map_path"])), results[id])


def test_segmentation_models_pytorch(results):
    images = torch.randn(2, 3, 64, 96)
    found = played("smp", images=images)
    assert type(found["model"]).__module__.startswith("segmentation_models_pytorch.")
    network = load_segmenter(Path("results/scenes/s0/segmenters/p-noc"))[0].eval()
    with torch.no_grad():
        assert torch.equal(found["logits"], network(images))
        assert torch.equal(found["same"](images), network(images))


def test_the_commands_on_the_page_can_be_read():
    commands = re.findall(r"^wsss (export .*)$", PAGE, re.M)
    read = [parser().parse_args(shlex.split(command)) for command in commands]
    assert [(args.to, args.out.name, args.normalise) for args in read] == [
        ("onnx", "p-noc.onnx", False),
        ("torch.export", "p-noc.pt2", True),
        ("coco", "masks.json", False),
        ("cvat", "masks.xml", False),
        ("labelstudio", "tasks.json", False),
        ("png", "masks", False),
    ]
