"""The guided classifier: its heatmaps are what they are called, however the gradient is made, and they can be taught.

T-TW-1 to T-TW-5 are the acceptance tests of its specification.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss.data.loading import Batch
from wsss.errors import WsssError
from wsss.explain.methods.gradient_x_input import GradientXInput
from wsss.explain.methods.hires_cam import HiResCam
from wsss.explain.subject import Subject
from wsss.explain.targets import Classes
from wsss.losses.base import TrainingStep
from wsss.models.backbone import feature_maps
from wsss.models.classifier import load_classifier, logits, save_classifier
from wsss.models.heatmaps import heatmap
from wsss.objectives import find
from wsss.objectives.guided import LEAST, GuidedObjective, class_subset, pixel_loss
from wsss.settings import GuidedSettings, Ramp
from wsss.store.manifest import write_manifest

START = TrainingStep(0, 0.0)
LAYERS = ["last", "backbone.layer3", "backbone.layer1", "input"]
EARLIER = LAYERS[1:]
SIDE = 32


def goal(layer: str = "last", seed: int = 0, **settings) -> GuidedObjective:
    torch.manual_seed(seed)
    small = {"backbone": "test_resnet", "pretrained": False, "crop": SIDE, "label_smoothing": 0.0}
    fixed = {} if layer == "last" else {"batch_norm": "fixed"}
    made = GuidedObjective(GuidedSettings(**{**small, **fixed, "guidance_layer": layer, **settings}), 3, {})
    network = made.networks["classifier"].train()
    nn.init.normal_(network.classifier.background.weight, std=0.1)
    if made.settings.batch_norm == "fixed":
        network.fix_batch_norm()
    return made


class Plain(nn.Module):
    """A backbone of convolutions without biases, ReLUs and max-pooling, with the channels of ``test_resnet``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.layer3 = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 12, 3, bias=False))
        self.layer4 = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(12, 96, 3, 2, 1, bias=False), nn.ReLU())

    def forward_features(self, images):
        return self.layer4(self.layer3(self.first(images)))


@pytest.fixture
def batch() -> Batch:
    """Of four images the second and the last show their mask; it leaves some pixels out."""
    torch.manual_seed(1)
    masks = torch.full((4, SIDE, SIDE), 255)
    masks[1, 4:28, 4:20], masks[1, 8:16, 8:16] = 0, 3
    masks[3, :, :16], masks[3, 16:, 4:] = 1, 2
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 1, 0], [1, 1, 0]]).float()
    return Batch(torch.randn(4, 3, SIDE, SIDE), labels, torch.tensor([0.6, 0.1, 0.9, 0.3]), masks)


def loss_of(made: GuidedObjective, batch: Batch):
    (loss,) = made.losses(batch, START)
    assert loss.network == "classifier"
    return loss


