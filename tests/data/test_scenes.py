"""Generated scenes: the same from the same seed, exact, and with the effects that their docstring promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wsss.data.images import read_image, read_mask
from wsss.data.kinds import scene_drawing as draw
from wsss.data.kinds.scenes import CONTEXT_CLASS, MIN_AREA, scene
from wsss.settings import ScenesSettings
from wsss.stages.index import build_index

SMALL = {"size": 64, "train": 24, "val": 6}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(tmp_path):
    for name in ("a", "b"):
        build_index(ScenesSettings(**SMALL), "scenes", tmp_path / name, 1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_more_images_change_none(tmp_path):
    build_index(ScenesSettings(**SMALL), "scenes", tmp_path / "few", 1)
    build_index(ScenesSettings(**SMALL | {"train": 28, "val": 9}), "scenes", tmp_path / "more", 1)
    few, more = (files(tmp_path / name / "images") for name in ("few", "more"))
    assert len(few) == 30 and len(more) == 37 and few.items() <= more.items()


def test_fewer_images_leave_no_others_behind(tmp_path):
    build_index(ScenesSettings(**SMALL), "scenes", tmp_path, 1)
    build_index(ScenesSettings(**SMALL | {"train": 20}), "scenes", tmp_path, 1)
    assert len(files(tmp_path / "images")) == 26


def test_seeds_splits_and_numbers_differ():
    places = [(0, "train", 0), (0, "train", 1), (0, "val", 0), (1, "train", 0)]
    pictures = [scene(ScenesSettings(size=48, seed=seed), split, i)[0] for seed, split, i in places]
    assert len({image.tobytes() for image in pictures}) == 4


def test_index(tmp_path):
    index = build_index(ScenesSettings(**SMALL), "scenes", tmp_path, 1)
    assert index.classes == ("ring", "cross", "stripes", "dots", "star", "crescent")
    assert len(index.scored("train")) == 24 and len(index.labelled("val")) == 6
    text = (tmp_path / "index.csv").read_text("utf-8")
    assert "train-00003,train,images/train-00003.png,masks/train-00003.png,64,64," in text
    assert str(tmp_path) not in text
    noise = json.loads((tmp_path / "report.json").read_text("utf-8"))["label_noise"]
    assert noise == {"tag_without_pixel": [], "pixel_without_tag": []}
    item = index.item("val-00005")
    image, mask, labels = scene(ScenesSettings(**SMALL), "val", 5)
    np.testing.assert_array_equal(read_image(item.image), image)
    np.testing.assert_array_equal(read_mask(item.mask), mask)
    assert item.labels == labels


@pytest.mark.parametrize("classes", [2, 8])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_labels_are_what_the_mask_shows(classes, difficulty):
    settings = ScenesSettings(size=64, classes=classes, difficulty=difficulty)
    counts = np.zeros(5, int)
    for i in range(25):
        image, mask, labels = scene(settings, "train", i)
        assert image.shape == (64, 64, 3) and image.dtype == mask.dtype == np.uint8
        values, areas = np.unique(mask, return_counts=True)
        assert tuple(v - 1 for v in values if v) == labels and 1 <= len(labels) <= min(4, classes)
        assert all(area >= MIN_AREA * 64**2 for value, area in zip(values, areas, strict=True) if value)
        counts[len(labels)] += 1
    assert counts[1] and counts[2] and (classes == 2 or counts[3] or counts[4])


def test_size_is_a_setting():
    image, mask, _ = scene(ScenesSettings(size=130), "train", 0)
    assert image.shape == (130, 130, 3) and mask.shape == (130, 130)


def test_context_goes_with_its_class(monkeypatch):
    seen = []
    monkeypatch.setattr("wsss.data.kinds.scenes._ripples", lambda rng, image: seen.append(True))
    monkeypatch.setattr("wsss.data.kinds.scenes._paint", lambda *_: None)
    shown = {True: [], False: []}
    for i in range(200):
        seen.clear()
        _, _, labels = scene(ScenesSettings(size=48), "train", i)
        shown[CONTEXT_CLASS in labels].append(bool(seen))
    assert 0.65 < np.mean(shown[True]) < 0.95 and np.mean(shown[False]) < 0.08


def test_context_is_background():
    """The ripples change the image and no mask: between the strip drawn and not drawn only pixels differ."""
    image = np.full((64, 64, 3), 0.5)
    from wsss.data.kinds.scenes import _ripples

    _ripples(np.random.default_rng(0), image)
    changed = np.abs(image - 0.5).max(axis=2) > 0.02
    assert 0.2 < changed.mean() < 0.55 and not changed[:25].any() and changed[-1].all()


def test_texture_is_the_classes_own():
    """Every class's texture has its energy at its own waves: the nearest spectrum tells the class."""
    x, y = draw.grid(96)

    def spectrum(kind, seed):
        waves = draw.texture(np.random.default_rng(seed), kind, x, y) * np.hanning(96) * np.hanning(96)[:, None]
        power = np.abs(np.fft.fft2(waves))
        # a mirrored image is of the same class: fold the quadrants
        power = (power + np.roll(power[::-1], 1, 0) + np.roll(power[:, ::-1], 1, 1))[:32, :32]
        power = power.reshape(8, 4, 8, 4).sum((1, 3)).ravel()
        return power / np.linalg.norm(power)

    known = np.array([np.mean([spectrum(kind, seed) for seed in range(20)], 0) for kind in range(8)])
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    for kind in range(8):
        found = [int(np.argmax(known @ spectrum(kind, seed))) for seed in range(20, 26)]
        assert found.count(kind) >= 5, (kind, found)


