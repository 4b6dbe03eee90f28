"""CPU seconds of each method of ``source: text`` for a photo, with random weights of ViT-B/16: costs, no quality.

    python -m benchmarks.text_maps --photos 2

One thread, two tags of ten words, the texts encoded beforehand; ``proxy`` beside DINOv2's small transformer. The first
photo of each size does not count.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import open_clip
import torch
from torch.nn import functional as F

from benchmarks.choice import markdown
from wsss.inference.text_cams import dense_maps, grad_cam_maps
from wsss.inference.words import Words
from wsss.models.clip_tower import ClipTower
from wsss.models.patch_features import PatchFeatures
from wsss.settings import TextCamsSettings

SIZES = ((240, 320), (384, 512))
"""Height and width of a photo, multiples of 16, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text_maps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=3, help="photos that count, for each size (default 3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu").eval()
    model.requires_grad_(False)
    colours = model.visual.image_mean, model.visual.image_std
    tower = ClipTower(model, None, 16, *colours)  # no text is read
    dino = PatchFeatures("vit_small_patch14_dinov2.lvd142m", False)
    vectors = F.normalize(torch.randn(10, 512), dim=-1)
    words = Words(vectors, ((0,), (1,)), tuple(range(2, 10)), {})
    rows = []
    for method in get_args(TextCamsSettings.model_fields["method"].annotation):
        settings, row = TextCamsSettings(method=method), [method]
        for size in SIZES:
            spent = []
            for _ in range(args.photos + 1):
                pixels = torch.rand(1, 3, *size) * 255
                began = time.process_time()
                with torch.no_grad():
                    if method == "grad-cam":
                        grad_cam_maps(tower, pixels / 255, words, (0, 1), settings)
                    else:
                        alike = dino.of_pixels(pixels)[0] if method == "proxy" else None
                        dense_maps(tower, pixels / 255, words, (0, 1), settings, alike)
                spent.append(time.process_time() - began)
            row.append(f"{sum(spent[1:]) / args.photos:.2f}")
        rows.append(row)
    print(markdown(["method", *(f"{height} × {width}" for height, width in SIZES)], rows))


if __name__ == "__main__":
    main()
