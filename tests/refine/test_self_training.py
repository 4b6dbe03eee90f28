"""Labels that networks correct: the arithmetic against loops over pixels, by hand, and the stage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import wsss.parts.maps
import wsss.parts.masks
import wsss.stages.segmenter_masks
from tests.engine.plain import seen
from tests.refine.shared import content
from wsss.data.images import read_image
from wsss.errors import WsssError
from wsss.evaluate.agreement import Agreement, count_pairs
from wsss.inference.segmentation import mean_probabilities
from wsss.models.segmenter import Segmenter, load_segmenter
from wsss.refine.crf import DenseCRF, score_unary
from wsss.refine.self_training import corrected_mask, labels_of, restrict, soft_prior, vanishing
from wsss.refine.soft_targets import on_grid
from wsss.runtime.shard import Shard
from wsss.settings import CrfSettings, InferenceSettings, SegmenterMasksSettings
from wsss.stages.segmenter_masks import make as write_masks
from wsss.store.manifest import write_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.store.weights import save_weights
from wsss.system.exit import Interrupted

CRF = CrfSettings(unary="scores", iterations=2, gaussian=(1.0, 3.0), bilateral=(20.0, 5.0, 4.0))


def given(**values):
    return SegmenterMasksSettings(**{"segmenters": ("a",), "prior": "b", "crf": None, **values})


def random_case(seed, classes=4, size=(9, 11)):
    """Probabilities (C + 1, H, W), tags, a prior with 255 and with a class that is no tag, an image."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.4] * (classes + 1), size).transpose(2, 0, 1).astype(np.float32)
    probabilities[0] += 5 * (seed % 2)  # every other time hardly any tag is seen
    tags = tuple(sorted(rng.permutation(classes)[: 1 + seed % 3].tolist()))
    prior = rng.choice([0, 0, *range(1, classes + 1), 255], size).astype(np.uint8)
    return probabilities, tags, prior, rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def slowly(probabilities, tags, prior, image, settings):
    """The same, pixel by pixel, from the formulas."""
    labels = [0, *(c + 1 for c in tags)]
    weight = 0.0 if prior is None else settings.prior_weight
    height, width = probabilities.shape[1:]
    q, s = np.zeros((2, len(labels), height, width))
    for y, x in np.ndindex(height, width):
        whole = sum(float(probabilities[label, y, x]) for label in labels)
        for n, label in enumerate(labels):
            q[n, y, x] = float(probabilities[label, y, x]) / whole if whole else 1 / len(labels)
            told = prior is not None and prior[y, x] in labels
            o = 0.9 * (prior[y, x] == label) + 0.1 / len(labels) if told else 1 / len(labels)
            s[n, y, x] = (1 - weight) * q[n, y, x] + weight * o
    if settings.crf is not None:
        unary = np.float32([[[-math.log(max(v, 1e-5)) for v in row] for row in plane] for plane in s])
        (s,) = DenseCRF(image, settings.crf).infer([unary])
    new = np.zeros((height, width), np.uint8)
    for y, x in np.ndindex(height, width):
        new[y, x] = labels[max(range(len(labels)), key=lambda n: s[n, y, x])]
        if prior is not None and settings.ignore and new[y, x] != prior[y, x]:
            if max(q[n, y, x] for n in range(len(labels))) < settings.sure:
                new[y, x] = 255
    if prior is None or not settings.guard:
        return new
    result = new.copy()
    for label in labels[1:]:
        now, before = (sum(v == label for v in one.ravel().tolist()) for one in (new, prior))
        if now < 0.5 * before and now < 0.05 * height * width:
            for y, x in np.ndindex(height, width):
                if prior[y, x] == label:
                    result[y, x] = label
    return result