def test_grain_grows_with_difficulty():
    """The finest differences between pixels, which are grain rather than texture, grow."""

    def roughness(difficulty):
        total = []
        for i in range(12):
            image, _, _ = scene(ScenesSettings(size=64, difficulty=difficulty), "train", i)
            grey = image.mean(axis=2)
            total.append(np.abs(grey[1:, 1:] - grey[:-1, 1:] - grey[1:, :-1] + grey[:-1, :-1]).mean())
        return np.mean(total)

    assert roughness(1.0) > 1.5 * roughness(0.0)


def test_glyphs_differ_and_fill_a_part_of_their_disc():
    v, u = np.mgrid[-1:1:81j, -1:1:81j]
    disc = np.hypot(u, v) <= 1
    shapes = [draw.glyph(kind, u, v, 0.05) > 0.5 for kind in range(8)]
    for kind, shape in enumerate(shapes):
        assert 0.12 < shape[disc].mean() < 0.6, kind
        for other in shapes[:kind]:
            assert (shape ^ other)[disc].mean() > 0.15


def test_one_lobe_slow_twin():
    """Depth of a single lobe is the distance over the outline's radius at that angle."""
    rng = np.random.default_rng(5)
    lobe = draw.Lobe((0.4, 0.6), draw.outline(rng, 0.2))
    x, y = draw.grid(24)
    depth = draw.depth([lobe], x, y)
    for row, column in ((0, 0), (12, 3), (20, 20), (14, 9)):
        dx, dy = (column + 0.5) / 24 - 0.4, (row + 0.5) / 24 - 0.6
        k = round(np.degrees(np.arctan2(dy, dx)) + 180)
        assert depth[row, column] == pytest.approx(min(6, np.hypot(dx, dy) / lobe.radii[k]), rel=0.02)


def test_outline_has_the_area_of_its_disc():
    for seed in range(20):
        radii = draw.outline(np.random.default_rng(seed), 0.3)
        assert np.mean(radii**2) == pytest.approx(0.09) and radii.min() > 0 and radii[0] == pytest.approx(radii[-1])


def test_window_holds_the_body():
    for seed in range(30):
        body = draw.lobes(np.random.default_rng(seed), (0.5, 0.45), 0.2)
        x, y = draw.grid(80)
        outside = np.ones((80, 80), bool)
        outside[draw.window(body, 80)] = False
        assert not outside.any() or draw.depth(body, x, y)[outside].min() > 1.25


def test_noise_is_about_standard():
    rng = np.random.default_rng(0)
    sample = np.array([draw.noise(rng, (40, 60), (6, 9)) for _ in range(60)])
    assert abs(sample.mean()) < 0.1 and 0.8 < sample.std() < 1.2
    sample = np.array([draw.fractal(rng, (40, 60), 4, 3, 2.0) for _ in range(60)])
    assert abs(sample.mean()) < 0.15 and 0.8 < sample.std() < 1.2
