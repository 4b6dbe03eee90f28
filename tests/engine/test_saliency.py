"""The three stages of saliency on a handful of images: hints, sign, maps, masks, resume."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.nn import functional as F

import wsss.training.engine
from wsss.data.images import read_image
from wsss.data.index import Index, Item, write_index
from wsss.data.loading import TrainingViews, resized
from wsss.data.transforms import normalise
from wsss.errors import WsssError
from wsss.inference.saliency import border_test, saliency_maps
from wsss.models.disentangler import Disentangled, Disentangler
from wsss.models.patch_features import PatchFeatures
from wsss.models.poolnet import PoolNet
from wsss.models.saliency_net import Oriented, load_saliency
from wsss.models.token_cut import UNLIKE, as_map
from wsss.refine.pseudo_masks import pseudo_mask
from wsss.refine.thresholds import otsu
from wsss.runtime.shard import Shard
from wsss.settings import (
    C2amHSettings,
    C2amSettings,
    CrfSettings,
    SaliencyMapSettings,
    SaliencyMaskSettings,
    SaliencyNetSettings,
    TokenCutSettings,
)
from wsss.stages.saliency import Hints
from wsss.stages.saliency import make as train_saliency
from wsss.stages.saliency_maps import make as write_saliency_maps
from wsss.stages.saliency_masks import make as write_saliency_masks
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import load_weights
from wsss.system.exit import Interrupted
from wsss.system.files import write_json

CPU = torch.device("cpu")
SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "crop": 64,
    "long_side": (72, 72),
    "batch_size": 4,
    "epochs": 2,
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    """9 training and 3 validation images of 64 x 56 pixels: a bright square in the middle of noise; the last of each
    split has no square and no tag."""
    folder = tmp_path_factory.mktemp("saliency") / "index"
    (folder / "images").mkdir(parents=True)
    items = []
    for number in range(12):
        rng = np.random.default_rng(number)
        image = rng.integers(40, 90, (56, 64, 3), dtype=np.uint8)
        mask = np.zeros((56, 64), np.uint8)
        bare = number in (8, 11)
        if not bare:
            y, x = rng.integers(12, 20), rng.integers(14, 26)
            image[y : y + 24, x : x + 24] = [230, 220, 60]
            mask[y : y + 24, x : x + 24] = 1
        paths = [folder / "images" / f"p{number}{end}.png" for end in ("", "-mask")]
        Image.fromarray(image).save(paths[0])
        Image.fromarray(mask).save(paths[1])
        split = "train" if number < 9 else "val"
        items.append(Item(f"p{number}", split, *paths, 56, 64, () if bare else (0,), True))
    write_index(folder, ("square",), items)
    write_json(folder / "report.json", {"dataset": "squares", "dropped": []})
    write_manifest(folder, {"stage": "index"})
    return folder


@pytest.fixture(scope="module")
def hints(index_folder, tmp_path_factory):
    """Maps that are sure in the middle of the square."""
    folder = tmp_path_factory.mktemp("hints")
    with MapWriter(folder / shard_name(0, 1), scales=(1.0,), flip=False, stride=4) as writer:
        for item in Index.load(index_folder).items:
            truth = np.array(Image.open(item.mask))[::4, ::4].astype(np.float32)
            smooth = F.avg_pool2d(torch.from_numpy(truth)[None, None], 3, 1, 1)[0].numpy()
            writer.add(item.id, item.labels, (56, 64), [smooth] if item.labels else [])
    write_manifest(folder, {"stage": "cams", "settings": {"splits": ["train", "val"]}})
    return folder


@pytest.fixture
def at(make_run):
    """``at(stage, settings, inputs)``: a run of that stage in a folder of its name."""

    def make(stage, settings, inputs, name=None):
        run = make_run(settings, inputs, name or stage)
        run.stage = stage
        return run

    return make


def finished(run):
    write_manifest(run.out, {"settings": run.settings.model_dump(mode="json"), **run.facts})
    return run.out


def view_of(item, scale=1.0):
    size = (round(item.height * scale), round(item.width * scale))
    return torch.from_numpy(normalise(resized(torch.from_numpy(read_image(item.image)), size).numpy()))[None]


def test_hints_follow_the_image(index_folder, hints):
    index = Index.load(index_folder)
    item = index.items[0]
    strength = Hints(MapStore(hints), 0.4)(item)
    q = MapStore(hints).full(item.id).max(0)
    assert strength.dtype == np.uint8 and strength.shape == (56, 64) and strength.max() == 254
    np.testing.assert_allclose(strength / 254, q, atol=0.5 / 254 + 1e-6)
    by_otsu = Hints(MapStore(hints), "otsu")
    np.testing.assert_array_equal(by_otsu(item) >= 127, q > otsu(MapStore(hints).full(item.id)))
    assert not Hints(MapStore(hints), 0.4)(index.item("p8")).any() and not by_otsu(index.item("p8")).any()
    settings = C2amHSettings(**{**SMALL, "long_side": (48, 80)}, hints="x")
    views = TrainingViews(index.labelled("train"), 1, settings, 0, Hints(MapStore(hints), 0.4))
    for epoch in range(5):
        view = views[(epoch, 0)]
        bright = view.images[0] > 1.0  # the square
        sure = (view.masks > 0.8 * 254) & (view.masks != 255)
        assert sure.any() and bright[sure].float().mean() > 0.95


class Bright(torch.nn.Module):
    """Says with sigmoid(P) how bright the image is, or how dark."""

    def __init__(self, sign, stride=8):
        super().__init__()
        self.sign, self.stride = sign, stride

    def forward(self, images):
        logits = self.sign * F.avg_pool2d(images[:, :1], self.stride) - 3.0
        return Disentangled(logits, logits, logits)


def test_the_sign_is_found_both_ways(index_folder):
    """The squares lie inside: where sigmoid(P) follows them, or the rest, also where little of it is above 1/2."""
    items = Index.load(index_folder).labelled("train")
    border, interior = border_test(Bright(1), items, 64, CPU, 1)
    assert border < interior < 0.5
    border, interior = border_test(Bright(-1), items, 64, CPU, 1)
    assert interior < border < 0.5
    with pytest.raises(WsssError, match="all of it border"):
        border_test(Bright(1, 32), items[:2], 64, CPU, 1)


def test_the_images_that_decide_the_sign_span_the_whole_list(monkeypatch):
    import wsss.inference.saliency

    seen = []
    monkeypatch.setattr(
        wsss.inference.saliency, "arrays_of", lambda _, read, chosen, *rest: seen.append(list(chosen)) or iter(())
    )
    for count in (1, 64, 100, 127, 1000):
        with pytest.raises(WsssError, match="all of it border"):
            border_test(Bright(1), list(range(count)), 64, CPU, 1)
        chosen = seen.pop()
        steps = {b - a for a, b in zip(chosen, chosen[1:], strict=False)}
        assert len(chosen) == min(64, count) and chosen[0] == 0 and chosen[-1] == count - 1
        assert not steps or max(steps) - min(steps) <= 1 and min(steps) >= 1


def test_plain_c2am_records_its_sign_and_an_inverted_one_is_turned(index_folder, at, monkeypatch):
    import wsss.stages.saliency

    items = Index.load(index_folder).split("val")
    settings = SaliencyMapSettings(scales=(1.0,), flip=False)
    maps = {}
    for inverted in (False, True):
        monkeypatch.setattr(wsss.stages.saliency, "border_test", lambda *_, i=inverted: (0.6, 0.4) if i else (0.3, 0.4))
        run = at("saliency", C2amSettings(**SMALL), {"index": index_folder}, f"c2am{inverted}")
        train_saliency(run)
        assert run.facts["inverted"] is inverted and run.facts["images"] == 8 and run.facts["untagged_left_out"] == 1
        assert load_weights(run.out / "model.safetensors")[1]["inverted"] is inverted
        network, about = load_saliency(finished(run))
        maps[inverted] = [m[0] for _, _, m in saliency_maps(network.eval(), items, settings, False, CPU, 1)]
    for plain, turned in zip(maps[False], maps[True], strict=True):
        assert not (plain * turned).any() and (plain + turned > 0).all()  # ReLU(P) and ReLU(-P)


@pytest.mark.parametrize("hint_threshold", [0.4, "otsu"])
def test_a_stopped_training_ends_with_the_same_bits(index_folder, hints, at, monkeypatch, hint_threshold):
    settings = C2amHSettings(**SMALL, hints="x", hint_threshold=hint_threshold)
    inputs = {"index": index_folder, "hints": hints}
    whole = at("saliency", settings, inputs, "whole")
    train_saliency(whole)
    run, original = at("saliency", settings, inputs, "cut"), wsss.training.engine.Trainer._micro_step
    cuts = 0

    def cut(self, batch):
        original(self, batch)
        run.stop = "a test"

    monkeypatch.setattr(wsss.training.engine.Trainer, "_micro_step", cut)
    while True:
        run.stop = None
        try:
            train_saliency(run)
            break
        except Interrupted:
            cuts += 1
            # how it will be applied may change in between
            changed = SaliencyMapSettings(scales=(float(cuts),))
            run.settings = settings.model_copy(update={"maps": changed})
    assert cuts == 4
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (whole.out / name).read_bytes() == (run.out / name).read_bytes()
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "foreground", "background", "negative", "hints"} <= set(records[0])


@torch.inference_mode()
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_maps_against_one_view_at_a_time(index_folder, activation):
    torch.manual_seed(0)
    network = Oriented(Disentangler("test_resnet", 16), True).eval()
    items = Index.load(index_folder).split("val")
    settings = SaliencyMapSettings(scales=(1.0, 1.5), activation=activation)
    act = F.relu if activation == "relu" else torch.sigmoid
    share = 1 if activation == "relu" else 0.5
    for item, classes, maps in saliency_maps(network, items, settings, False, CPU, 1):
        assert list(classes) == [0]
        for scale, ours in zip(settings.scales, maps, strict=True):
            view = view_of(item, scale)
            plain = share * (act(network(view)) + act(network(view.flip(-1))).flip(-1))
            np.testing.assert_allclose(ours, plain[0].numpy(), atol=1e-4)


@torch.inference_mode()
def test_a_network_of_masks_gives_means_of_four_by_four_pixels(index_folder):
    torch.manual_seed(0)
    network = PoolNet("test_resnet", 16).eval()
    network.score.weight *= 100
    items = Index.load(index_folder).split("val")[:1]
    settings = SaliencyMapSettings(scales=(1.0,), activation="sigmoid", flip=False)
    ((_, _, (ours,)),) = saliency_maps(network, items, settings, True, CPU, 1)
    full = network(view_of(items[0])).sigmoid()[0, 0].numpy()
    assert ours.shape == (1, 14, 16)
    np.testing.assert_allclose(ours[0, 3, 5], full[12:16, 20:24].mean(), atol=1e-5)


def test_the_chain(index_folder, hints, at):
    """C2AM-H with hints, maps, masks, a network that learns from them, its maps and masks."""
    settings = C2amHSettings(**{**SMALL, "epochs": 6, "lr": 0.02, "batch_size": 8}, hints="x")
    trained = at("saliency", settings, {"index": index_folder, "hints": hints})
    train_saliency(trained)
    assert trained.facts["inverted"] is False
    stores = []
    for shards in (1, 3):
        shown = SaliencyMapSettings(scales=(1.0, 2.0))
        run = at("saliency_maps", shown, {"index": index_folder, "saliency": finished(trained)}, f"maps{shards}")
        for run.shard in (*(Shard(number, shards) for number in range(shards)), None):
            write_saliency_maps(run)
        stores.append(MapStore(finished(run)))
    index, (store, three) = Index.load(index_folder), stores
    assert store.shards[0].path.read_bytes() == three.shards[0].path.read_bytes()
    assert sorted(store.ids) == sorted(i.id for i in index.items)  # also those without tags
    assert store.relative and store.attributes["stride"] == 16
    for item in index.items:
        assert store.full(item.id).shape == (1, 56, 64) and store[item.id].classes.tolist() == [0]
    masks = {}
    for name, crf, threads in (("plain", None, 1), ("crf", CrfSettings(iterations=2), 2)):
        refine = SaliencyMaskSettings(threshold=0.3, crf=crf)
        run = at("saliency_masks", refine, {"index": index_folder, "maps": store.folder}, name)
        run.args.threads = threads
        write_saliency_masks(run)
        masks[name] = finished(run)
        assert run.facts["splits"] == ["train", "val"] and run.facts["images"] == 12
        assert run.recorded.get("crf_backend") == (None if crf is None else "native")
        for item in index.items:
            mask = MaskFolder(run.out / "masks").read(item.id)
            expected = pseudo_mask(store.full(item.id), np.zeros(1, int), 0.3, read_image(item.image), crf)
            assert np.array_equal(mask, expected if item.labels else np.zeros_like(expected))
            assert mask.max() <= 1
    learn = SaliencyNetSettings(**{**SMALL, "epochs": 3, "lr": 1e-3}, saliency="x")
    student = at("saliency", learn, {"index": index_folder, "saliency": masks["plain"]}, "student")
    train_saliency(student)
    assert student.facts["images"] == 9  # all of them: those without tags show what nothing looks like
    run = at("saliency_maps", learn.maps, {"index": index_folder, "saliency": finished(student)}, "probabilities")
    write_saliency_maps(run)
    store = MapStore(finished(run))
    assert not store.relative and store.attributes["stride"] == 4
    full = store.full("p0")
    assert full.shape == (1, 56, 64) and 0 <= full.min() <= full.max() <= 1 and store.low("p0").shape == (1, 14, 16)
    run = at("saliency_masks", learn.refine, {"index": index_folder, "maps": store.folder}, "last")
    write_saliency_masks(run)
    assert np.array_equal(MaskFolder(run.out / "masks").read("p0"), (full[0] > 0.5).astype(np.uint8))


def test_a_network_learns_the_squares(index_folder, at):
    """From the ground-truth masks PoolNet finds the squares; the mean over pixels is what it descends."""
    folder = index_folder.parent / "truth"
    for item in Index.load(index_folder).items:
        MaskFolder(folder / "masks").write(item.id, np.array(Image.open(item.mask)))
    write_manifest(folder, {"settings": {}})
    learn = SaliencyNetSettings(**{**SMALL, "epochs": 20, "lr": 1e-3}, saliency="x")
    run = at("saliency", learn, {"index": index_folder, "saliency": folder})
    train_saliency(run)
    records = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < 0.3 * records[0]["loss"]


def test_what_is_missing_is_named(index_folder, hints, at, tmp_path):
    inputs = {"index": index_folder}
    with pytest.raises(WsssError, match="--hints: the recipe takes hints from 'vanilla'"):
        train_saliency(at("saliency", C2amHSettings(**SMALL, hints="vanilla"), inputs))
    with pytest.raises(WsssError, match="--saliency: the recipe learns from 'c2am'"):
        train_saliency(at("saliency", SaliencyNetSettings(**SMALL, saliency="c2am"), inputs))
    empty = tmp_path / "empty"
    (empty / "masks").mkdir(parents=True)
    with pytest.raises(WsssError, match="no masks of 9 images: 'p0'"):
        train_saliency(at("saliency", SaliencyNetSettings(**SMALL, saliency="x"), {**inputs, "saliency": empty}))
    with MapWriter(empty / shard_name(0, 1), scales=(1.0,), flip=False, stride=4) as writer:
        writer.add("p0", [0], (56, 64), [np.ones((1, 14, 16), np.float32)])
    write_manifest(empty, {"settings": {"splits": ["train"]}})
    with pytest.raises(WsssError, match="no maps of 7 images: 'p1'"):
        train_saliency(at("saliency", C2amHSettings(**SMALL, hints="x"), {**inputs, "hints": empty}))
    with pytest.raises(WsssError, match="no maps of 8 images: 'p1'"):
        write_saliency_masks(at("saliency_masks", SaliencyMaskSettings(), {**inputs, "maps": empty}))
    with pytest.raises(ValidationError, match="sigmoid"):
        SaliencyNetSettings.read({"saliency": "x", "maps": {"activation": "relu"}})


@pytest.mark.parametrize(
    "more",
    [
        {"backbone": "test_vit"},
        {"backbone": "test_vit", "features": "patches", "threshold": 0.1},
        {"backbone": "resnet10t", "features": "stages", "stages": (8, 16, 32)},
    ],
    ids=lambda more: more.get("features", "keys"),
)
@torch.inference_mode()
def test_token_cut_needs_no_training(index_folder, at, more):
    """Network, maps and masks against a twin with numpy's dense solver; any number of shards gives the same bytes."""
    settings = TokenCutSettings(pretrained=False, **more)
    network = at("saliency", settings, {"index": index_folder})
    train_saliency(network)
    finished(network)
    assert load_weights(network.out / "model.safetensors")[1]["kind"] == "token-cut"
    inputs = {"index": index_folder, "saliency": network.out}
    one = at("saliency_maps", settings.maps, inputs, "one")
    write_saliency_maps(one)
    finished(one)
    shared = at("saliency_maps", settings.maps, inputs, "three")
    for shared.shard in (Shard(number, 3) for number in range(3)):
        write_saliency_maps(shared)
    shared.shard = None
    write_saliency_maps(shared)
    assert (one.out / shard_name(0, 1)).read_bytes() == (shared.out / shard_name(0, 1)).read_bytes()
    store = MapStore(one.out)
    patches = settings.features != "stages"
    grid = (4, 4)  # 56 x 64 pixels
    assert (store.attributes["stride"], store.attributes["round_to"]) == (16, 1 if patches else 16)
    torch.manual_seed(0)  # as the stage draws its weights
    twin = PatchFeatures("test_vit", False, keys=settings.features == "keys") if patches else None
    cut = load_saliency(network.out)[0].eval()
    for item in Index.load(index_folder).split("val"):
        found = store[item.id].maps[0]
        assert found.shape == (1, *grid) and found.min() == 0 and found.max() == 1
        features = (twin or cut.features)(view_of(item))[0].flatten(1).double().numpy()
        weights = np.where((features.T @ features).astype(np.float32) > settings.threshold, 1.0, UNLIKE)
        sums = weights.sum(1)
        values, vectors = np.linalg.eigh(weights / np.sqrt(np.outer(sums, sums)))
        assert values[-1] == pytest.approx(1)
        if values[-2] - values[-3] > 1e-6:  # else there are several such vectors
            expected = as_map(vectors[:, -2] / np.sqrt(sums)).reshape(grid)
            np.testing.assert_allclose(found[0], expected, atol=1e-4)
    masks = at("saliency_masks", settings.refine, {"index": index_folder, "maps": one.out})
    write_saliency_masks(masks)
    assert set(np.unique(MaskFolder(masks.out / "masks").read("p9"))) <= {0, 1}
