"""Make every picture of the documentation from a finished ablation study of the bundled scenes.

    snakemake --cores all ablation
    PYTHONPATH=. python docs/pictures.py results/scenes docs/images

The real photo is scikit-image's cat, ``skimage.data.chelsea()``, with the overlay that ``wsss predict`` made of it
(``--photo chelsea.png masks/overlays/chelsea.jpg``).

Nothing is trained: what lies there is read, and what a page explains step by step (scales, erasing, the dense CRF, the
walk, explanations) is computed anew for single images. The two of the report need a Chromium; where there is none they
stay as they are. A minute on one core.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from screenshots import screenshots
from sheets import Study, heat, over, pixels, save, sheet, shrink, signed, tensor, truth

from tests.report.browser import NAMES
from wsss.data.images import read_image, read_mask
from wsss.data.index import Item
from wsss.explain import Classes, find, subject_of
from wsss.explain.postprocess import reduce_channels, relu_max, resize
from wsss.inference.cams import class_activation_maps
from wsss.inference.walk import edge_maps
from wsss.losses.erasing import activation_mask, erase_hard, erase_soft
from wsss.losses.puzzle import merge_tiles, split_tiles
from wsss.models.edge_network import load_edge_network
from wsss.refine.crf import DenseCRF, label_unary
from wsss.refine.ensembles import combine
from wsss.refine.pseudo_masks import banded_mask, best_labels, pseudo_mask
from wsss.refine.random_walk import random_walk
from wsss.report.panels import paint_maps, paint_mask
from wsss.settings import CrfSettings, IgnoreBand, InferenceSettings, WalkSettings
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.views import decode_full, decode_low

OBJECTIVES = ("vanilla", "puzzle", "oc-cse", "p-oc", "p-noc")
CPU = torch.device("cpu")


def chain(study: Study, out: Path) -> None:
    """One image through the whole chain."""
    rows = []
    for item in study.shown[:3]:
        image = read_image(item.image)
        cams, walked = study.maps("p-noc-ls"), study.maps("walk")
        saliency = MapStore(study.at("saliency-maps", "c2am-h"))
        painted = [paint_maps(image, s.full(item.id), s[item.id].classes) for s in (cams, walked)]
        masks = [study.masks("masks", "walk"), study.masks("predictions", "walk")]
        found = [paint_mask(image, m.read(item.id)) for m in masks]
        rows.append([image, painted[0], over(image, saliency.full(item.id)[0]), painted[1], *found, truth(item)])
    heads = ("image", "activation maps", "saliency", "after the walk", "pseudo-label", "prediction", "ground truth")
    sheet(out / "chain.png", heads, rows)


def index(study: Study, out: Path) -> None:
    """Scenes and their masks."""
    items = study.shown[:7]
    rows = [[read_image(item.image) for item in items], [truth(item) for item in items]]
    sheet(out / "scenes.png", [", ".join(study.index.classes[c] for c in i.labels) for i in items], rows)


def objectives(study: Study, out: Path) -> None:
    """Maps of one class by the objective that trained the classifier."""
    rows = []
    for item in study.shown[:4]:
        image = read_image(item.image)
        found = [over(image, study.maps(name).full(item.id)[0]) for name in OBJECTIVES]
        rows.append([image, paint_mask(image, only(item, item.labels[0])), *found])
    sheet(out / "objectives.png", ("image", "ground truth of a class", *OBJECTIVES), rows)


def only(item: Item, label: int) -> np.ndarray:
    """The ground-truth mask of one class."""
    mask = read_mask(item.mask)
    return np.where(mask == label + 1, mask, 0).astype(np.uint8)


@torch.inference_mode()
def erasing(study: Study, out: Path) -> None:
    """What the ordinary classifier sees of an image, and what the puzzle compares."""
    generator, rows, halves = study.classifier("p-noc"), [], []
    for item in study.shown[:2]:
        image, images = read_image(item.image), tensor(item)
        maps = generator(images)
        chosen = torch.tensor([item.labels[0]])
        mask = activation_mask(maps, chosen, (item.height, item.width), "image")
        soft, hard = erase_soft(images, mask)[0], erase_hard(images, mask, 0.2)[0]
        rows.append([image, over(image, mask[0, 0].numpy()), pixels(soft), pixels(hard)])
        tiles = split_tiles(images, 2)
        merged = merge_tiles(generator(tiles), 2)
        both = [relu_max(resize(m[:, item.labels[0]], (item.height, item.width)))[0].numpy() for m in (maps, merged)]
        pieces = torch.nn.functional.pad(tiles, (2, 2, 2, 2), value=3.0)
        board = merge_tiles(pieces, 2)[0]
        halves.append([image, pixels(board), *(over(image, one) for one in both)])
    sheet(out / "erasing.png", ("image", "soft mask", "softly erased", "hard erased"), rows, 1.5)
    sheet(out / "tiles.png", ("image", "tiles", "map of the image", "maps of the tiles"), halves, 1.5)


def scales(study: Study, out: Path) -> None:
    """The network's own maps at four scales, and the two views of them."""
    item = study.shown[0]
    view = InferenceSettings(scales=(0.5, 1.0, 1.5, 2.0), flip=True)
    ((_, _, maps),) = class_activation_maps(study.classifier("p-noc"), [item], view, CPU, 1)
    native = [heat(each[0] / max(each[0].max(), 1e-5)) for each in maps]
    size = (item.height, item.width)
    low, full = decode_low(maps, size)[0], decode_full(maps, size, 16)[0]
    heads = [f"{s:g}: {m.shape[1]} x {m.shape[2]}" for s, m in zip(view.scales, maps, strict=True)]
    views = [heat(low), heat(full), over(read_image(item.image), full)]
    sheet(out / "scales.png", [*heads, "low view", "full view", "over the image"], [[*native, *views]])