@pytest.mark.parametrize("crf", [None, CRF])
@pytest.mark.parametrize("ignore", [None, "agreement"])
@pytest.mark.parametrize("guard", [False, True])
def test_slow_twin(crf, ignore, guard):
    guarded = 0
    for seed in range(8):
        probabilities, tags, prior, image = random_case(seed)
        for weight in (0.0, 0.3, 1.0):
            settings = given(crf=crf, ignore=ignore, guard=guard, prior_weight=weight, sure=0.7)
            for mask in (prior, None):
                found = corrected_mask(restrict(probabilities, tags), tags, mask, image, settings)
                np.testing.assert_array_equal(found.mask, slowly(probabilities, tags, mask, image, settings))
                assert found.mask.dtype == np.uint8 and set(np.unique(found.mask)) <= {*labels_of(tags), 255}
                guarded += found.guarded
    assert bool(guarded) == guard


def test_the_prior_alone_gives_the_crf_of_the_prior():
    for seed in range(5):
        probabilities, tags, prior, image = random_case(seed)
        settings = given(crf=CRF, ignore=None, guard=False, prior_weight=1.0)
        found = corrected_mask(restrict(probabilities, tags), tags, prior, image, settings).mask
        (field,) = DenseCRF(image, CRF).infer([score_unary(soft_prior(prior, tags))])
        np.testing.assert_array_equal(found, labels_of(tags)[field.argmax(0)])


def test_the_networks_alone_give_the_most_probable_tag():
    probabilities, _, prior, _ = random_case(2)
    tags = (1, 3)
    settings = given(ignore=None, guard=False, prior_weight=0.0)
    found = corrected_mask(restrict(probabilities, tags), tags, prior, None, settings).mask
    others = probabilities.copy()
    others[[1, 3]] = -1  # the classes that are not tagged
    np.testing.assert_array_equal(found, others.argmax(0))
    assert (probabilities.argmax(0) != found).any()


def test_restricting_by_hand():
    probabilities = np.float32([[[0.1, 0]], [[0.6, 1]], [[0.3, 0]]])
    np.testing.assert_allclose(restrict(probabilities, [1]), [[[0.25, 0.5]], [[0.75, 0.5]]])  # nothing: all equal
    np.testing.assert_allclose(restrict(probabilities, []), 1)
    soft = soft_prior(np.uint8([[0, 2, 1, 255]]), [1, 2])[:, 0]
    third = [1 / 3] * 3  # 1 is no tag, and 255 is nothing at all
    np.testing.assert_allclose(soft.T, [[14 / 15, 1 / 30, 1 / 30], [1 / 30, 14 / 15, 1 / 30], third, third], rtol=1e-6)


def test_left_out_is_what_differs_and_is_not_sure():
    q = np.float32([[[0.1, 0.1, 0.95, 0.6, 0.02, 0.4]], [[0.9, 0.85, 0.05, 0.4, 0.98, 0.6]]])
    prior = np.uint8([[0, 0, 1, 0, 255, 255]])
    settings = given(prior_weight=0.0, guard=False)
    # sure enough, not sure, sure, the same, ignored before and sure now, ignored before and not sure
    assert corrected_mask(q, [0], prior, None, settings).mask.tolist() == [[1, 255, 0, 0, 1, 255]]
    kept = settings.model_copy(update={"ignore": None})
    assert corrected_mask(q, [0], prior, None, kept).mask.tolist() == [[1, 1, 0, 0, 1, 1]]
    strange = np.uint8([[7, 7, 7, 7, 7, 7]])  # of no tag: as good as 255
    assert corrected_mask(q, [0], strange, None, settings).mask.tolist() == [[1, 255, 0, 255, 1, 255]]


