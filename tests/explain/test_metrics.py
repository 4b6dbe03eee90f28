"""Metrics of maps in probabilities, against a slow twin written image by image."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.explain.nets import images, pooled
from wsss.errors import WsssError
from wsss.explain import Classes, Subject, find
from wsss.explain.base import Explainer
from wsss.explain.fills import blurred
from wsss.explain.metrics import ExplainedBatch, Metrics, confidence, f_score, measure
from wsss.explain.metrics.confidence import improbable

NAMES = ("ic", "ad", "ar", "ado", "aro")


def random_rows(rows: int = 40, classes: int = 5, seed: int = 0):
    drawn = torch.Generator().manual_seed(seed)
    before, kept, removed = torch.rand(3, rows, classes, generator=drawn)
    present = before > 0.5
    class_idx = before.argmax(1)
    return before, kept, removed, class_idx, present


def twin(p, kept, removed, c, present) -> dict[str, float]:
    """The definitions, a detection at a time, with one-label images as the authors count them."""
    others = [d for d in range(len(p)) if present[d] and d != c]
    return {
        "ic": 1.0 if p[c] < kept[c] else 0.0,
        "ad": max(0.0, p[c] - kept[c]) / p[c],
        "ar": max(0.0, p[c] - removed[c]) / p[c],
        "ado": sum(max(0.0, p[d] - kept[d]) / p[d] for d in others) / max(1, len(others)),
        "aro": sum(max(0.0, p[d] - removed[d]) / p[d] for d in others) / max(1, len(others)),
    }


def test_by_hand():
    before = torch.tensor([[0.8, 0.6, 0.9, 0.1]])
    kept = torch.tensor([[0.4, 0.3, 0.9, 0.0]])
    removed = torch.tensor([[0.2, 0.7, 0.45, 0.0]])
    made = confidence(before, kept, removed, torch.tensor([0]), before > 0.5)
    found = {name: value.item() for name, value in made.items()}
    assert found == pytest.approx({"ic": 0, "ad": 0.5, "ar": 0.75, "ado": 0.25, "aro": 0.25})
    absent = confidence(before, kept, removed, torch.tensor([3]), before > 0.5)  # three others, none of them itself
    assert absent["ado"].item() == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_equals_the_slow_twin():
    before, kept, removed, class_idx, present = random_rows()
    made = confidence(before, kept, removed, class_idx, present)
    several = present.sum(1) > 1
    assert several.any() and (~several).any() and made["ic"].mean() not in (0, 1)
    for row, c in enumerate(class_idx.tolist()):
        expected = twin(*(each[row].tolist() for each in (before, kept, removed)), c, present[row].tolist())
        for name in NAMES:
            if name in ("ado", "aro") and not several[row]:
                assert made[name][row].isnan()
            else:
                assert made[name][row].item() == pytest.approx(expected[name], abs=1e-6)


def test_improbable_labels_are_divided_by_the_least():
    before = torch.tensor([[1e-9, 0.5], [0.5, 1e-9], [0.5, 1e-9]])
    kept, class_idx = torch.zeros(3, 2), torch.tensor([0, 0, 0])
    present = torch.tensor([[True, False], [True, False], [True, True]])
    made = confidence(before, kept, kept, class_idx, present)
    assert made["ad"].tolist() == pytest.approx([1e-3, 1, 1]) and made["ado"][2].item() == pytest.approx(1e-3)
    assert improbable(before, class_idx, present).tolist() == [True, False, True]


@pytest.mark.parametrize("beta", [0.5, 1, 2])
def test_f_score(beta):
    a, d = torch.tensor([40.0, 10.0, 0.0, 30.0]), torch.tensor([20.0, 10.0, 0.0, 0.0])
    harmonic = (1 + beta**2) / (1 / 40.0 + beta**2 / 20.0) if beta == 1 else None
    made = f_score(a, d, beta)
    assert made.tolist() == pytest.approx([(1 + beta**2) * 800 / (beta**2 * 20 + 40), 10.0, 0.0, 0.0])
    assert harmonic is None or made[0].item() == pytest.approx(harmonic)
    assert f_score(torch.tensor(math.nan), torch.tensor(1.0)).isnan()


# Over a network


class Given(Explainer):
    """Maps that are given for rows in order."""

    def __init__(self, maps: torch.Tensor) -> None:
        self.maps = maps

    def explain(self, forward):
        forward.plain()
        return (
            self.maps[forward.rows.image_idx]
            if len(self.maps) == len(forward.images)
            else self.maps[: len(forward.rows)]
        )


def several() -> tuple[Subject, torch.Tensor]:
    """A network and images of which some have several classes, some one, and some none."""
    subject, x = pooled(), images(12)
    network = subject.network.eval()
    with torch.no_grad():
        network.fc.bias.zero_()
        network.fc.weight *= 2 / network(x).std(0)[:, None]
        network.fc.bias -= network(x).quantile(0.75, 0)
        counts = (network(x) > 0).sum(1)
    assert set(counts.tolist()) >= {0, 1, 2}, counts
    return subject, x


def rows_of(subject, x, **options):
    found = []
    batch = options.pop("batch", len(x))
    method = options.pop("method", find("cam")())
    batches = [ExplainedBatch(x[i : i + batch], [str(n) for n in range(i, min(i + batch, len(x)))])
               for i in range(0, len(x), batch)]  # fmt: skip
    return measure(method, subject, batches, 4, Metrics(**options), found.extend), found


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_measured_equals_the_slow_twin(fill):
    subject, x = several()
    _, found = rows_of(subject, x, fill=fill)
    network = subject.network.eval()
    expected = 0
    for i, image in enumerate(x):
        with torch.no_grad():
            p = network(image[None])[0].sigmoid()
            features = network.body(image[None])[0]
        for c in (p > 0.5).nonzero()[:, 0].tolist():
            raw = torch.einsum("k,khw->hw", network.fc.weight[c], features).detach().relu()
            small = (raw - raw.min()) / (raw.max() - raw.min())
            m = F.interpolate(small[None, None], (16, 16), mode="bilinear", align_corners=False)[0]
            other = blurred(image) if fill == "blur" else torch.zeros_like(image)
            with torch.no_grad():
                kept, removed = network(
                    torch.stack([image * m + other * (1 - m), image * (1 - m) + other * m])
                ).sigmoid()
            truth = twin(p.tolist(), kept.tolist(), removed.tolist(), c, (p > 0.5).tolist())
            row = found[expected]
            assert (row["image"], row["class"]) == (str(i), c)
            assert [row[n] for n in ("p", "kept", "removed")] == pytest.approx(
                [p[c].item(), kept[c].item(), removed[c].item()], abs=1e-5
            )
            assert row["several"] == ((p > 0.5).sum() > 1)
            for name in NAMES:
                if name in ("ado", "aro") and not row["several"]:
                    assert row[name] is None
                else:
                    assert row[name] == pytest.approx(truth[name], abs=1e-4)
            expected += 1
    assert expected == len(found) > 5


def test_t_m_1_what_a_map_drops_its_complement_retains():
    before, kept, removed, class_idx, present = random_rows()
    one, other = (
        confidence(before, kept, removed, class_idx, present),
        confidence(before, removed, kept, class_idx, present),
    )
    torch.testing.assert_close(one["ad"], other["ar"], rtol=0, atol=0)
    torch.testing.assert_close(one["ado"], other["aro"], rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(one["ad"], one["ar"])
    # and through the network: maps that have a 0 and a 1 are not changed by relu_minmax
    subject, x = several()
    m = torch.rand(12, 16, 16, generator=torch.Generator().manual_seed(3))
    m = (m - m.amin((1, 2), keepdim=True)) / (m.amax((1, 2), keepdim=True) - m.amin((1, 2), keepdim=True))
    _, ones = rows_of(subject, x, method=Given(m))
    _, rests = rows_of(subject, x, method=Given(1 - m))
    for one, rest in zip(ones, rests, strict=True):
        assert one["ad"] == pytest.approx(rest["ar"], abs=1e-4)
        assert one["several"] is (one["ado"] is not None)
        if one["several"]:
            assert one["ado"] == pytest.approx(rest["aro"], abs=1e-4)


def test_t_m_2_a_map_of_ones_drops_nothing():
    before, _, removed, class_idx, present = random_rows()
    made = confidence(before, before, removed, class_idx, present)
    assert not made["ad"].any() and not made["ic"].any() and not made["ado"].nan_to_num().any()
    assert made["ar"].any() and made["aro"].nan_to_num().any()


def test_t_m_3_a_map_of_zeros_retains_nothing():
    before, kept, _, class_idx, present = random_rows()
    made = confidence(before, kept, before, class_idx, present)
    assert not made["ar"].any() and not made["aro"].nan_to_num().any() and made["ad"].any()
    subject, x = several()
    tally, found = rows_of(subject, x, method=Given(torch.zeros(12, 4, 4)))
    assert all(row["ar"] == pytest.approx(0, abs=1e-5) and (row["aro"] or 0) < 1e-5 for row in found)
    with torch.no_grad():
        nothing = subject.network.eval()(torch.zeros(1, 3, 16, 16))[0].sigmoid()
    assert [row["kept"] for row in found] == pytest.approx([nothing[row["class"]].item() for row in found], abs=1e-5)
    assert tally.summary()["zero_map_rate"] == 1 and tally.summary()["nan_rate"] == 0


def test_t_m_4_an_increase_is_no_drop():
    before, kept, removed, class_idx, present = random_rows(400)
    made = confidence(before, kept, removed, class_idx, present)
    risen = made["ic"] == 1
    assert risen.any() and not made["ad"][risen].any() and (made["ad"][~risen] >= 0).all()


def test_t_m_5_single_label_images_under_both_policies():
    subject, x = several()
    with torch.no_grad():
        single = (subject.network.eval()(x) > 0).sum(1) == 1
    tally, found = rows_of(subject, x[single])
    assert len(found) == single.sum() > 0 and all(row["ado"] is None and row["aro"] is None for row in found)
    reference, only = tally.summary("reference"), tally.summary("multi_only")
    assert reference["several_share"] == 0
    for name in ("ado", "aro", "f1+", "f1-"):
        assert reference["weighted"][name] == reference["macro"][name] == 0
        assert only["weighted"][name] is only["macro"][name] is None
    assert reference["weighted"]["ad"] == only["weighted"]["ad"] > 0
    with pytest.raises(WsssError, match="others 'single'"):
        tally.summary("single")


def test_t_m_6_batches_of_any_size():
    subject, x = several()
    options = {"curves": True, "steps": 3, "curve_fills": ("noise",), "fill": "noise"}
    whole, rows = rows_of(subject, x, **options)
    for batch, chunk in ((1, 1), (5, 3)):
        tally, found = rows_of(subject, x, batch=batch, chunk=chunk, **options)
        assert len(found) == len(rows) and tally.images == 12 and len(whole.curves) == 4
        for one, other in zip(found, rows, strict=True):
            assert one == {k: v if isinstance(v, str) or v is None else pytest.approx(v, abs=1e-5)
                           for k, v in other.items()}  # fmt: skip
        for part in ("macro", "weighted"):
            assert tally.summary()[part] == pytest.approx(whole.summary()[part], abs=1e-3)
        for name, curve in whole.mean_curves().items():
            assert tally.mean_curves()[name] == pytest.approx(curve, abs=1e-5)


def test_broken_maps_are_zero_maps_that_are_counted():
    subject, x = several()
    maps = torch.rand(12, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[3, 0, 0] = torch.nan
    maps[7, 1, 1] = torch.inf
    tally, found = rows_of(subject, x, method=Given(maps))
    bad = [row for row in found if row["nan_map"]]
    assert {row["image"] for row in bad} <= {"3", "7"} and bad and not any(row["zero_map"] for row in found)
    assert tally.summary()["nan_rate"] == pytest.approx(len(bad) / len(found))
    zeros = {(r["image"], r["class"]): r for r in rows_of(subject, x, method=Given(torch.zeros(12, 4, 4)))[1]}
    for row in bad:
        assert row["kept"] == pytest.approx(zeros[row["image"], row["class"]]["kept"], abs=1e-6)


def test_maps_without_a_zero_lose_their_least_value():
    subject, x = several()
    maps = 0.5 + torch.rand(12, 4, 4, generator=torch.Generator().manual_seed(0))
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    one, other = (rows_of(subject, x, method=Given(m))[1] for m in (maps, (maps - low) / (high - low)))
    assert [row["kept"] for row in one] == pytest.approx([row["kept"] for row in other], abs=1e-5)
    raised = rows_of(subject, x, method=Given(maps / high))[1]
    assert [row["kept"] for row in raised] == pytest.approx([row["kept"] for row in one], abs=1e-5)
    with torch.no_grad():  # and not the map over its maximum
        big = F.interpolate((maps / high)[:, None], (16, 16), mode="bilinear", align_corners=False)
        plain = subject.network.eval()(x * big).sigmoid()
    assert [row["kept"] for row in one] != pytest.approx(
        [plain[int(r["image"]), r["class"]].item() for r in one], abs=0.01
    )


def test_labels_choose_the_rows():
    subject, x = several()
    labels = torch.zeros(12, 4)
    labels[:, 2] = 1
    found = []
    measure(find("gradient")(), subject, [ExplainedBatch(x, labels=labels)], 4, Metrics("gt"), found.extend)
    assert [(row["image"], row["class"]) for row in found] == [(i, 2) for i in range(12)]
    with pytest.raises(WsssError, match="needs the image labels"):
        measure(find("cam")(), subject, [ExplainedBatch(x)], 4, Metrics("gt"))
    with pytest.raises(WsssError, match="3 labels for 12 images"):
        ExplainedBatch(x, labels=labels[:3])
    with pytest.raises(WsssError, match="network has 4 classes, tables were asked for 5"):
        measure(find("cam")(), subject, [ExplainedBatch(x)], 5)
    with pytest.raises(WsssError, match="another fill than window_mean"):
        Metrics(fill="window_mean")


def test_the_network_is_left_as_it_was():
    subject, x = several()
    subject.network.train()
    state = {name: value.clone() for name, value in subject.network.state_dict().items()}
    measure(find("grad-cam")(), subject, [ExplainedBatch(x)], 4, Metrics(curves=True, steps=2))
    assert subject.network.training and all(p.grad is None for p in subject.network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in subject.network.state_dict().items())
    assert Classes("pred").about()["policy"] == Metrics().policy