def saliency(study: Study, out: Path) -> None:
    """Hints, the map of C2AM-H, and its masks."""
    store, rows = MapStore(study.at("saliency-maps", "c2am-h")), []
    hints = study.maps("p-noc-ls")
    for item in study.shown[:3]:
        image, full = read_image(item.image), store.full(item.id)
        classes = np.zeros(1, np.int64)
        strongest = hints.full(item.id).max(axis=0)
        masks = [pseudo_mask(full, classes, 0.2, image, crf) for crf in (None, CrfSettings())]
        said = paint_mask(image, (strongest >= 0.4).astype(np.uint8))
        any_object = np.minimum(read_mask(item.mask), 1)
        rows.append([image, said, over(image, full[0]), *(paint_mask(image, m) for m in (*masks, any_object))])
    heads = ("image", "hints", "saliency map", "above 0.2", "dense CRF", "ground truth")
    sheet(out / "saliency.png", heads, rows)


@torch.inference_mode()
def walk(study: Study, out: Path) -> None:
    """Labels, edges, and maps after steps of the walk."""
    network, store = load_edge_network(study.at("affinity", "walk")), study.maps("p-noc-ls")
    labels, rows = study.masks("affinity-labels", "walk"), []
    several = [item for item in study.index.labelled("train") if len(item.labels) == 2][:3]
    settings = WalkSettings(cams="-", affinity="-")
    for item in several:
        image = read_image(item.image)
        ((_, edges),) = edge_maps(network, [item], settings, CPU, 1)
        start = torch.from_numpy(store.low(item.id))[None, :1]
        walked = [random_walk(start, edges[None], radius=5, beta=10, steps=n)[0, 0] for n in (4, 16, 64)]
        size = (item.height, item.width)
        spread = [resize(w[None] / w.max().clamp(min=1e-5), size)[0].numpy() for w in (start[0, 0], *walked)]
        label = paint_mask(image, labels.read(item.id))
        rows.append([image, label, heat(edges.numpy()), *(over(image, each) for each in spread)])
    heads = ("image", "affinity labels", "edges", "map", "4 steps", "16 steps", "64 steps")
    sheet(out / "walk.png", heads, rows)


def crf(study: Study, out: Path) -> None:
    """Labels before the dense CRF, and after one and ten iterations."""
    store, settings, rows = study.maps("p-noc"), CrfSettings(), []
    for item in study.shown[:3]:
        image, maps, classes = read_image(item.image), store.full(item.id), store[item.id].classes
        labels = best_labels(maps, 0.3)
        field, unary = DenseCRF(image, settings), label_unary(labels, len(maps) + 1, settings.confidence)
        found = [labels, *(field.infer([unary], n)[0].argmax(0) for n in (1, 10))]
        values = np.concatenate([[0], classes + 1]).astype(np.uint8)
        rows.append([image, *(paint_mask(image, values[each]) for each in found), truth(item)])
    sheet(out / "crf.png", ("image", "labels at 0.3", "1 iteration", "10 iterations", "ground truth"), rows, 1.5)


def masks(study: Study, out: Path) -> None:
    """One set of maps read at thresholds, with an ignore band, and maps of several recipes put together."""
    store, rows = study.maps("p-noc"), []
    for item in study.shown[:2]:
        image, maps, classes = read_image(item.image), store.full(item.id), store[item.id].classes
        read = [pseudo_mask(maps, classes, t) for t in (0.15, 0.3, 0.45)]
        band = banded_mask(maps, classes, IgnoreBand())
        refined = pseudo_mask(maps, classes, 0.3, image, CrfSettings())
        found = [paint_mask(image, each) for each in (*read, band, refined)]
        rows.append([image, *found, truth(item)])
    heads = ("image", "at 0.15", "at 0.3", "at 0.45", "band 0.1 to 0.4", "0.3 and CRF", "ground truth")
    sheet(out / "masks.png", heads, rows)
    members, rows = [study.maps(name) for name in ("vanilla", "oc-cse", "p-noc")], []
    for item in study.shown[:2]:
        image, each = read_image(item.image), np.stack([m.full(item.id)[0] for m in members])
        together = [combine(each, rule) for rule in ("mean", "max", "geometric", "noisy-or")]
        rows.append([*(over(image, one) for one in (*each, *together)), paint_mask(image, only(item, item.labels[0]))])
    heads = ("vanilla", "oc-cse", "p-noc", "mean", "max", "geometric", "noisy-or", "ground truth of it")
    sheet(out / "ensembles.png", heads, rows)


