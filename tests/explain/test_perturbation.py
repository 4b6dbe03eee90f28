"""Score-CAM and Ablation-CAM: what they give, exactly, and that grouping changes nothing."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from tests.explain.nets import Deep, Pooled, images, pooled, seeded
from wsss.explain import Classes, Subject, find, subject_of
from wsss.explain.forward_pass import ForwardPass
from wsss.explain.head import Head
from wsss.explain.subject import undisturbed
from wsss.models.classifier import Classifier

EVERY = Classes("pred", only=range(4))
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def maps(name, subject, target=EVERY, x=None, **options):
    return find(name)(**options)(subject, images(2) if x is None else x, target).maps


def deep(**options) -> Subject:
    return Subject(seeded(Deep, **options), "body")


# Score-CAM


@pytest.mark.parametrize("weighting", ["prob", "softmax_over_channels", "increase"])
def test_t_sc_1_chunks_change_nothing(weighting):
    one, other = (maps("score-cam", deep(), chunk=chunk, weighting=weighting) for chunk in (1, 5))
    torch.testing.assert_close(one, other, **CLOSE)


def permuted(subject: Subject) -> Subject:
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    with torch.no_grad():
        network = subject.network
        network.body[3].weight.copy_(network.body[3].weight[order])
        network.body[3].bias.copy_(network.body[3].bias[order])
        network.neck[1].weight.copy_(network.neck[1].weight[:, order])
    return subject


def test_t_sc_2_order_of_channels():
    torch.testing.assert_close(maps("score-cam", permuted(deep())), maps("score-cam", deep()), **CLOSE)
    torch.testing.assert_close(
        maps("score-cam", permuted(deep()), x=images(1)).sum(), maps("score-cam", deep())[:4].sum()
    )


def test_t_sc_3_one_channel_gives_its_own_picture():
    subject = Subject(seeded(Pooled, width=1, act=nn.Softplus()), "body")
    made = find("score-cam")()(subject, images(2), EVERY)
    a = subject.network.eval().body(images(2))[made.image_idx, 0].detach()
    assert a.std() > 0
    factor = made.maps.flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)
    assert ((factor > 0) & (factor < 1)).all()
    torch.testing.assert_close(made.maps, factor[:, None, None] * a, **CLOSE)


def test_t_sc_4_constant_channels_change_nothing():
    for weighting in ("prob", "softmax_over_channels"):
        plain = maps("score-cam", deep(), weighting=weighting)
        subject = deep()
        conv, neck = subject.network.body[3], subject.network.neck[1]
        wider, mixing = nn.Conv2d(6, 7, 3, 1, 1), nn.Conv2d(7, 6, 3, 1, 1)
        with torch.no_grad():
            wider.weight[:6], wider.bias[:6], wider.weight[6:], wider.bias[6:] = conv.weight, conv.bias, 0, 2.0
            mixing.weight[:, :6], mixing.bias[:], mixing.weight[:, 6:] = neck.weight, neck.bias, 0
        subject.network.body[3], subject.network.neck[1] = wider, mixing
        torch.testing.assert_close(maps("score-cam", subject, weighting=weighting), plain, **CLOSE)


def test_t_sc_5_classes_together_equal_classes_alone():
    alone = torch.stack([maps("score-cam", deep(), Classes("pred", only=[c])) for c in range(4)], 1)
    torch.testing.assert_close(maps("score-cam", deep()), alone.flatten(0, 1), **CLOSE)


@pytest.mark.parametrize("where", ["layer", "input"])
def test_score_cam_by_hand(where):
    network, x = seeded(Deep).eval(), images(1)
    a = network.body(x).detach()[0]
    big = nn.functional.interpolate(a[None], size=(16, 16), mode="bilinear")[0]
    expected = 0
    for k in range(6):
        if big[k].max() > big[k].min():
            mask = (big[k] - big[k].min()) / (big[k].max() - big[k].min())
            expected = expected + network(x * mask)[0, 2].sigmoid().detach() * (a[k] if where == "layer" else big[k])
    made = find("score-cam")(maps=where)(deep(), x, Classes("pred", only=[2]))
    torch.testing.assert_close(made.maps[0], expected, **CLOSE)
    assert made.about["score"] == "probability"


def test_passes_of_score_cam_do_not_grow_with_classes_and_can_be_fewer():
    subject = deep()
    used = int((subject.network.eval().body(images(1))[0].flatten(1).std(1) > 0).sum())
    for only in ([0], [0, 1, 2, 3]):
        assert find("score-cam")()(subject, images(1), Classes("pred", only=only)).about["cost"] == {
            "forwards": used + 1
        }
    few = find("score-cam")(top_channels=2)(subject, images(1), EVERY)
    assert few.about["cost"] == {"forwards": 3} and few.maps.abs().max() > 0


def test_score_cam_of_flat_layers_is_zero():
    subject = deep()
    with torch.no_grad():
        subject.network.body[3].weight.zero_()
    assert torch.equal(maps("score-cam", subject), torch.zeros(8, 8, 8))


# Ablation-CAM


def test_t_ab_1_closed_form():
    subject = pooled()
    network = subject.network.eval()
    with torch.no_grad():
        a, scores = network.body(images(2)), network(images(2))
    made = find("ablation-cam")()(subject, images(2), EVERY)
    own, score = network.fc.weight[made.class_idx], scores[made.image_idx, made.class_idx]
    weights = own * a.mean((2, 3))[made.image_idx] / score[:, None]
    torch.testing.assert_close(weights.sum(1), (score - network.fc.bias[made.class_idx]) / score, **CLOSE)
    signed = torch.einsum("rk,rkhw->rhw", weights, a[made.image_idx])
    assert (score < 0).any()
    torch.testing.assert_close(made.maps, signed * score.sign()[:, None, None], **CLOSE)
    torch.testing.assert_close(maps("ablation-cam", subject, normaliser="score"), signed, **CLOSE)
    unscaled = maps("ablation-cam", subject, normaliser="none")
    torch.testing.assert_close(unscaled, signed * score[:, None, None], **CLOSE)
    for chunk in (1, 4, 32):
        ran = maps("ablation-cam", subject, closed_form=False, chunk=chunk)
        torch.testing.assert_close(ran, made.maps, **CLOSE)


NETWORKS = {
    "in place": lambda: (deep(), images(2)),
    "residual": lambda: (Subject(torchvision.models.resnet18(num_classes=4), "layer3.1.conv1"), images(2, 64)),
    "residual, input": lambda: (
        Subject(torchvision.models.resnet18(num_classes=4), "layer4.0", at="input"),
        images(2, 64),
    ),
    "two ways": lambda: (Subject(TwoWays(), "first"), images(2, 8)),
    "the project's": lambda: (subject_of(Classifier("test_resnet", 4, 16), "backbone.layer3"), images(2, 64)),
}


class TwoWays(nn.Module):
    """A module that runs before the layer, inside another one and after the layer; one that gives several tensors; one
    whose output is changed in place and used again behind the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.first, self.last = (
            nn.Conv2d(3, 3, 1),
            nn.ReLU(),
            nn.Conv2d(3, 5, 1),
            nn.Conv2d(5, 3, 1),
        )
        self.split = Halves(self.act)

    def forward(self, x):
        x = self.act(self.stem(x))
        one, other = self.split(x)
        x += 1
        y = self.act(self.last(self.act(self.first(x)))) * x + one - other
        return torch.cat([y, y[:, :1] * 2], 1).mean((2, 3))