def heatmaps_of(made: GuidedObjective, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All heatmaps (B, C + 1, h, w), and scores."""
    maps, point = made.networks["classifier"](images)
    scores = logits(maps)
    if point is None:
        return maps, scores
    columns = [torch.full((len(images),), c) for c in range(scores.shape[1])]
    return torch.stack([heatmap(scores, point, c, True) for c in columns], 1), scores


def gradients(made: GuidedObjective, batch: Batch) -> dict[str, torch.Tensor]:
    network = made.networks["classifier"]
    network.zero_grad()
    loss_of(made, batch).value.backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def explained(made: GuidedObjective, images: torch.Tensor, layer: str) -> torch.Tensor:
    """Gradient x activation (B, C, h, w) of the classifier that is kept, by ``wsss.explain``, times the cells."""
    network = made.kept(made.networks["classifier"])
    wanted = Classes("gt", torch.ones(len(images), 3))
    if layer == "input":
        maps = GradientXInput()(Subject(network, read=logits), images, wanted).maps.sum(1)
    elif layer == "last":
        maps = HiResCam()(Subject(network, "head", "head", "input", logits), images, wanted).maps
    else:
        maps = HiResCam()(Subject(network, layer, read=logits), images, wanted).maps
    return maps.unflatten(0, (len(images), 3)) * maps[0].numel()


# --- the specification's tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_T_TW_1_heatmaps_are_gradient_times_activation(batch, layer):
    made = goal(layer, batch_norm="fixed")
    heatmaps, _ = heatmaps_of(made, batch.images)
    torch.testing.assert_close(heatmaps[:, 1:], explained(made, batch.images, layer), rtol=1e-4, atol=1e-5)
    network = made.networks["classifier"]  # the background's by another writing: a plain sum, image by image
    x = batch.images[:1].clone().requires_grad_()
    score = network.classifier.background(feature_maps(network.classifier.backbone, x)).mean()
    if layer == "input":
        expected = (torch.autograd.grad(score, x)[0] * x).sum(1) * SIDE**2
        torch.testing.assert_close(heatmaps[:1, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["last", "backbone.layer3", "backbone.first", "input"])
def test_T_TW_1_without_biases_the_mean_of_a_heatmap_is_the_score(batch, layer):
    made = goal()
    network = made.networks["classifier"]
    network.classifier.backbone, network.layer = Plain(), layer
    heatmaps, scores = heatmaps_of(made, batch.images)
    assert scores.abs().min() > 1e-4
    torch.testing.assert_close(heatmaps.mean((2, 3)), scores, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("absent", [None, 0, 1])
@pytest.mark.parametrize("layer", EARLIER)
def test_T_TW_2_class_by_class_is_one_pass(batch, layer, absent):
    found = [
        gradients(goal(layer, gradient=mode, absent_classes=absent, pixel=Ramp(start=3, end=3)), batch)
        for mode in ("one-pass", "class-by-class")
    ]
    assert found[0].keys() == found[1].keys() and "classifier.background.weight" in found[0]
    for name, one in found[0].items():
        torch.testing.assert_close(found[1][name], one, rtol=1e-4, atol=1e-5 * float(one.abs().max()), msg=name)


@pytest.mark.parametrize("layer", EARLIER)
def test_T_TW_2_values_in_the_log_are_the_same(batch, layer):
    one, other = (loss_of(goal(layer, gradient=mode), batch) for mode in ("one-pass", "class-by-class"))
    assert one.parts.keys() == other.parts.keys() == {"loss", "tags", "pixels"}
    for name in one.parts:
        torch.testing.assert_close(one.parts[name], other.parts[name])
    torch.testing.assert_close(one.value, one.parts["tags"] + 0.25 * one.parts["pixels"])


@pytest.mark.parametrize("layer", LAYERS)
def test_T_TW_3_heatmaps_stay_those_of_the_network(batch, layer):
    """Another type, other weights, one optimiser step, and back: nothing parts from the network that is kept."""
    made = goal(layer, batch_norm="fixed")
    network = made.networks["classifier"]
    network.to(torch.float64).to(torch.float32)
    network.load_state_dict(goal(layer, seed=7, batch_norm="fixed").networks["classifier"].state_dict())
    before = heatmaps_of(made, batch.images)[0].detach()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    loss_of(made, batch).value.backward()
    optimiser.step()
    after, _ = heatmaps_of(made, batch.images)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after[:, 1:], explained(made, batch.images, layer), rtol=1e-4, atol=1e-4)
    assert len({id(p) for p in network.parameters()}) == len(list(network.parameters()))


@pytest.mark.parametrize("mode", ["one-pass", "class-by-class"])
@pytest.mark.parametrize("layer", LAYERS)
def test_T_TW_4_statistics_are_updated_once_a_step(batch, layer, mode):
    """Also at layers whose trainings keep them fixed: the engine fixes them, the objective runs the network once."""
    made = goal(layer, gradient=mode)
    network = made.networks["classifier"]
    network.fixed_batch_norm = False
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for step in range(1, 3):
        loss_of(made, batch).value.backward()
        assert norms and {int(m.num_batches_tracked) for m in norms} == {step}


@pytest.mark.parametrize("layer", ["last", "backbone.layer3", "input"])
def test_T_TW_5_four_images_are_learnt(layer):
    torch.manual_seed(4)
    images, masks = 0.2 * torch.randn(4, 3, SIDE, SIDE), torch.zeros(4, SIDE, SIDE, dtype=torch.long)
    for number in range(4):
        c = number % 3
        images[number, c, 8:24, 16 * (number // 2) : 16 * (number // 2) + 16] += 2
        masks[number, 8:24, 16 * (number // 2) : 16 * (number // 2) + 16] = c + 1
    batch = Batch(images, F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float(), torch.rand(4), masks)
    made = goal(layer, output_stride=8, pixel=Ramp(start=1, end=1))
    optimiser = torch.optim.Adam((p for p in made.networks["classifier"].parameters() if p.requires_grad), 3e-3)
    seen = []
    for _ in range(40):
        loss = loss_of(made, batch)
        optimiser.zero_grad()
        loss.value.backward()
        nn.utils.clip_grad_norm_(made.networks["classifier"].parameters(), 1.0)
        optimiser.step()
        seen.append({name: float(value) for name, value in loss.parts.items()})
    assert seen[-1]["pixels"] < 0.6 * seen[0]["pixels"] and seen[-1]["tags"] < seen[0]["tags"]


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["last", "backbone.layer3"])
def test_the_loss_against_a_plain_second_writing(batch, layer):
    made = goal(layer, heatmap_scale=0.5, pixel=Ramp(start=2, end=2))
    heatmaps, scores = heatmaps_of(made, batch.images)
    up = F.interpolate(0.5 * heatmaps, (SIDE, SIDE), mode="bilinear")
    labelled = batch.masks != 255
    wrong = -up.log_softmax(1).gather(1, batch.masks.clamp(max=3)[:, None])[:, 0]
    tags = F.binary_cross_entropy_with_logits(scores[:, 1:], batch.labels)
    torch.testing.assert_close(loss_of(made, batch).value, tags + 2 * wrong[labelled].mean())


@pytest.mark.parametrize("mode", ["one-pass", "class-by-class"])
@pytest.mark.parametrize("layer", EARLIER)
def test_gradients_against_a_plain_second_writing(batch, layer, mode):
    """One image and one class after the other; the loss reaches the weights by both factors of a heatmap."""
    made = goal(layer, gradient=mode, pixel=Ramp(start=2, end=2))
    network = made.networks["classifier"]
    total = 0
    for n in (1, 3):
        caught = []
        x = batch.images[n : n + 1].clone().requires_grad_()
        module = network.classifier.get_submodule(layer) if layer != "input" else None
        handle = module and module.register_forward_hook(lambda _, __, out, caught=caught: caught.append(out))
        features = feature_maps(network.classifier.backbone, x)
        rows = [network.classifier.background(features)[0, 0], *network.classifier.head(features)[0]]
        point = x if module is None else caught[0]
        if handle:
            handle.remove()
        maps = [(torch.autograd.grad(r.mean(), point, create_graph=True)[0] * point).sum(1) for r in rows]
        up = F.interpolate(torch.stack(maps, 1) * maps[0].numel(), (SIDE, SIDE), mode="bilinear")
        total = total + F.cross_entropy(up, batch.masks[n : n + 1], ignore_index=255, reduction="sum")
    scores = logits(network.classifier(batch.images))
    loss = F.binary_cross_entropy_with_logits(scores, batch.labels) + 2 * total / (batch.masks != 255).sum()
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    expected = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    for name, one in gradients(made, batch).items():
        torch.testing.assert_close(
            one, expected[name], rtol=1e-3, atol=1e-4 * float(expected[name].abs().max()), msg=name
        )


@pytest.mark.parametrize("masks", [None, torch.full((4, SIDE, SIDE), 255)])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_without_masks_has_the_tags_alone(batch, layer, masks):
    batch.masks = masks
    made = goal(layer)
    loss = loss_of(made, batch)
    assert loss.parts.keys() == {"loss", "tags"} and loss.value.isfinite()
    loss.value.backward()
    assert not made.networks["classifier"].classifier.background.weight.grad.any()  # no tag speaks of the background


def test_other_images_have_no_say_in_the_pixel_loss(batch):
    """What an image without a mask looks like changes nothing, as batch normalisation is fixed."""
    made = goal("backbone.layer3")
    pixels = loss_of(made, batch).parts["pixels"]
    batch.images[0] += 1
    torch.testing.assert_close(loss_of(made, batch).parts["pixels"], pixels)
    batch.images[1] += 1
    assert not torch.isclose(loss_of(made, batch).parts["pixels"], pixels)


def test_the_classes_that_an_image_lacks_are_drawn_by_the_image(batch):
    batch.masks[1, 30, 30] = 2  # in the mask, though the tags lack it
    everything = class_subset(batch, None)
    assert everything.classes.tolist() == [[0, 1, 2, 3]] * 4 and everything.counts.all()

    def sets(absent: int) -> list[set[int]]:
        found = class_subset(batch, absent)
        return [set(c[k].tolist()) for c, k in zip(found.classes, found.counts, strict=True)]

    assert sets(0) == [{0, 1, 3}, {0, 2, 3}, {0, 2}, {0, 1, 2}]
    assert sets(2) == sets(9) == [{0, 1, 2, 3}] * 4
    drawn = set()
    for n in range(20):
        batch.draws[2] = n / 20
        (third,) = sets(1)[2] - {0, 2}
        drawn.add(third)
        alone = Batch(batch.images[2:3], batch.labels[2:3], batch.draws[2:3], batch.masks[2:3])
        assert set(class_subset(alone, 1).classes[0].tolist()) == {0, 2, third}, "whatever else is in the batch"
    assert drawn == {1, 3}


def test_a_class_that_is_left_out_has_no_part_in_the_softmax(batch):
    made = goal(absent_classes=0)
    heatmaps, _ = heatmaps_of(made, batch.images)
    up = F.interpolate(heatmaps, (SIDE, SIDE), mode="bilinear")
    up[1, [1, 2]] = LEAST
    up[3, 3] = LEAST
    labelled = batch.masks != 255
    wrong = -up.log_softmax(1).gather(1, batch.masks.clamp(max=3)[:, None])[:, 0]
    torch.testing.assert_close(loss_of(made, batch).parts["pixels"], wrong[labelled].mean())


def test_devices_parts_add_up_to_the_whole():
    """Each divides by the count of all; their mean is what the engine takes."""
    scores, masks = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 16, 16))
    masks[0, :12] = 255
    count = (masks != 255).sum()
    parts = [pixel_loss(scores[rows], masks[rows], count, 2) for rows in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(sum(parts) / 2, pixel_loss(scores, masks, count, 1))


# --- the network ------------------------------------------------------------------------------------------------------


def test_it_is_found_by_its_name_and_keeps_a_classifier_with_a_background(batch):
    assert find("guided") is GuidedObjective
    made = goal(heatmap_scale=0.5)
    trained = made.networks["classifier"].eval()
    kept = made.kept(trained)
    assert kept(batch.images).shape[1] == 3
    torch.testing.assert_close(kept.pixel_logits(batch.images), trained(batch.images).maps * 0.5)


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_read_is_what_was_trained(batch, layer, tmp_path):
    """Heatmaps of the stored classifier, also within inference mode, against those of the training."""
    made = goal(layer, heatmap_scale=0.5, batch_norm="fixed")
    expected, _ = heatmaps_of(made, batch.images)
    save_classifier(tmp_path, made.kept(made.networks["classifier"]), made.settings, ["a", "b", "c"])
    write_manifest(tmp_path, {"settings": made.settings.model_dump(mode="json")})
    network = load_classifier(tmp_path)[0].eval()
    with torch.inference_mode():
        found = network.pixel_logits(batch.images.clone())
    torch.testing.assert_close(found, 0.5 * expected.detach(), atol=1e-4, rtol=1e-4)
    assert found.shape[:2] == (4, 4) and not found.requires_grad
    assert (found.shape[-1] == SIDE) == (layer == "input")


def test_a_layer_that_was_not_written_down_is_refused(tmp_path):
    made = goal("input")
    kept = made.kept(made.networks["classifier"])
    settings = made.settings.model_copy(update={"guidance_layer": "last"})
    save_classifier(tmp_path, kept, settings, ["a", "b", "c"])  # as versions did that wrote no layer
    write_manifest(tmp_path, {"settings": made.settings.model_dump(mode="json")})
    with pytest.raises(WsssError, match="wsss run --again classifier"):
        load_classifier(tmp_path)[0].pixel_logits(torch.zeros(1, 3, SIDE, SIDE))


def test_the_head_and_the_background_are_new():
    network = goal().networks["classifier"]
    new = {name for name, _ in network.named_parameters() if network.is_new(name)}
    assert new == {"classifier.head.weight", "classifier.background.weight"}


@pytest.mark.parametrize(
    "layer, said",
    [
        ("backbone.layer33", "did you mean backbone.layer3"),
        ("inputs", "did you mean input"),
        ("head", "no such layer"),
    ],
)
def test_a_layer_that_is_not_there_is_named(layer, said):
    with pytest.raises(WsssError, match=said):
        goal(layer)


def test_layers_without_maps_are_refused(batch):
    made = goal("backbone.global_pool")
    with pytest.raises(WsssError, match="'backbone.global_pool' runs 0 times in a forward pass; take one"):
        loss_of(made, batch)
    made = goal("backbone.layer1")
    backbone = made.networks["classifier"].classifier.backbone
    backbone.layer1.append(nn.Flatten(2))
    backbone.layer2.insert(0, nn.Unflatten(2, (8, 8)))
    with pytest.raises(WsssError, match=r"'backbone.layer1' gives \(4, \d+, 64\), maps are"):
        loss_of(made, batch)
