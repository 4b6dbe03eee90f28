"""Images of one size together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.data.buckets import buckets
from wsss.data.index import Item
from wsss.data.loading import ScaledBatches, resized
from wsss.errors import WsssError
from wsss.parts.folder import own_items
from wsss.runtime.shard import Shard


def item(number: int, size: tuple[int, int], image: Path = Path("x")) -> Item:
    return Item(f"{number}", "train", image, None, *size, (0,), False)


def test_images_of_a_size_in_the_order_of_the_list():
    sizes = [(4, 5), (5, 4), (4, 5), (4, 5), (5, 4), (9, 9), (4, 5)]
    found = buckets([item(n, size) for n, size in enumerate(sizes)], most=3)
    assert [[i.id for i in bucket] for bucket in found] == [["0", "2", "3"], ["1", "4"], ["5"], ["6"]]
    assert buckets([]) == []


@pytest.mark.parametrize("total", [1, 2, 3, 7, 20])
def test_jobs_get_whole_buckets(total):
    items = [item(n, (4 + n % 3, 5)) for n in range(60)]
    shards = [own_items(SimpleNamespace(shard=Shard(number, total)), items) for number in range(total)]
    assert sorted(i.id for shard in shards for i in shard) == sorted(i.id for i in items)
    whole = [[i.id for i in bucket] for bucket in buckets(items)]
    for shard in shards:
        ids = {i.id for i in shard}
        assert all(ids.issuperset(bucket) or ids.isdisjoint(bucket) for bucket in whole)


@pytest.mark.parametrize("scale", [0.5, 0.37, 1.5, 2.0])
def test_pixels_are_those_of_pillow(scale):
    rng = np.random.default_rng(0)
    picture = np.array(Image.fromarray(rng.integers(0, 256, (20, 27, 3), np.uint8)).resize((216, 160)))
    size = (round(160 * scale), round(216 * scale))
    plain = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC)).astype(int)
    difference = np.abs(resized(torch.from_numpy(picture), size).numpy() - plain)
    assert difference.max() <= 2 and (difference > 1).mean() < 1e-4 and difference.mean() < 0.02


def test_batches(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20, 31, 3), np.uint8) for _ in range(2)]
    items = []
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        items.append(item(number, (20, 31), tmp_path / f"{number}.png"))
    batch, (half, one) = ScaledBatches([items], (0.5, 1.0), 1024)[0]
    assert batch == items and one.dtype == torch.uint8
    assert half.shape == (2, 3, 10, 16) and one.is_contiguous(memory_format=torch.channels_last)
    for number, picture in enumerate(pictures):
        assert np.array_equal(one[number].permute(1, 2, 0).numpy(), picture)
    _, (small,) = ScaledBatches([items], (2.0,), 10)[0]
    assert small.shape == (2, 3, 13, 20)  # reduced to 6.45 x 10 first, then doubled
    Image.fromarray(pictures[0][:19]).save(tmp_path / "1.png")
    with pytest.raises(WsssError, match=r"1\.png: it is 19 x 31, the index says 20 x 31; build the index again"):
        ScaledBatches([items], (1.0,), 1024)[0]