def test_a_tag_that_vanishes_gets_its_pixels_back():
    prior = np.zeros((10, 20), np.uint8)
    prior[:2, :4], prior[5:, :] = 1, 2  # 8 pixels of 200, and 100
    mask = np.zeros_like(prior)
    mask[0, :3], mask[9, :10] = 1, 2  # 3 of 8; 10 of 100, which are 5 % of the image
    assert vanishing(mask, prior, [0, 1, 2]) == [1]
    mask[9, 0] = 0
    assert vanishing(mask, prior, [0, 1]) == [1, 2]
    mask[0, 3] = 1
    assert vanishing(mask, prior, [0, 1]) == [2]
    q = np.zeros((3, 10, 20), np.float32)
    q[0], q[2, 5:], q[0, 5:] = 1, 1, 0
    found = corrected_mask(q, [0, 1], prior, None, given(prior_weight=0.0))
    np.testing.assert_array_equal(found.mask, prior)
    assert found.guarded == 1
    without = corrected_mask(q, [0, 1], prior, None, given(prior_weight=0.0, guard=False))
    assert without.guarded == 0 and not (without.mask == 1).any()
    q[:2, :2, :4] = 0.5  # left out, as the network is not sure: that is lost too
    found = corrected_mask(q, [0, 1], prior, None, given(prior_weight=0.0))
    np.testing.assert_array_equal(found.mask, prior)


def test_refused_arrays():
    q = np.full((2, 3, 4), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"the prior is \(4, 3\), the probabilities are \(3, 4\)"):
        corrected_mask(q, [0], np.zeros((4, 3), np.uint8), None, given())
    with pytest.raises(ValueError, match="a dense CRF needs the image"):
        corrected_mask(q, [0], np.zeros((3, 4), np.uint8), None, given(crf=CRF))


# --- the stage --------------------------------------------------------------------------------------------------------


def network(folder, seed, classes=("cat", "dog", "red cow")):
    torch.manual_seed(seed)
    made = Segmenter("deeplabv3plus", "test_resnet", len(classes) + 1)
    with torch.no_grad():  # scores that are far enough apart to be sure here and there
        made.network.get_submodule("segmentation_head.0").weight *= 400
    about = {"architecture": "deeplabv3plus", "backbone": "test_resnet", "output_stride": 16}
    folder.mkdir()
    save_weights(
        folder / "model.safetensors",
        made.state_dict(),
        {**about, "atrous_rates": [6, 12, 18], "classes": list(classes)},
    )
    write_manifest(folder, {})
    return folder


@pytest.fixture
def chain(tmp_path, pictures):
    """An index, two networks and a prior."""
    index = pictures(tmp_path / "index")
    rng = np.random.default_rng(0)
    for item in index.items:
        mask = rng.choice([0, 0, 1, 2, 3, 255], (item.height, item.width)).astype(np.uint8)
        MaskFolder(tmp_path / "prior" / "masks").write(item.id, mask)
    write_manifest(tmp_path / "prior", {})
    folders = [network(tmp_path / f"n{seed}", seed) for seed in range(2)]
    inputs = {"index": index.folder, "prior": tmp_path / "prior"}
    return index, inputs | {f"segmenters.{n}": folder for n, folder in enumerate(folders)}


def settings_of(**values):
    return SegmenterMasksSettings(
        **{"segmenters": ("n0", "n1"), "prior": "prior", "crf": CRF, "scales": (1.0, 1.5), "sure": 0.6, **values}
    )


def by_hand(items, folders, settings):
    """Id to mean probabilities: one network and one image at a time."""
    found = {}
    for item in items:
        whole = 0
        for folder in folders:
            net = load_segmenter(folder)[0].eval()
            ((_, p),) = mean_probabilities([net], [item], settings, torch.device("cpu"), 1)
            whole = whole + p / len(folders)
        found[item.id] = whole
    return found


def test_probabilities_of_several_networks_are_averaged(chain):
    index, inputs = chain
    settings, cpu = InferenceSettings(scales=(1.0, 1.5)), torch.device("cpu")
    nets = [load_segmenter(inputs[f"segmenters.{n}"])[0].eval() for n in range(2)]
    item = index.items[0]
    ((_, found),) = mean_probabilities(nets, [item], settings, cpu, 1)
    assert found.shape == (4, item.height, item.width) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    folders = [inputs["segmenters.0"], inputs["segmenters.1"]]
    np.testing.assert_allclose(found, by_hand([item], folders, settings)[item.id], atol=1e-5)
    with torch.inference_mode():
        total = 0
        for net in nets:
            for scale in settings.scales:
                view = seen(item.image, scale)
                for scores in (net(view).softmax(1), net(view.flip(-1)).softmax(1).flip(-1)):
                    total = total + torch.nn.functional.interpolate(scores, size=found.shape[1:], mode="bilinear")
    np.testing.assert_allclose(found, total[0] / 8, atol=1e-4)
    plain = InferenceSettings(scales=(1.0,), flip=False)
    ((_, once),) = mean_probabilities(nets[:1], [item], plain, cpu, 1)
    with torch.inference_mode():
        np.testing.assert_allclose(once, nets[0](seen(item.image, 1.0)).softmax(1)[0], atol=1e-4)


