"""Score-CAM, Ablation-CAM and occlusion: what they give, exactly, and that grouping changes nothing."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from tests.explain.nets import Affine, Deep, Pooled, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find, subject_of
from wsss.explain.fills import blurred, filled
from wsss.explain.head import Head
from wsss.explain.look import Look
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
        look = Look(subject, x, EVERY)
        with Head(look) as head:
            handle = stem.register_forward_hook(lambda *_: runs.append(1))
            made = find("ablation-cam")(chunk=3)._scores_without(look, head)
            forward_is_own = "forward" in vars(stem)
            handle.remove()
    torch.testing.assert_close(look.scores()[:, None] - made[:, :5], drops.permute(1, 2, 0).flatten(0, 1), **CLOSE)
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


# Occlusion


def affine(side: int = 8) -> Subject:
    return Subject(seeded(Affine, pixels=3 * side * side))


THREE = Classes("pred", only=range(3))


@pytest.mark.parametrize("fill", ["black", "white", "gray", "mean", "image_mean", "noise", "blur"])
def test_t_oc_1_windows_of_a_linear_model_add_up(fill):
    subject, x = affine(), images(2, 8)
    method = find("occlusion")(window=4, stride=4, fill=fill, score="logit")
    made = method(subject, x, THREE, ids=["a", "b"], seed=3)
    windows = made.maps[:, ::4, ::4]
    assert torch.equal(made.maps, windows.repeat_interleave(4, 1).repeat_interleave(4, 2))
    whole = find("occlusion")(window=8, stride=8, fill=fill, score="logit")(subject, x, THREE, ids=["a", "b"], seed=3)
    torch.testing.assert_close(windows.sum((1, 2)), whole.maps[:, 0, 0], **CLOSE)
    flat = {"black": 0.0, "white": 1.0, "gray": 0.5}
    if fill in flat or fill == "mean":
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (subject.mean, subject.std))
        image = torch.zeros(3, 8, 8) if fill == "mean" else ((flat[fill] - mean) / std).expand(3, 8, 8)
        gone = subject.network(torch.stack([image]))[0]
        torch.testing.assert_close(whole.maps[:3, 0, 0], subject.network(x)[0] - gone, **CLOSE)
    assert whole.maps.abs().max() > 0.01


def test_t_oc_2_a_fill_equal_to_the_image_gives_nothing():
    x = torch.zeros(2, 3, 8, 8)
    assert torch.equal(maps("occlusion", affine(), THREE, x, window=4, stride=2), torch.zeros(6, 8, 8))
    x = images(2, 1).expand(2, 3, 8, 8)
    assert maps("occlusion", affine(), THREE, x, window=4, stride=2, fill="window_mean").abs().max() < 1e-6
    assert maps("occlusion", affine(), THREE, x, window=4, stride=2, fill="mean").abs().max() > 0.01


def test_t_oc_3_overlapping_windows_are_averaged():
    subject, x = affine(), images(1, 8)
    made = maps("occlusion", subject, THREE, x, window=(4, 3), stride=(3, 2), score="logit")
    weight = subject.network.fc.weight.view(3, 3, 8, 8)
    cells = (weight * x).sum(1).detach()
    total, times = torch.zeros(3, 8, 8), torch.zeros(8, 8)
    for top in (0, 3, 6):
        for left in (0, 2, 4, 6):
            window = (slice(None), slice(top, top + 4), slice(left, left + 3))
            total[window] += cells[window].sum((1, 2), keepdim=True)
            times[window[1:]] += 1
    torch.testing.assert_close(made, total / times, **CLOSE)
    assert times.max() == 4


def test_occlusion_takes_probabilities_and_chunks_change_nothing():
    subject, x = pooled(), images(2, 8)
    method = find("occlusion")(window=4, stride=2)
    made = method(subject, x, EVERY)
    assert made.about["score"] == "probability" and made.about["cost"] == {"forwards": 2 + 2 * 9}
    network = subject.network.eval()
    covered = x[1:].clone()
    covered[..., :4, :4] = 0
    drop = (network(x)[1].sigmoid() - network(covered)[0].sigmoid()).detach()
    torch.testing.assert_close(made.of(1)[1][:, 0, 0], drop, **CLOSE)
    torch.testing.assert_close(maps("occlusion", subject, x=x, window=4, stride=2, chunk=2), made.maps, **CLOSE)
    with pytest.raises(WsssError, match="stride .5. must be at least 1 and at most the window .4."):
        find("occlusion")(window=4, stride=5)
    with pytest.raises(WsssError, match="fill 'pink': there are black, white"):
        maps("occlusion", subject, x=x, fill="pink")


def test_noise_belongs_to_the_image_and_not_to_the_batch():
    x = images(3, 8)
    method = find("occlusion")(window=4, stride=4, fill="noise")
    whole = method(affine(), x, THREE, ids=["a", "b", "c"], seed=1)
    alone = method(affine(), x[2:], THREE, ids=["c"], seed=1)
    torch.testing.assert_close(whole.of(2)[1], alone.maps, **CLOSE)
    assert not torch.allclose(alone.maps, method(affine(), x[2:], THREE, ids=["c"], seed=2).maps, atol=1e-3)
    assert not torch.allclose(alone.maps, method(affine(), x[2:], THREE, ids=["d"], seed=1).maps, atol=1e-3)
    unnamed = [method(affine(), x[some], THREE, seed=1).maps[-3:] for some in (slice(0, 3), slice(2, 3))]
    torch.testing.assert_close(*unnamed, **CLOSE)


def test_noise_has_the_colours_of_the_image_and_stays_a_picture():
    subject = affine(32)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (subject.mean, subject.std))
    raw = (
        torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.2, 1.0, 2.0])[:, None, None]
    )
    look = Look(subject, (raw.clamp(max=1) - mean) / std, THREE, ["a", "b"])
    made = filled(look, 0, "noise") * std + mean
    assert made.min() >= -1e-6 and made.max() <= 1 + 1e-6 and (made < 1e-6).any()
    torch.testing.assert_close(made.mean((1, 2)), raw[0].clamp(max=1).mean((1, 2)), atol=0.05, rtol=0)
    assert made[0].std() < 0.1 < made[1].std()


def test_blur_keeps_flat_images_and_the_mean():
    flat = torch.full((3, 20, 24), 0.7)
    torch.testing.assert_close(blurred(flat), flat)
    dot = torch.zeros(1, 31, 31)
    dot[0, 15, 15] = 1
    made = blurred(dot)
    assert made.sum() == pytest.approx(1, abs=1e-5) and (made > 0).sum() == 121
    assert (made[0, 15, 16] / made[0, 15, 15]).item() == pytest.approx(torch.tensor(-1 / 50).exp().item(), rel=1e-4)
