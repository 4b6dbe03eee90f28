"""The look into a network: what it gives, and that it leaves no trace."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from tests.explain.nets import Deep, Pooled, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Regions, Subject, find, names, subject_of
from wsss.explain.forward_pass import ranks
from wsss.explain.targets import chosen
from wsss.models.classifier import Classifier

EVERY = Classes("pred", only=range(4))


def deep() -> Subject:
    return Subject(seeded(Deep), layer="body", head="fc")


def state_of(network: nn.Module):
    """All that an explanation must leave as it was."""
    values = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    own = [sorted(vars(m)) for m in network.modules()]
    grads = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in network.parameters()]
    return values, modes, hooks, own, grads


def same_state(one, other) -> bool:
    pairs = zip(one[4], other[4], strict=True)
    grads = all(a[0] == b[0] and (a[1] is b[1] is None or torch.equal(a[1], b[1])) for a, b in pairs)
    return grads and one[1:4] == other[1:4] and all(torch.equal(v, other[0][k]) for k, v in one[0].items())


@pytest.mark.parametrize("name", names())
def test_a_network_is_left_as_it_was(name):
    subject = pooled()
    network = subject.network
    network.body[1].eval()
    network.fc.weight.requires_grad_(False)
    network(images(2)).sum().backward()
    network(images(2))  # statistics move in training; nothing else may move them
    before = state_of(network)
    find(name)()(subject, images(2, 8), EVERY)
    assert same_state(before, state_of(network)) and torch.is_grad_enabled()


class Failing(Pooled):
    """Fails behind its body, from the second pass on or at once."""

    passes = 0

    def forward(self, images):
        scores = super().forward(images)
        self.passes += 1
        if self.passes > self.sound:
            raise IndexError("mine")
        return scores


AT_ONCE = [("cam", 0), ("grad-cam", 0), ("full-grad", 0), ("gradient", 0)]
LATER = [(name, sound) for name in ("score-cam", "ablation-cam", "occlusion") for sound in (0, 1)]


@pytest.mark.parametrize("name, sound", AT_ONCE + LATER)
def test_errors_pass_through_and_leave_no_trace(name, sound):
    network = seeded(Failing)
    network.sound = sound
    options = {"closed_form": False} if name == "ablation-cam" else {}
    before = state_of(network)
    with pytest.raises(IndexError, match="mine"):
        find(name)(**options)(Subject(network, "body", "fc"), images(2, 8), EVERY)
    del network.passes
    assert same_state(before, state_of(network)) and torch.is_grad_enabled()


@pytest.mark.parametrize("name", names())
def test_frozen_networks_and_callers_without_gradients(name):
    subject, x = pooled(), images(2, 8)
    usual = find(name)()(subject, x, EVERY, seed=3)
    subject.network.requires_grad_(False)
    for within in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with within():
            again = find(name)()(subject, x.clone(), EVERY, seed=3)
        torch.testing.assert_close(again.maps, usual.maps)
        assert not again.maps.requires_grad and not again.output.requires_grad


def test_maps_are_raw_rows_with_their_record():
    subject, x = deep(), images(3)
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]])
    made = find("grad-cam")()(subject, x, Classes("gt", labels), seed=7)
    assert made.image_idx.tolist() == [0, 0, 2, 2] and made.class_idx.tolist() == [0, 2, 1, 3]
    assert made.maps.shape == (4, 8, 8) and made.maps.dtype == torch.float32
    assert (made.maps < 0).any() and made.of(2)[0].tolist() == [1, 3] and torch.equal(made.of(2)[1], made.maps[2:])
    torch.testing.assert_close(made.output, subject.network.eval()(x))
    about = made.about
    assert (about["method"], about["layer"], about["policy"]) == ("grad-cam", "body", "gt")
    assert (about["classes"], about["score"], about["input"], about["seed"]) == ([0, 1, 2, 3], "logit", (16, 16), 7)
    assert about["options"] == {"reduction": "mean"} and len(about["model"]) == 64
    assert about["cost"] == {"forwards": 3, "backwards": 4}
    other = Subject(seeded(Deep, seed=5), "body", "fc")
    assert find("cam")  # a registry by name
    assert find("grad-cam")()(other, x, EVERY).about["model"] != about["model"]


@pytest.mark.parametrize("name", [n for n in names() if n not in ("occlusion", "smooth-grad")])
def test_no_rows_and_rows_of_one_call_equal_calls_of_one_image(name):
    subject, x = pooled(), images(3, 8)
    empty = find(name)()(subject, x, Classes("gt", torch.zeros(3, 4)))
    assert len(empty.maps) == len(empty.rows) == 0 and empty.maps.ndim >= 3
    labels = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1]])
    made = find(name)()(subject, x, Classes("gt", labels))
    alone = [find(name)()(subject, x[i : i + 1], Classes("gt", labels[i : i + 1])).maps for i in range(3)]
    torch.testing.assert_close(made.maps, torch.cat(alone), atol=1e-6, rtol=1e-4)


def test_label_policies():
    predictions = torch.tensor([[True, True, False, False]])
    labels = torch.tensor([[1, 0, 1, 0]])
    table = {"gt": [1, 0, 1, 0], "pred": [1, 1, 0, 0], "gt_and_pred": [1, 0, 0, 0], "gt_or_pred": [1, 1, 1, 0]}
    for policy, expected in table.items():
        assert chosen(policy, predictions, labels).int().tolist() == [expected]
    assert torch.equal(chosen("pred", predictions, None), predictions)
    with pytest.raises(WsssError, match="needs the image labels"):
        chosen("gt", predictions, None)
    with pytest.raises(WsssError, match="label policy 'truth': there are gt, pred"):
        chosen("truth", predictions, labels)
    with pytest.raises(WsssError, match="labels are a tensor .* this is list"):
        chosen("gt", torch.zeros(1, 4, dtype=torch.bool), [[3]])
    with pytest.raises(WsssError, match=r"labels are \(1, 3\), scores are \(1, 4\)"):
        chosen("gt", predictions, labels[:, :3])


def test_predicted_classes_are_those_above_one_half():
    subject, x = pooled(), images(6)
    made = find("cam")()(subject, x, Classes("pred"))
    found = torch.zeros(6, 4, dtype=torch.bool)
    found[made.image_idx, made.class_idx] = True
    assert torch.equal(found, made.output.sigmoid() > 0.5) and 0 < found.sum() < 24
    subject.single_label = True
    made = find("cam")()(subject, x, Classes("pred"))
    assert made.image_idx.tolist() == list(range(6)) and torch.equal(made.class_idx, made.output.argmax(1))


@pytest.mark.parametrize(
    "name", ["grad-cam", "hires-cam", "cam", "minmax-cam", "d-minmax-grad-cam", "gradient-x-input"]
)
def test_differentiable_maps_train_the_network(name):
    subject, x = Subject(seeded(Pooled, act=nn.Softplus()), "body", "fc"), images(2, 8)
    method = find(name)()
    weight = subject.network.body[0].weight

    def loss() -> torch.Tensor:
        return method(subject, x, EVERY, differentiable=True).maps.square().sum()

    value = loss()
    (slope,) = torch.autograd.grad(value, weight)
    index = slope.abs().flatten().argmax()
    with torch.no_grad():
        weight.view(-1)[index] += 1e-2
        above = loss().item()
        weight.view(-1)[index] -= 2e-2
        below = loss().item()
    assert (above - below) / 2e-2 == pytest.approx(slope.flatten()[index].item(), rel=0.05)
    plain = method(Subject(seeded(Pooled, act=nn.Softplus()), "body", "fc"), x, EVERY)
    assert value.item() == pytest.approx(plain.maps.square().sum().item(), rel=1e-4)
    assert method(subject, x, EVERY, differentiable=True).about["model"] is None


@pytest.mark.parametrize("name", ["gradient", "grad-cam", "minmax-grad-cam", "smooth-grad"])
def test_differentiable_maps_have_a_gradient_at_the_images(name):
    subject = Subject(seeded(Pooled, act=nn.Softplus()), "body", "fc")
    method = find(name)(n=2) if name == "smooth-grad" else find(name)()
    x = images(2, 8).requires_grad_()

    def loss(at: torch.Tensor, **options) -> torch.Tensor:
        return method(subject, at, EVERY, ids=["a", "b"], **options).maps.square().sum()

    (slope,) = torch.autograd.grad(loss(x, differentiable=True), x)
    step = torch.zeros_like(slope).view(-1)
    index = (slope - slope * (x.detach().abs() > 1)).abs().argmax()  # not the extremes, which set the noise
    step[index] = 1e-2
    with torch.no_grad():
        rise = (loss(x + step.view_as(x)) - loss(x - step.view_as(x))).item() / 2e-2
    assert rise == pytest.approx(slope.flatten()[index].item(), rel=0.05)


def test_perturbations_cannot_be_differentiated():
    with pytest.raises(WsssError, match="cannot be differentiated"):
        find("score-cam")()(pooled(), images(1), EVERY, differentiable=True)


def test_layers_that_work_in_place_or_twice_or_never():
    subject, x = deep(), images(2)
    copied = Subject(seeded(Deep), "body", "fc")
    copied.network.neck[0].inplace = False
    one, other = (find("grad-cam")()(s, x, EVERY).maps for s in (subject, copied))
    assert torch.equal(one, other)
    act = nn.ReLU()
    with pytest.raises(WsssError, match="body.2 runs more than once"):
        find("grad-cam")()(Subject(seeded(Pooled, act=act), "body.2"), x, EVERY)
    subject.network.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(WsssError, match="spare does not run"):
        find("grad-cam")()(Subject(subject.network, "spare"), x, EVERY)
    with pytest.raises(WsssError, match="no layer 'bodi'; did you mean body"):
        Subject(subject.network, "bodi")
    with pytest.raises(WsssError, match="do not depend on layer fc"):
        blind = Subject(subject.network, "fc", read=lambda scores: scores.detach(), grid=lambda t: t[..., None, None])
        find("grad-cam")()(blind, x, EVERY)


def test_a_new_name_is_refused_with_the_nearest():
    with pytest.raises(WsssError, match="explainer 'min-max-cam'.*minmax-cam"):
        find("min-max-cam")
    assert {"cam", "minmax-cam", "grad-cam-plus-plus"} <= set(names())


def test_ranks():
    assert ranks(torch.tensor([0, 0, 2, 2, 2, 5])).tolist() == [0, 1, 0, 1, 2, 0]


def test_networks_of_other_libraries_in_two_lines():
    torch.manual_seed(0)
    x = images(2, 64)
    resnet = Subject(torchvision.models.resnet18(), layer="layer4", head="fc")
    cam, grad = (find(name)()(resnet, x, Classes("pred", only=[3, 5])) for name in ("cam", "grad-cam"))
    torch.testing.assert_close(cam.maps / 4, grad.maps, atol=1e-6, rtol=1e-4)
    small = Subject(timm.create_model("test_resnet", num_classes=5), layer="layer4", head="fc")
    cam, grad = (find(name)()(small, x, Classes("pred", only=[3])) for name in ("cam", "grad-cam"))
    torch.testing.assert_close(cam.maps / cam.maps[0].numel(), grad.maps, atol=1e-6, rtol=1e-4)
    vit = timm.create_model("test_vit", num_classes=5)
    grid = (160 // 16, 160 // 16)
    tokens = Subject(vit, "blocks.4", grid=lambda t: t[:, 1:].transpose(1, 2).unflatten(2, grid))
    made = find("hires-cam")()(tokens, images(1, 160), Classes("pred", only=[0, 4]))
    assert made.maps.shape == (2, 10, 10) and made.maps.std((1, 2)).min() > 0
    # the class token reads patches in the last block for the last time: behind it they have no gradient
    late = Subject(vit, "blocks.5", grid=tokens.grid)
    assert not find("hires-cam")()(late, images(1, 160), Classes("pred", only=[0])).maps.any()
    with pytest.raises(WsssError, match="give Subject a 'grid'"):
        find("hires-cam")()(Subject(vit, "blocks.5"), images(1, 160), Classes("pred", only=[0]))


@pytest.mark.parametrize("backbone, stride", [("test_resnet", 8), ("test_vit", 16)])
def test_the_projects_classifier_gives_its_own_maps(backbone, stride):
    torch.manual_seed(0)
    network, x = Classifier(backbone, 3, stride), images(2, 64)
    made = find("cam")()(subject_of(network), x, Classes("pred", only=range(3)))
    torch.testing.assert_close(made.maps.view(2, 3, *made.maps.shape[1:]), network.eval()(x), atol=1e-5, rtol=1e-4)
    grad = find("grad-cam")(reduction="sum")(subject_of(network), x, Classes("pred", only=range(3)))
    torch.testing.assert_close(grad.maps, made.maps, atol=1e-5, rtol=1e-4)
    with pytest.raises(WsssError, match="Linear: name what to look at"):
        subject_of(nn.Linear(2, 2))


@pytest.mark.parametrize("name", [name for name in names() if name != "full-grad"])
def test_half_precision_gives_fp32_maps(name):
    subject, x = pooled(), images(2, 8).bfloat16()
    usual = find(name)()(subject, x.float(), EVERY, seed=3, ids=["a", "b"]).maps
    subject = pooled()
    subject.network.bfloat16()
    made = find(name)()(subject, x, EVERY, seed=3, ids=["a", "b"]).maps
    assert made.dtype == torch.float32 and made.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):  # the caller's autocast is none of ours
        exact = find(name)()(pooled(), x.float(), EVERY, seed=3, ids=["a", "b"]).maps
    torch.testing.assert_close(exact, usual)
    if name not in ("ablation-cam", "seg-ablation-cam"):  # scores near zero divide there
        assert (made - usual).abs().max() < 0.15 * usual.abs().max()


def test_the_hash_of_the_weights_is_made_when_it_is_asked_for(monkeypatch):
    subject = deep()
    asked = []
    made_of = type(subject).model_hash.func
    monkeypatch.setattr(type(subject), "model_hash", property(lambda self: (asked.append(1), made_of(self))[1]))
    about = find("grad-cam")()(subject, images(2), EVERY).about
    assert not asked and "model" not in about
    assert len(about["model"]) == 64 and about["model"] == about["model"] and len(asked) == 1 and "model" in about
    with pytest.raises(KeyError, match="colour"):
        about["colour"]


def test_rows_are_in_the_order_of_the_classes_that_are_asked_for():
    subject, x = deep(), images(2)
    made = find("grad-cam")()(subject, x, Classes("pred", only=[3, 0, 2, 3]))
    assert made.class_idx.tolist() == [3, 0, 2] * 2 and made.image_idx.tolist() == [0, 0, 0, 1, 1, 1]
    for row, c in enumerate(made.class_idx.tolist()):
        alone = find("grad-cam")()(subject, x, Classes("pred", only=[c])).maps[row // 3]
        torch.testing.assert_close(made.maps[row], alone)
    rows = Regions([2, 1], "image").rows(torch.zeros(2, 3, 4, 4))
    assert rows.class_idx.tolist() == [2, 1, 2, 1] and rows.masks.all()


def test_gradients_that_are_constant_around_an_image_say_so(caplog):
    x = images(1).requires_grad_()
    for act, warns in ((None, True), (nn.Softplus(), False)):
        caplog.clear()
        made = find("gradient")()(Subject(seeded(Pooled, act=act)), x, EVERY, differentiable=True)
        assert ("with respect to the images is zero" in caplog.text) == warns
        (second,) = torch.autograd.grad(made.maps.square().sum(), x)
        assert (second.abs().max() == 0) == warns
    caplog.clear()
    find("gradient")()(Subject(seeded(Pooled)), images(1), EVERY, differentiable=True)  # by the weights
    find("gradient")()(Subject(seeded(Pooled)), x, EVERY)
    assert not caplog.text
