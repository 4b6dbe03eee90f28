"""The dense CRF against a mean field with all pairs of pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.refine.crf import BACKENDS, DenseCRF, label_unary, prepare, refine_scores, score_unary
from wsss.refine.crf_backends import built, usual_backend
from wsss.settings import CRF_PRESETS, CrfSettings, MasksSettings

PARAMETERS = CrfSettings(gaussian=(3.0, 3.0), bilateral=(5.0, 20.0, 10.0), iterations=5)


def exact_mean_field(image, unary, settings, iterations):
    """Kraehenbuehl and Koltun's equations with exact Gaussian kernels between all pairs of pixels, in float64."""
    count, height, width = unary.shape
    place = np.stack(np.meshgrid(range(height), range(width), indexing="ij"), -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    near = ((place[:, None] - place[None]) ** 2).sum(-1)
    alike = ((colour[:, None] - colour[None]) ** 2).sum(-1)
    (smooth, smooth_weight), (far, grey, weight) = settings.gaussian, settings.bilateral
    message = np.zeros_like(near)
    for w, kernel in (
        (smooth_weight, np.exp(-near / (2 * smooth**2))),
        (weight, np.exp(-near / (2 * far**2) - alike / (2 * grey**2))),
    ):
        norm = 1 / np.sqrt(kernel.sum(1))
        message += w * norm[:, None] * kernel * norm[None]
    energy = unary.reshape(count, -1).astype(float)

    def softmax(values):
        e = np.exp(values - values.max(0))
        return e / e.sum(0)

    q = softmax(-energy)
    for _ in range(iterations):
        q = softmax(-energy + q @ message.T)
    return q.reshape(unary.shape)


@pytest.fixture(params=["native", "pydensecrf"])
def backend(request):
    return request.param


@pytest.fixture
def scene():
    """12 x 10 pixels, dark left of column 5 and bright right of it; labels with a border two columns off, and noisy."""
    rng = np.random.default_rng(0)
    side = np.arange(10) >= 5
    image = (np.where(side, 200, 40)[None, :, None] + rng.integers(0, 12, (12, 10, 3))).astype(np.uint8)
    labels = np.tile(np.arange(10) >= 7, (12, 1)).astype(int)
    labels[3, 1], labels[8, 9] = 1, 0
    return image, labels, np.tile(side, (12, 1)).astype(int)


def test_label_energies_by_hand():
    unary = label_unary(np.array([[0, 2]]), 3, 0.7)
    assert unary.dtype == np.float32 and unary.shape == (3, 1, 2)
    sure, other = -np.log(0.7), -np.log(0.15)
    np.testing.assert_allclose(unary[:, 0], [[sure, other], [other, other], [other, sure]], rtol=1e-6)
    np.testing.assert_array_equal(label_unary(np.zeros((2, 2), int), 1, 0.7), np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="0 to 1"):
        label_unary(np.array([[2]]), 2, 0.7)


def test_label_energies_equal_the_library():
    utils = pytest.importorskip("pydensecrf.utils")
    labels = np.random.default_rng(0).integers(0, 4, (5, 6))
    expected = utils.unary_from_labels(labels, 4, 0.9, zero_unsure=False)
    np.testing.assert_allclose(label_unary(labels, 4, 0.9).reshape(4, -1), expected, rtol=1e-6)


def test_score_energies_by_hand():
    unary = score_unary(np.array([[[0.5, 0.0, 0.0]], [[0.5, 2.0, 0.0]]]))
    np.testing.assert_allclose(unary[:, 0, 0], -np.log([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(unary[:, 0, 1], [-np.log(1e-5), 0], rtol=1e-6)
    assert np.isfinite(unary).all()


@pytest.mark.parametrize("count", [2, 3])
def test_slow_twin(scene, count, backend):
    image, labels, _ = scene
    labels = labels.copy()
    if count == 3:
        labels[:4, :3] = 2
    unary = label_unary(labels, count, 0.7)
    field = DenseCRF(image, PARAMETERS, backend)
    # the lattice approximates the kernels; where the field has not settled yet that shows most
    for iterations, mean, largest in ((1, 0.01, 0.15), (5, 1e-3, 1e-2)):
        (found,) = field.infer([unary], iterations)
        expected = exact_mean_field(image, unary, PARAMETERS, iterations)
        assert np.abs(found - expected).mean() < mean and np.abs(found - expected).max() < largest
    assert (found.argmax(0) == expected.argmax(0)).all()


def test_border_moves_to_the_edge_of_the_colours(scene):
    image, labels, side = scene
    assert (labels != side).mean() > 0.15
    scores = np.stack([labels == 0, labels == 1]).astype(np.float32)
    np.testing.assert_array_equal(refine_scores(image, scores, PARAMETERS), side)


def test_probabilities_sum_to_one_and_uniform_stays(scene, backend):
    image, labels, _ = scene
    uniform = np.full((3, 12, 10), 1.7, np.float32)
    first, second = DenseCRF(image, PARAMETERS, backend).infer([uniform, label_unary(labels, 2, 0.7)])
    np.testing.assert_allclose(first, 1 / 3, atol=1e-5)
    np.testing.assert_allclose(second.sum(0), 1, atol=1e-5)
    assert first.dtype == second.dtype == np.float32


def test_problems_do_not_disturb_one_another(scene, backend):
    image, labels, _ = scene
    unaries = [label_unary(labels, 2, 0.7), label_unary(labels, 3, 0.7), label_unary(1 - labels, 2, 0.9)]
    field = DenseCRF(image, PARAMETERS, backend)
    for together, unary in zip(field.infer(unaries), unaries, strict=True):
        (alone,) = DenseCRF(image, PARAMETERS, backend).infer([unary])
        np.testing.assert_array_equal(together, alone)
        (again,) = field.infer([unary])
        np.testing.assert_array_equal(again, alone)


def test_no_iteration_is_softmax(scene, backend):
    image, labels, _ = scene
    (found,) = DenseCRF(image, PARAMETERS, backend).infer([label_unary(labels, 2, 0.7)], iterations=0)
    np.testing.assert_allclose(found[1], np.where(labels == 1, 0.7, 0.3), atol=1e-6)


def test_one_label_is_returned_as_is(scene, backend):
    image, labels, _ = scene
    one, two = np.zeros((1, 12, 10), np.float32), label_unary(labels, 2, 0.7)
    field = DenseCRF(image, PARAMETERS, backend)
    found = field.infer([one, two, one])
    np.testing.assert_array_equal(found[0], 1)
    np.testing.assert_array_equal(found[2], 1)
    np.testing.assert_array_equal(found[1], field.infer([two])[0])
    assert field.infer([]) == []
    np.testing.assert_array_equal(refine_scores(image, np.ones((1, 12, 10), np.float32), PARAMETERS), 0)


def test_labels_that_are_nowhere_likely_may_be_left_out(scene):
    image, labels, _ = scene
    scores = np.full((6, 12, 10), 0.002, np.float32)
    scores[1], scores[4] = np.where(labels == 0, 0.8, 0.19), np.where(labels == 1, 0.8, 0.19)
    settings = PARAMETERS.model_copy(update={"unary": "scores"})
    pruned = refine_scores(image, scores, settings, keep_above=0.02)
    np.testing.assert_array_equal(pruned, refine_scores(image, scores, settings))
    assert set(np.unique(pruned)) == {1, 4}
    np.testing.assert_array_equal(refine_scores(image, scores[[1]].repeat(2, 0) * [[[0.01]], [[1]]], settings, 0.02), 1)


def test_constant_factor_of_the_scores_does_not_matter(scene):
    """Maps beside a constant background score are no distribution; only their ratios count."""
    image, labels, _ = scene
    scores = np.stack([np.full((12, 10), 0.3), np.where(labels == 1, 0.9, 0.1)]).astype(np.float32)
    settings = PARAMETERS.model_copy(update={"unary": "scores"})
    expected = exact_mean_field(image, -np.log(scores), settings, 5).argmax(0)
    np.testing.assert_array_equal(refine_scores(image, scores, settings), expected)


def test_odd_images(scene, backend):
    for shape in ((1, 1), (1, 9), (7, 1)):
        labels = np.zeros(shape, int)
        labels.flat[-1] = 1
        (found,) = DenseCRF(np.zeros((*shape, 3), np.uint8), PARAMETERS, backend).infer([label_unary(labels, 2, 0.7)])
        assert found.shape == (2, *shape) and np.isfinite(found).all()
    mirrored = scene[0][:, ::-1]  # a view with negative strides
    mirrored.flags.writeable = False
    unary = label_unary(labels := scene[1], 2, 0.7)
    (found,) = DenseCRF(mirrored, PARAMETERS, backend).infer([unary[:, :, ::-1].astype(np.float64)])
    (expected,) = DenseCRF(np.ascontiguousarray(mirrored), PARAMETERS, backend).infer(
        [label_unary(labels[:, ::-1], 2, 0.7)]
    )
    np.testing.assert_array_equal(found, expected)


def test_wrong_input_is_refused(scene, backend):
    image = scene[0]
    for wrong in (image.astype(np.float32), image[..., 0], image[..., :2], image[:0]):
        with pytest.raises(ValueError, match="uint8"):
            DenseCRF(wrong, PARAMETERS, backend)
    field = DenseCRF(image, PARAMETERS, backend)
    for wrong in (np.zeros((2, 10, 12)), np.zeros((12, 10)), np.zeros((0, 12, 10))):
        with pytest.raises(ValueError, match=r"\(L, 12, 10\)"):
            field.infer([wrong])
    for value in (np.nan, np.inf, -np.inf, 1e31):
        unary = np.zeros((2, 12, 10))
        unary[1, 3, 4] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            field.infer([unary])
    with pytest.raises(ValueError, match="negative"):
        field.infer([np.zeros((2, 12, 10))], iterations=-1)
    with pytest.raises(WsssError, match="'none'; allowed: native, pydensecrf"):
        DenseCRF(image, PARAMETERS, "none")


def test_huge_energies_stay_finite(scene, backend):
    image, labels, side = scene
    sure = np.stack([labels, 1 - labels]) * np.float32(1e30)
    (found,) = DenseCRF(image, PARAMETERS, backend).infer([sure])
    np.testing.assert_allclose(found, np.stack([labels == 0, labels == 1]), atol=1e-30)


def test_missing_library_is_explained(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(WsssError, match="C\\+\\+ compiler.*crf: null"):
        DenseCRF(scene[0], PARAMETERS, "pydensecrf")


def test_native_is_usual_and_pydensecrf_steps_in(scene, monkeypatch, capfd):
    assert usual_backend() == "native" and DenseCRF(scene[0], PARAMETERS).backend == "native"
    assert prepare(PARAMETERS) == {"crf_backend": "native"} and prepare(None) == {}
    assert capfd.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "_wsss_crf", None)
    built.cache_clear()
    usual_backend.cache_clear()
    try:
        for _ in range(2):
            assert prepare(PARAMETERS) == {"crf_backend": "pydensecrf"}
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1 and "not built" in lines[0] and "pip install" in lines[0] and "pydensecrf" in lines[0]
        with pytest.raises(WsssError, match="not built.*pip install"):
            DenseCRF(scene[0], PARAMETERS, "native")
    finally:
        built.cache_clear()
        usual_backend.cache_clear()


def test_another_backend_can_be_added(scene, monkeypatch):
    image, labels, _ = scene

    def exact(image, settings):
        return lambda unaries, iterations: [exact_mean_field(image, unary, settings, iterations) for unary in unaries]

    monkeypatch.setitem(BACKENDS, "exact", exact)
    (found,) = DenseCRF(image, PARAMETERS, "exact").infer([label_unary(labels, 2, 0.7)])
    assert found.shape == (2, 12, 10)


@pytest.mark.parametrize("preset", sorted(CRF_PRESETS))
def test_presets_run(scene, preset):
    image, labels, _ = scene
    settings = MasksSettings.read({"cams": "x", "crf": preset}).crf
    scores = np.stack([labels == 0, labels == 1]).astype(np.float32)
    assert refine_scores(image, scores, settings).shape == labels.shape
