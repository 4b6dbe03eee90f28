"""The project's own dense CRF against pydensecrf, and what only it promises: key ranges, threads, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from wsss.errors import WsssError
from wsss.refine.crf import DenseCRF, label_unary, score_unary
from wsss.refine.crf_backends import KEPT, built
from wsss.settings import CRF_PRESETS, CrfSettings

ROOT = Path(__file__).resolve().parents[2]
ANIMALS = ROOT.parent / "shared" / "data" / "animals" / "images"
PRESETS = {name: CrfSettings.read(values) for name, values in CRF_PRESETS.items()}


def photo(height, width, seed=0, grain=3.0):
    """Smooth fields of colour with sharp borders between them, and grain: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(6, height, width)), (0, *2 * (min(height, width) / 12 + 1,)))
    fields /= fields.std()
    image = np.where(fields[3:] > 0, 160, 60) + 40 * fields[:3] + rng.normal(scale=grain, size=fields[:3].shape)
    return np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def probabilities(labels, size, seed=0, sharpness=5.0):
    """Softmax of smooth random fields: float32 (L, H, W)."""
    rng = np.random.default_rng(1000 + seed)
    fields = gaussian_filter(rng.normal(size=(labels, *size)), (0, *2 * (min(size) / 10 + 1,)))
    scores = np.exp(sharpness * fields / fields.std())
    return (scores / scores.sum(0)).astype(np.float32)


def unaries_of(settings, sizes, size, seed=0):
    scores = [probabilities(count, size, seed + count) for count in sizes]
    if settings.unary == "scores":
        return [score_unary(each) for each in scores]
    return [label_unary(each.argmax(0), len(each), settings.confidence) for each in scores]


def assert_alike(image, settings, unaries, share=1e-4):
    """The stated tolerance: 0.01 % of the labels, 0.05 at single pixels, 1e-5 on average."""
    found = DenseCRF(image, settings, "native").infer(unaries)
    expected = DenseCRF(image, settings, "pydensecrf").infer(unaries)
    changed = [(a.argmax(0) != b.argmax(0)).mean() for a, b in zip(found, expected, strict=True)]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32 and a.shape == b.shape
        assert np.abs(a - b).max() < 0.05 and np.abs(a - b).mean() < 1e-5
        np.testing.assert_allclose(a.sum(0), 1, atol=2e-6)
    assert np.mean(changed) < share


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_agrees_with_pydensecrf(preset):
    size = (93, 131)
    settings = PRESETS[preset]
    assert_alike(photo(*size), settings, unaries_of(settings, (2, 3, 5), size))


@pytest.mark.parametrize(
    "counts", [(2,), (3,), (4,), (6,), (9,), (13,), (17,), (21,), (24,), (2, 3), (9, 9, 2), (21, 5)]
)
def test_any_number_of_labels_and_problems(counts):
    """One test for each width that the code is compiled for, and for those it is not."""
    size = (37, 50)
    assert_alike(photo(*size), PRESETS["psa"], unaries_of(PRESETS["psa"], counts, size), share=6e-4)  # 1 pixel


@pytest.mark.parametrize("size", [(1, 70), (64, 1), (31, 33), (65, 32)])
def test_sizes_that_do_not_fill_tiles_and_blocks(size):
    assert_alike(photo(*size), PRESETS["labels"], unaries_of(PRESETS["labels"], (2, 4), size))


@pytest.mark.skipif(not ANIMALS.is_dir(), reason="the real photos are not beside the checkout (shared/data/animals)")
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_agrees_on_real_photos(preset):
    settings = PRESETS[preset]
    for i, path in enumerate(sorted(ANIMALS.glob("*.jpg"))[100::750]):
        image = np.asarray(Image.open(path).convert("RGB"))
        assert_alike(image, settings, unaries_of(settings, (2, 3, 7), image.shape[:2], i))


def test_labels_that_nothing_tells_apart_stay_alike():
    """One label follows from the others. Rounding must not make it win: the field would blow up a last bit."""
    size = (40, 55)
    first, second = -np.log(probabilities(2, size))
    field = DenseCRF(photo(*size), PRESETS["labels"], "native")
    reference = DenseCRF(photo(*size), PRESETS["labels"], "pydensecrf")
    for labels in ([first, second, second], [second, second, first], [second, first, first, second], [first] * 5):
        (found,), (expected,) = (each.infer([np.stack(labels)]) for each in (field, reference))
        for i, one in enumerate(labels):
            for j, other in enumerate(labels):
                if one is other:
                    np.testing.assert_array_equal(found[i], found[j])
        np.testing.assert_array_equal(found.argmax(0), expected.argmax(0))
        assert np.abs(found - expected).max() < 0.05


def test_wide_keys():
    """Colours so far apart, in standard deviations, that coordinates need more than 63 bits; few colours, so that
    pixels still have neighbours."""
    size = (60, 81)
    image = photo(*size, grain=0) // 85 * 85
    image[0, 0], image[-1, -1] = 0, 255
    settings = CrfSettings(bilateral=(50.0, 0.05, 10.0))
    grid = built().Grid(*size, *settings.gaussian)
    assert built().Field(image, grid, 50, 5, 10).key_bits == 63
    assert built().Field(image, grid, *settings.bilateral).key_bits == 127
    unaries = unaries_of(settings, (2, 3), size)
    assert_alike(image, settings, unaries)
    without = DenseCRF(image, settings.model_copy(update={"bilateral": (50.0, 0.05, 1e-3)}), "native").infer(unaries)
    with_it = DenseCRF(image, settings, "native").infer(unaries)
    assert (without[0].argmax(0) != with_it[0].argmax(0)).mean() > 0.01


