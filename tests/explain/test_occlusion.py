"""Occlusion: what it gives, exactly, for every fill."""

from __future__ import annotations

import pytest
import torch

from tests.explain.nets import Affine, images, pooled, seeded
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find
from wsss.explain.fills import blurred, filled
from wsss.explain.forward_pass import ForwardPass

EVERY = Classes("pred", only=range(4))
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def maps(name, subject, target=EVERY, x=None, **options):
    return find(name)(**options)(subject, images(2) if x is None else x, target).maps


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
    forward = ForwardPass(subject, (raw.clamp(max=1) - mean) / std, THREE, ["a", "b"])
    made = filled(forward, 0, "noise") * std + mean
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