class Halves(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x / 2 - 0.1), x / 3


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_head_runs_and_gives_what_the_network_gives(name):
    torch.manual_seed(0)
    subject, x = NETWORKS[name]()
    network, layer = subject.network.eval(), subject.module
    channel, silent = 0, []

    def without(_, *values):
        (value,) = values[-1] if subject.at == "input" else values[-1:]
        value = value.clone()
        value[:, channel] = 0
        silent.append(1)
        return (value,) if subject.at == "input" else value

    with torch.no_grad():
        base = network(x)
        handle = (
            layer.register_forward_pre_hook(without) if subject.at == "input" else layer.register_forward_hook(without)
        )
        values = []
        for channel in range(5):  # noqa: B007 - the hook reads it
            values.append(subject.read(network(x)))
        handle.remove()
    base, values = subject.read(base), [subject.read(v) if v.ndim == 4 else v for v in values]
    drops = base - torch.stack(values)  # (5, B, 4)

    runs = []
    stem = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    with undisturbed(subject):
        forward = ForwardPass(subject, x, EVERY)
        with Head(forward) as head:
            handle = stem.register_forward_hook(lambda *_: runs.append(1))
            made = find("ablation-cam")(chunk=3)._scores_without(forward, head)
            forward_is_own = "forward" in vars(stem)
            handle.remove()
    torch.testing.assert_close(forward.scores()[:, None] - made[:, :5], drops.permute(1, 2, 0).flatten(0, 1), **CLOSE)
    assert drops.abs().max() > 1e-3 and "forward" not in vars(stem)
    assert forward_is_own or not runs  # remembered itself, or inside a remembered module


def test_t_ab_2_bit_identical_network_also_after_an_error():
    subject = deep()
    network = subject.network
    before = {k: v.clone() for k, v in network.state_dict().items()}
    score = network.eval()(images(2))
    network.train()
    maps("ablation-cam", subject)

    class Refusing(Classes):
        asked = 0

        def score(self, *args):
            type(self).asked += 1
            if self.asked > 2:
                raise RuntimeError("no")
            return super().score(*args)

    with pytest.raises(RuntimeError, match="no"):
        maps("ablation-cam", subject, Refusing("pred", only=[0]))
    assert Refusing.asked == 3 and network.training and all("forward" not in vars(m) for m in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert torch.equal(network.eval()(images(2)), score)


def test_channels_that_are_zero_cost_nothing():
    subject = deep()
    with torch.no_grad():
        subject.network.body[3].weight[:3], subject.network.body[3].bias[:3] = 0, -1
    made = find("ablation-cam")()(subject, images(2), EVERY)
    assert made.about["cost"] == {"forwards": 2, "head_forwards": 6}


def test_nothing_to_ablate():
    """A network that is silent at the layer has maps of zeros, and no error."""
    network = seeded(Pooled, act=nn.ReLU())
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.fill_(-1)
    silent = maps("ablation-cam", Subject(network, "body"), closed_form=False)
    assert silent.abs().sum() == 0