@pytest.mark.parametrize("crf", [None, CRF])
def test_stage(chain, make_run, crf):
    index, inputs = chain
    settings = settings_of(crf=crf, splits=("train", "val"))
    run = make_run("segmenter_masks", settings, inputs)
    write_masks(run)
    means = by_hand(index.items, [inputs["segmenters.0"], inputs["segmenters.1"]], settings)
    masks, priors = MaskFolder(run.out / "masks"), MaskFolder(inputs["prior"] / "masks")
    ignored = changed = guarded = total = wrong = 0
    agreement = Agreement(("networks n0, n1", "masks prior"), 3)
    for item in index.items:
        mask, prior = masks.read(item.id), priors.read(item.id)
        total += mask.size
        if not item.labels:
            assert not mask.any()
            continue
        q = restrict(means[item.id], item.labels)
        wanted = corrected_mask(q, item.labels, prior, read_image(item.image), settings)
        wrong += (wanted.mask != mask).sum()  # batch normalisation is folded there: the last bits differ
        ignored += (mask == 255).sum()
        changed += ((mask != 255) & (mask != prior)).sum()
        guarded += wanted.guarded
        agreement.add(count_pairs([labels_of(item.labels)[q.argmax(0)], prior]))
    assert wrong < 0.002 * total
    assert run.facts["images"] == 9
    assert run.facts["ignored_share"] == round(ignored / total, 4) > 0
    assert run.facts["changed_share"] == round(changed / total, 4) > 0
    assert run.facts["guarded_tags"] == pytest.approx(guarded, abs=1)
    (row,), (expected,) = run.facts["agreement"], agreement.rows()
    assert (row["a"], row["b"], row["pixels"]) == ("networks n0, n1", "masks prior", expected["pixels"])
    assert row["miou"] == pytest.approx(expected["miou"], abs=2e-3) and 0 < row["miou"] < 1
    assert run.recorded.get("crf_backend") == (None if crf is None else "native")


def test_the_same_bytes_for_any_number_of_shards_and_threads(chain, make_run):
    _, inputs = chain
    made = []
    for jobs, threads in ((1, 1), (3, 1), (3, 2)):
        name = f"by {jobs} with {threads}"
        for shard in (*(Shard(n, jobs) for n in range(jobs if jobs > 1 else 0)), None):
            run = make_run("segmenter_masks", settings_of(), inputs, name, shard=shard, threads=threads)
            write_masks(run)
        made.append((content(run.out), run.facts))
    assert len(made[0][0]) == 6 and made[0] == made[1] == made[2]


def test_corrections_by_hand_leave_probabilities_alone(chain, make_run, tmp_path):
    index, inputs = chain
    made = {}
    item = index.split("train")[0]
    drawn = np.full((item.height, item.width), 255, np.uint8)
    drawn[2:9, 3:7], drawn[10:12] = 2, 254
    MaskFolder(tmp_path / "by hand").write(item.id, drawn)
    for name, corrected in (("plain", None), ("corrected", str(tmp_path / "by hand"))):
        settings = settings_of(crf=None, keep_probabilities=True, corrected=corrected)
        made[name] = make_run("segmenter_masks", settings, inputs, name)
        write_masks(made[name])
    files = {name: content(run.out) for name, run in made.items()}
    assert {key for key in files["plain"] if files["plain"][key] != files["corrected"][key]} == {f"masks/{item.id}.png"}
    before, after = (MaskFolder(run.out / "masks").read(item.id) for run in made.values())
    np.testing.assert_array_equal(after, np.where(drawn == 255, before, np.where(drawn == 254, 255, drawn)))
    assert made["corrected"].facts.pop("corrected") == {"images": 1, "pixels": int((before != after).sum())}
    assert made["corrected"].facts == made["plain"].facts