@pytest.mark.parametrize(
    "change", [{"bilateral": (50.0, 1e-3, 4.0)}, {"bilateral": (1e-3, 5.0, 4.0)}, {"gaussian": (1e-3, 3.0)}]
)
def test_what_float32_cannot_place_is_refused(change):
    settings = CrfSettings(**change)
    with pytest.raises(WsssError, match="200 x 300 image .*too small.*enlarge"):
        DenseCRF(photo(200, 300), settings, "native")


def test_the_extension_checks_what_it_is_given():
    """The wrapper checks first; a mistake in it must not read memory that is not there."""
    module = built()
    grid = module.Grid(4, 5, 3, 3)
    for image in (np.zeros((5, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8)):
        with pytest.raises(ValueError, match="grid's size"):
            module.Field(image, grid, 50, 5, 10)
    field = module.Field(np.zeros((4, 5, 3), np.uint8), grid, 50, 5, 10)
    for unary in (np.zeros((2, 5, 4)), np.zeros((1, 4, 5)), np.zeros((4, 5))):
        with pytest.raises(ValueError, match="labels, height, width"):
            field.infer([unary], 1)
    with pytest.raises(ValueError, match="negative"):
        field.infer([np.zeros((2, 4, 5))], -1)
    with pytest.raises(ValueError, match="without pixels"):
        module.Grid(0, 5, 3, 3)


def test_same_bits_for_any_number_of_threads():
    """Fields built and used by many threads, one of them shared, against one after the other."""
    images = [photo(60 + 7 * i, 80, i) for i in range(6)]
    problems = [unaries_of(PRESETS["labels"], (2, 4), image.shape[:2], i) for i, image in enumerate(images)]
    shared = DenseCRF(images[0], PRESETS["labels"], "native")

    def work(i):
        own = DenseCRF(images[i], PRESETS["labels"], "native").infer(problems[i])
        return [*own, *shared.infer(problems[0])]

    alone = [work(i) for i in range(6)]
    for threads in (2, 5):
        with ThreadPoolExecutor(threads) as pool:
            for found, expected in zip(pool.map(work, list(range(6)) * 3), alone * 3, strict=True):
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_the_lock_of_python_is_not_held():
    size = (200, 300)
    field = DenseCRF(photo(*size), PRESETS["labels"], "native")
    unaries = unaries_of(PRESETS["labels"], (9,), size)
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        running = pool.submit(field.infer, unaries, 20)
        gaps, last = [], time.monotonic()
        while not running.done():
            time.sleep(0.001)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
        taken = time.monotonic() - start
    assert max(gaps) < 0.5 * taken and len(gaps) > 3


def test_neither_keeping_grids_nor_an_old_field_changes_results():
    small, large = (300, 350), (KEPT // 700 + 1, 700)
    rng = np.random.default_rng(0)
    for size in (small, large, small):
        image = rng.integers(0, 240, (size[0] // 25 + 1, size[1] // 25 + 1, 3), dtype=np.uint8)
        image = image.repeat(25, 0).repeat(25, 1)[: size[0], : size[1]]
        unaries = [label_unary(rng.integers(0, 3, size), 3, 0.5)]
        first = DenseCRF(image, PRESETS["labels-1"], "native").infer(unaries)
        narrow = PRESETS["labels-1"].model_copy(update={"gaussian": (1.0, 1.0)})
        other = DenseCRF(image, narrow, "native").infer(unaries)
        np.testing.assert_array_equal(DenseCRF(image, PRESETS["labels-1"], "native").infer(unaries), first)
        assert np.abs(other[0] - first[0]).max() > 0.01


LARGE = """
import json, resource, sys, time
import numpy as np
sys.path.insert(0, sys.argv[1])
from wsss.refine.crf import DenseCRF
from wsss.settings import CrfSettings
rng = np.random.default_rng(0)
image = rng.integers(0, 240, (40, 60, 3), dtype=np.uint8).repeat(50, 0).repeat(50, 1)
image += rng.integers(0, 12, image.shape, dtype=np.uint8)
unary = rng.random((3, 2000, 3000), dtype=np.float32)
unary[0, :, :1500] -= 2
unary[1, :, 1500:] -= 2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
(found,) = DenseCRF(image, CrfSettings(), "native").infer([unary], 3)
seconds = time.process_time() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"mib": memory / 1024, "seconds": seconds, "left": float((found[:, :, :1400].argmax(0) == 0).mean())}))
"""


def test_large_image():
    """6 million pixels, 3 labels, 3 iterations: measured 612 MiB and 2.4 s of one core."""
    ran = subprocess.run([sys.executable, "-c", LARGE, str(ROOT)], check=True, capture_output=True, text=True)
    found = json.loads(ran.stdout)
    assert found["left"] > 0.99
    assert found["mib"] < 900
    assert found["seconds"] < 20