def segmentation(study: Study, out: Path) -> None:
    """What a network is trained on, and what it then predicts."""
    taught, said, rows = study.masks("masks", "p-noc-ls"), study.masks("predictions", "crf"), []
    best = MaskFolder(study.folder / "s0/predictions/supervised/masks")
    for item in study.shown[:3]:
        image = read_image(item.image)
        rows.append([image, *(paint_mask(image, m.read(item.id)) for m in (taught, said, best)), truth(item)])
    heads = ("image", "pseudo-label", "trained on these", "trained on ground truth", "ground truth")
    sheet(out / "segmentation.png", heads, rows, 1.5)


def curve(study: Study, out: Path) -> None:
    """mIoU of maps by threshold, and the three thresholds of one recipe."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(OBJECTIVES):
        scores = json.loads((study.at("scores/cams", name) / "scores.json").read_text("utf-8"))
        found = scores["splits"]["val"]
        colour = f"C{number}"
        axes.plot(found["curve"]["threshold"], 100 * np.array(found["curve"]["miou"]), color=colour, label=name)
        for policy, marker in (("fixed", "s"), ("calibrated", "o"), ("oracle", "*")):
            at = found["policies"][policy]
            last = {"label": policy} if name == OBJECTIVES[-1] else {}
            axes.plot(at["threshold"], 100 * at["miou"], marker, color=colour, mec="black", ms=7, ls="none", **last)
    axes.set(xlabel="threshold (background score)", ylabel="mIoU on val, %", xlim=(0, 0.8), ylim=(10, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, out / "curve.png")


def explain(study: Study, out: Path) -> None:
    """One image and two of its classes by several methods."""
    item = next(item for item in study.shown if len(item.labels) == 2)
    image, subject = read_image(item.image), subject_of(study.classifier("vanilla"))
    labels = torch.zeros(1, len(study.index.classes))
    labels[0, list(item.labels)] = 1
    methods = {
        "CAM": find("cam")(),
        "MinMax-CAM": find("minmax-cam")(),
        "Grad-CAM++": find("grad-cam-plus-plus")(),
        "Score-CAM": find("score-cam")(),
        "occlusion": find("occlusion")(window=24, stride=8),
        "gradient x input": find("gradient-x-input")(),
    }
    rows = [[paint_mask(image, only(item, label))] for label in item.labels]
    for method in methods.values():
        found = method(subject, tensor(item), Classes("gt", labels))
        maps = reduce_channels(found.maps, method.channels) if found.maps.ndim == 4 else found.maps
        for row, each in zip(rows, resize(maps, (item.height, item.width)), strict=True):
            row.append(signed(each.numpy()))
    sheet(out / "explain.png", ("a class", *methods), rows)


def report(study: Study, out: Path) -> None:
    """The head of the report in light, and its thresholds in dark."""
    found = screenshots(study)
    if found is None:
        looked_for = ", ".join(NAMES)
        print(f"report-light.png, report-dark.png: left as they are, for no Chromium is here to show it ({looked_for})")
        return
    light, dark = found
    shrink(light, out / "report-light.png")
    shrink(dark, out / "report-dark.png")


PICTURES = (chain, index, objectives, erasing, scales, saliency, walk, crf, masks, segmentation, curve, explain, report)


def cat(photo: Path, overlay: Path, out: Path) -> None:
    """A real photo beside what ``wsss predict`` made of it."""
    both = [np.asarray(Image.open(file).convert("RGB")) for file in (photo, overlay)]
    gap = np.full((both[0].shape[0], 12, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([both[0], gap, both[1]], axis=1)).save(out / "cat.jpg", quality=85)


def main() -> None:
    """Make them all, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="results of the scenes")
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=[make.__name__ for make in PICTURES], help="some of them")
    parser.add_argument("--photo", type=Path, nargs=2, metavar=("PHOTO", "OVERLAY"), help="make the real photo, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.photo:
        cat(*args.photo, args.out)
    for make in PICTURES:
        if args.only is None or make.__name__ in args.only:
            make(Study(args.study), args.out)


if __name__ == "__main__":
    main()