def test_without_a_prior(chain, make_run):
    index, inputs = chain
    inputs.pop("prior")
    inputs.pop("segmenters.1")
    run = make_run("segmenter_masks", settings_of(segmenters=("n0",), prior=None), inputs)
    write_masks(run)
    assert run.facts == {"images": 6, "ignored_share": 0.0}
    for item in index.split("train"):
        assert set(np.unique(MaskFolder(run.out / "masks").read(item.id))) <= {0, *(c + 1 for c in item.labels)}


@pytest.mark.parametrize("crf, most", [(None, 1), (CRF, 2)])
def test_few_probabilities_wait_in_memory_and_what_is_made_is_kept(chain, make_run, monkeypatch, crf, most):
    _, inputs = chain
    original, handed, written, waiting = mean_probabilities, [], [], []

    def counting(*args):
        for pair in original(*args):
            handed.append(pair[0].id)
            yield pair
            waiting.append(len(handed) - len(written))

    write = MaskFolder.write
    monkeypatch.setattr(MaskFolder, "write", lambda self, id, mask: (written.append(id), write(self, id, mask))[1])
    monkeypatch.setattr(wsss.stages.segmenter_masks, "mean_probabilities", counting)
    monkeypatch.setattr(wsss.parts.masks, "WAITING", most)
    run = make_run("segmenter_masks", settings_of(crf=crf), inputs)
    run.stop = "a test"
    with pytest.raises(Interrupted):
        write_masks(run)
    assert not (run.out / "masks").exists()
    run.stop = None
    write_masks(run)
    assert len(handed) < 2 * 6 and len(written) == 6


def test_what_does_not_fit_is_refused(chain, make_run, tmp_path):
    index, inputs = chain
    small, strange, lost = [item for item in index.split("train") if item.labels][:3]
    prior = MaskFolder(inputs["prior"] / "masks")
    kept = prior.file(lost.id).read_bytes()
    prior.file(lost.id).unlink()
    with pytest.raises(WsssError, match=rf"no masks of 1 images: '{lost.id}'; add their split to masks.prior.splits"):
        write_masks(make_run("segmenter_masks", settings_of(), inputs))
    prior.file(lost.id).write_bytes(kept)
    prior.write(small.id, np.zeros((4, 5), np.uint8))
    prior.write(strange.id, np.full((strange.height, strange.width), 4, np.uint8))
    with pytest.raises(WsssError) as error:
        write_masks(make_run("segmenter_masks", settings_of(), inputs))
    assert f"{prior.file(small.id)} is 4 x 5 pixels, the image is {small.height} x {small.width}" in str(error.value)
    assert f"{prior.file(strange.id)} has the values [4] in it; allowed are 0 to 3 and 255" in str(error.value)
    one = {name: folder for name, folder in inputs.items() if name != "segmenters.1"}
    with pytest.raises(WsssError, match=r"the settings name 2 segmenters \(n0, n1\) and --segmenters gives 1 folders"):
        write_masks(make_run("segmenter_masks", settings_of(), one))
    none = {name: folder for name, folder in inputs.items() if name != "prior"}
    with pytest.raises(WsssError, match="the settings name the prior 'prior': give its masks with --prior DIR"):
        write_masks(make_run("segmenter_masks", settings_of(), none))
    with pytest.raises(WsssError, match="the settings name no prior: leave out --prior DIR"):
        write_masks(make_run("segmenter_masks", settings_of(prior=None), inputs))
    other = {**inputs, "segmenters.0": network(tmp_path / "other", 0, ("cat", "dog", "bird"))}
    with pytest.raises(WsssError, match="trained on the classes cat, dog, bird"):
        write_masks(make_run("segmenter_masks", settings_of(), other, "n"))


# --- probabilities beside the masks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("crf", [None, CRF])
def test_kept_probabilities(chain, make_run, crf):
    """They are q before the CRF, on a grid and in levels; the masks are those that are made without."""
    index, inputs = chain
    plain = make_run("segmenter_masks", settings_of(crf=crf), inputs, "plain")
    write_masks(plain)
    run = make_run("segmenter_masks", settings_of(crf=crf, keep_probabilities=True), inputs)
    write_masks(run)
    assert run.facts == plain.facts and run.digests == plain.digests and run.identity != plain.identity
    assert sorted(path.name for path in run.out.iterdir()) == ["masks", "parts", "shard-00000-of-00001.h5"]
    write_manifest(run.out, {})
    store, items = MapStore(run.out), index.split("train")
    assert store.ids == [item.id for item in items] and not store.relative
    means = by_hand(items, [inputs["segmenters.0"], inputs["segmenters.1"]], run.settings)
    for item in items:
        record = store[item.id]
        assert record.classes.tolist() == list(item.labels) and record.size == (item.height, item.width)
        if item.labels:
            wanted = on_grid(restrict(means[item.id], item.labels))
            np.testing.assert_allclose(record.maps[0], wanted, atol=0.5 / 255 + 1e-4)
            assert store.full(item.id).shape == (len(item.labels), item.height, item.width)
    size = (run.out / "shard-00000-of-00001.h5").stat().st_size
    assert size < 40_000 and store.attributes["levels"] == 255 and store.attributes["version"] == 2


def test_the_same_probabilities_for_any_number_of_shards_and_threads(chain, make_run, monkeypatch):
    _, inputs = chain
    monkeypatch.setattr(wsss.parts.maps, "IMAGES_A_FILE", 4)
    monkeypatch.setattr(wsss.parts.maps, "IMAGES_A_PART", 2)
    made = []
    for jobs, threads in ((1, 1), (3, 1), (2, 2), (20, 1)):
        name = f"by {jobs} with {threads}"
        for shard in (*(Shard(n, jobs) for n in range(jobs if jobs > 1 else 0)), None):
            settings = settings_of(keep_probabilities=True)
            run = make_run("segmenter_masks", settings, inputs, name, shard=shard, threads=threads)
            write_masks(run)
        made.append((content(run.out), run.facts))
    assert len(made[0][0]) == 6 + 2 and all(one == made[0] for one in made)


def test_an_image_is_made_again_where_its_mask_or_its_probabilities_are_missing(chain, make_run, monkeypatch):
    """After each image the run is stopped and started again; in between, what is kept is damaged once."""
    index, inputs = chain
    settings = settings_of(crf=None, keep_probabilities=True)
    whole = make_run("segmenter_masks", settings, inputs, "whole")
    write_masks(whole)
    written, write = [], MaskFolder.write
    monkeypatch.setattr(MaskFolder, "write", lambda self, id, mask: (written.append(id), write(self, id, mask))[1])
    run = make_run("segmenter_masks", settings, inputs, "cut")
    for attempt in range(7):
        run.stop = "a test"
        with pytest.raises(Interrupted):
            write_masks(run)
        assert not (run.out / "masks").exists() and not list(run.out.glob("shard-*"))
        if attempt == 2:
            next((run.out / "parts" / run.identity).glob("*.h5")).write_bytes(b"damaged")
    run.stop = None
    write_masks(run)
    assert content(run.out) == content(whole.out)
    assert len(written) == len(index.split("train")) + 1


def test_no_images_at_all(chain, make_run, monkeypatch):
    _, inputs = chain
    monkeypatch.setattr(wsss.stages.segmenter_masks, "items_of", lambda *_: [])
    run = make_run("segmenter_masks", settings_of(keep_probabilities=True), inputs)
    write_masks(run)
    write_manifest(run.out, {})
    assert len(MapStore(run.out)) == 0
