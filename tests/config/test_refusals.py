"""Every refusal says where, what was given, what is allowed, and the nearest valid name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsss.config.loader import load
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError

GOOD = """
dataset: scenes
datasets:
  scenes: {kind: scenes}
  photos: {kind: folder, images: photos, labels: tags.csv}
classifiers:
  vanilla: {objective: vanilla}
  p-noc: {objective: p-noc, ordinary: vanilla}
cams:
  p-noc: {classifier: p-noc}
masks:
  p-noc: {cams: p-noc}
segmenters:
  p-noc: {masks: p-noc}
"""


def changed(text: str) -> dict[str, Any]:
    """The good configuration with the blocks of ``text`` put over it."""
    raw = yaml.safe_load(GOOD)
    for key, value in (yaml.safe_load(text) or {}).items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) and isinstance(raw.get(key), dict) else value
    return raw


def test_good_is_read() -> None:
    config = load(changed(""))
    assert config.dataset == ("scenes",)
    assert config.seeds == (0,)
    assert config.results == "results"
    assert config.recipes["masks"]["p-noc"].crf.iterations == 10
    assert config.refs("classifiers", "p-noc") == {"ordinary": ("classifiers", "vanilla")}


@pytest.mark.parametrize("rate", ["1e-4", "1.0e-4", "0.0001", "'1e-4'"])
def test_rates_as_users_type_them(rate: str) -> None:
    config = load(changed(f"classifiers: {{vanilla: {{objective: vanilla, lr: {rate}}}}}"))
    assert config.recipes["classifiers"]["vanilla"].lr == 1e-4


REFUSALS = {
    "unknown block": ("clasifiers: {}", ["clasifiers: unknown key; did you mean 'classifiers'?", "segmenters"]),
    "unknown setting": (
        "classifiers: {vanilla: {objective: vanilla, epocs: 3}}",
        ["classifiers.vanilla.epocs: unknown key; did you mean 'epochs'?", "batch_size"],
    ),
    "setting of another objective": (
        "classifiers: {vanilla: {objective: vanilla, tiles: 2}}",
        ["classifiers.vanilla.tiles: unknown key"],
    ),
    "unknown key in a block": (
        "masks: {p-noc: {cams: p-noc, threshold: {polcy: fixed}}}",
        ["masks.p-noc.threshold.polcy: unknown key; did you mean 'policy'?"],
    ),
    "unknown objective": (
        "classifiers: {vanilla: {objective: vanila}}",
        ["classifiers.vanilla.objective: unknown objective \"vanila\"; did you mean 'vanilla'?", "p-noc"],
    ),
    "no objective": (
        "classifiers: {vanilla: }",
        ["classifiers.vanilla.objective: missing; allowed: vanilla, puzzle, p-oc, p-noc, oc-cse"],
    ),
    "unknown kind of dataset": (
        "datasets: {scenes: {kind: secnes}}",
        ["datasets.scenes.kind: unknown kind \"secnes\"; did you mean 'scenes'?", "folder, voc, coco"],
    ),
    "unknown recipe": (
        "cams: {p-noc: {classifier: pnoc}}",
        ["cams.p-noc.classifier: no recipe 'pnoc' in 'classifiers'; did you mean 'p-noc'? (there: vanilla, p-noc)"],
    ),
    "unknown recipe behind null": (
        "classifiers: {vanilla: {objective: vanilla, warm_start: nobody}}",
        ["classifiers.vanilla.warm_start: no recipe 'nobody' in 'classifiers' (there: vanilla, p-noc)"],
    ),
    "missing reference": ("masks: {p-noc: {}}", ["masks.p-noc.cams: missing; give the name of a recipe in 'cams'"]),
    "circle": (
        "classifiers: {vanilla: {objective: vanilla, warm_start: p-noc}}",
        ["circle: classifiers.vanilla.warm_start -> classifiers.p-noc.ordinary -> classifiers.vanilla"],
    ),
    "circle of one": (
        "classifiers: {vanilla: {objective: vanilla, warm_start: vanilla}}",
        ["circle: classifiers.vanilla.warm_start -> classifiers.vanilla"],
    ),
    "text for a number": (
        "classifiers: {vanilla: {objective: vanilla, lr: abc}}",
        ["classifiers.vanilla.lr: 'abc' is not a number; write it like 0.001 or 1.0e-3"],
    ),
    "number in quotes": (
        "classifiers: {vanilla: {objective: vanilla, epochs: '3'}}",
        ['classifiers.vanilla.epochs: expected a whole number of at least 1, got "3"'],
    ),
    "fraction for a count": (
        "classifiers: {vanilla: {objective: vanilla, epochs: 2.5}}",
        ["classifiers.vanilla.epochs: expected a whole number of at least 1, got 2.5"],
    ),
    "number for yes or no": (
        "cams: {p-noc: {classifier: p-noc, flip: 1}}",
        ["cams.p-noc.flip: expected true or false, got 1"],
    ),
    "out of range": (
        "masks: {p-noc: {cams: p-noc, threshold: {value: 1.5}}}",
        ["masks.p-noc.threshold.value: expected a number of at least 0 and at most 1, got 1.5"],
    ),
    "infinite": (
        "classifiers: {vanilla: {objective: vanilla, lr: .inf}}",
        ["classifiers.vanilla.lr: inf is not a finite number"],
    ),
    "date": ("datasets: {photos: {kind: folder, images: 2024-01-01, labels: a}}", ["datasets.photos.images", "quotes"]),
    "unknown value": (
        "classifiers: {vanilla: {objective: vanilla, precision: bf}}",
        ["classifiers.vanilla.precision: expected one of auto, fp32, bf16, fp16, got \"bf\"; did you mean 'bf16'?"],
    ),
    "neither a number nor the word for one": (
        "saliency: {c2am: {objective: c2am, refine: {threshold: otso}}}",
        [
            'saliency.c2am.refine.threshold: expected otsu or a number of at least 0 and at most 1, got "otso"; '
            "did you mean 'otsu'?"
        ],
    ),
    "a threshold of each class where each map has one": (
        "masks: {p-noc: {cams: p-noc, threshold: {policy: otsu, per_class: true}}}",
        ["masks.p-noc.threshold: policy otsu has a threshold for every map already; leave per_class out"],
    ),
    "unknown value in a list": (
        "classifiers: {vanilla: {objective: vanilla, augment: [randaugmnt]}}",
        ["classifiers.vanilla.augment[0]: expected one of colour-jitter, randaugment", "did you mean 'randaugment'?"],
    ),
    "list too short": (
        "classifiers: {vanilla: {objective: vanilla, long_side: [320]}}",
        ["classifiers.vanilla.long_side[1]: missing; give a whole number of at least 1"],
    ),
    "list too long": (
        "classifiers: {vanilla: {objective: vanilla, long_side: [320, 640, 800]}}",
        ["classifiers.vanilla.long_side"],
    ),
    "list the wrong way round": (
        "classifiers: {vanilla: {objective: vanilla, long_side: [640, 320]}}",
        ["classifiers.vanilla: long_side: the first value (640) must not exceed the second (320)"],
    ),
    "crop that does not fit": (
        "classifiers: {vanilla: {objective: vanilla, crop: 100}}",
        ["classifiers.vanilla: crop (100) must be a multiple of output_stride (16)"],
    ),
    "unknown CRF preset": (
        "masks: {p-noc: {cams: p-noc, crf: deeplabb}}",
        ["masks.p-noc.crf: unknown CRF preset 'deeplabb'", "labels, labels-1, deeplab, psa"],
    ),
    "CRF switched off the wrong way": (
        "masks: {p-noc: {cams: p-noc, crf: off}}",
        ["masks.p-noc.crf: expected", "got false; write null to switch it off"],
    ),
    "list for a block": ("masks: [p-noc]", ["masks: expected a block of keys"]),
    "text for a recipe": ("masks: {p-noc: fine}", ['masks.p-noc: expected a block of settings, got "fine"']),
    "name with a slash": ("cams: {a/b: {classifier: p-noc}}", ['cams.a/b: "a/b" is not a valid name']),
    "name that is a number": ("cams: {2012: {classifier: p-noc}}", ["cams.2012", "put it in quotes"]),
    "unknown dataset": ("dataset: scene", ["dataset: no recipe \"scene\" in 'datasets'; did you mean 'scenes'?"]),
    "no dataset": ("dataset: []", ["dataset: give the name of a dataset", "scenes, photos"]),
    "seeds": ("seeds: 3", ["seeds: expected a list of different whole numbers", "got 3"]),
    "seeds that repeat": ("seeds: [1, 1]", ["seeds: expected a list of different"]),
    "results": ("results: 'a/{b}'", ["results: expected the path of a folder"]),
    "gpus": ("workstation: {gpus: -1}", ["workstation.gpus: expected a whole number of at least 0, got -1"]),
    "evaluation": ("evaluation: {treshold: 0.2}", ["evaluation.treshold: unknown key; did you mean 'threshold'?"]),
    "defaults of an unknown kind": (
        "defaults: {cam: {}}",
        ["defaults.cam: unknown kind of recipe; did you mean 'cams'?"],
    ),
    "unknown default": (
        "defaults: {classifiers: {epocs: 1}}",
        ["defaults.classifiers.epocs: unknown key; did you mean 'epochs'?"],
    ),
    "wrong default": (
        "defaults: {classifiers: {epochs: 0}}",
        ["defaults.classifiers.epochs: expected a whole number of at least 1, got 0"],
    ),
    "pseudo-labels from nowhere": ("segmenters: {p-noc: {}}", ["segmenters.p-noc: name the pseudo-labels"]),
    "both supervisions": (
        "segmenters: {p-noc: {masks: p-noc, supervision: masks}}",
        ["segmenters.p-noc: 'supervision: masks' learns from the ground-truth masks; leave 'masks' out"],
    ),
    "masks of images without maps": (
        "cams: {p-noc: {classifier: p-noc, splits: val}}",
        [
            "masks.p-noc.splits: cams.p-noc holds images of val only; add train to cams.p-noc.splits, or leave it "
            "out here"
        ],
    ),
    "training on masks of the validation images": (
        "masks: {p-noc: {cams: p-noc, splits: val}}",
        ["segmenters.p-noc.masks: masks.p-noc holds images of val only; add train to masks.p-noc.splits"],
    ),
    "threshold chosen where there are no maps": (
        "{cams: {p-noc: {classifier: p-noc, splits: val}}, "
        "masks: {p-noc: {cams: p-noc, splits: val, threshold: {policy: calibrated}}}, segmenters: null}",
        ["masks.p-noc.threshold.policy: 'calibrated' looks at maps of training images"],
    ),
    "threshold chosen without ground-truth masks": (
        "{dataset: photos, masks: {p-noc: {cams: p-noc, threshold: {policy: oracle}}}}",
        ["masks.p-noc.threshold.policy: 'oracle' needs ground-truth masks, but datasets.photos has none"],
    ),
    "choice by masks where there are none": (
        "{dataset: photos, masks: {a: {cams: p-noc}, b: {source: choice, members: [a, p-noc], by: masks}}}",
        ["masks.b.by: 'masks' needs ground-truth masks, but datasets.photos has none", "or use 'agreement'"],
    ),
    "choice on masks of the validation images": (
        "masks: {a: {cams: p-noc, splits: val}, c: {source: choice, members: [a, p-noc], by: masks, splits: val}}",
        ["masks.c.splits: masks.a holds images of val only; add train to masks.a.splits"],
    ),
    "choice by agreement of two": (
        "masks: {a: {cams: p-noc}, b: {source: choice, members: [a, p-noc]}}",
        ["masks.b: two members agree with each other alike", "name a third member, or set by to masks"],
    ),
    "choice of one thing twice": (
        "masks: {a: {cams: p-noc}, b: {source: choice, members: [a, p-noc, a]}}",
        ["masks.b: members names 'a' twice"],
    ),
    "upper bound without ground-truth masks": (
        "{dataset: [scenes, photos], segmenters: {best: {supervision: masks}}}",
        ["segmenters.best.supervision: 'masks' needs ground-truth masks, but datasets.photos has none"],
    ),
    "regions of masks where there are none": (
        "{dataset: [scenes, photos], classifiers: {v: {objective: vanilla}, g: {objective: guided, gt_masks: 0}}, "
        "segmenters: {g: {supervision: classifier, classifier: g}, v: {supervision: classifier, classifier: v}}, "
        "explanations: {e: {segmenter: g, region: given}}}",
        [
            "explanations.e.region: 'given' needs ground-truth masks, but datasets.photos has none; set "
            "datasets.photos.masks, or take another region",
            "segmenters.v.classifier: only heatmaps of the objective guided are trained as segmentation, and "
            "classifiers.v is 'vanilla'; name a guided classifier",
        ],
    ),
    "few masks where there are none": (
        "{dataset: [scenes, photos], classifiers: {few: {objective: guided, gt_masks: 5}, no: {objective: guided, "
        "gt_masks: 0}}}",
        [
            "classifiers.few.gt_masks: 5 needs ground-truth masks, but datasets.photos has none; set "
            "datasets.photos.masks, or set it to 0"
        ],
    ),
    "few of the pseudo-labels": (
        "segmenters: {p-noc: {masks: p-noc, gt_masks: 20}}",
        ["segmenters.p-noc: 'gt_masks' has no effect on pseudo-labels; set 'supervision: masks', or leave it out"],
    ),
    "a teacher of true masks": (
        "segmenters: {p-noc: {supervision: masks, soft_weight: 0.5}}",
        ["segmenters.p-noc: 'soft_weight' learns from networks' probabilities", "'supervision: masks' has none"],
    ),
    "soft targets of masks of CAMs": (
        "segmenters: {p-noc: {masks: p-noc, soft_weight: 0.5}}",
        ["segmenters.p-noc.soft_weight: 0.5 learns from probabilities, and masks.p-noc keeps none; name masks of"],
    ),
    "a step after all classes": (
        "segmenters: {all: {supervision: masks}, s: {objective: continual, supervision: masks, classes: [a], "
        "warm_start: all}}",
        ["segmenters.s.warm_start: segmenters.all learns all classes at once, so there is none left to learn"],
    ),
    "a class learnt twice": (
        "segmenters: {s: {objective: continual, supervision: masks, classes: [a, b]}, t: {objective: continual, "
        "supervision: masks, classes: [c], warm_start: s}, u: {objective: continual, supervision: masks, "
        "classes: [b, d], warm_start: t}}",
        ["segmenters.u.classes: b was learnt in a step before; name new classes"],
    ),
    "steps that go on from each other": (
        "segmenters: {s: {objective: continual, supervision: masks, classes: [a], warm_start: t}, t: {objective: "
        "continual, supervision: masks, classes: [b], warm_start: s}}",
        ["circle: segmenters.s.warm_start -> segmenters.t.warm_start -> segmenters.s"],
    ),
    "heatmaps that batch normalisation mixes": (
        "classifiers: {g: {objective: guided, guidance_layer: input}}",
        ["classifiers.g: guidance_layer ('input') has batch normalisation after it", "set batch_norm: fixed, or"],
    ),
    "heatmaps of a compiled network": (
        "classifiers: {g: {objective: guided, guidance_layer: input, batch_norm: fixed, compile: true}}",
        ["classifiers.g: guidance_layer ('input') needs second derivatives", "leave compile out"],
    ),
    "masks that RandAugment would leave behind": (
        "classifiers: {g: {objective: guided, augment: randaugment}}",
        ["classifiers.g.augment"],
    ),
    "half a split": (
        "datasets: {photos: {kind: folder, images: a, labels: b, train: c}}",
        ["datasets.photos: give both lists"],
    ),
    "missing path": (
        "datasets: {photos: {kind: folder, images: a}}",
        ["datasets.photos.labels: missing; give text (CSV with columns"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case: str) -> None:
    text, expected = REFUSALS[case]
    with pytest.raises(WsssError) as caught:
        load(changed(text))
    message = str(caught.value)
    for part in expected:
        assert part in message, message
    for jargon in ("pydantic", "validation error", "http", "type=", "Input should be", "Value error"):
        assert jargon not in message


def test_all_problems_at_once() -> None:
    with pytest.raises(WsssError) as caught:
        load(changed("{seeds: 0, dataset: x, cams: {a: {classifier: b, flip: 2}}, masks: {q: {camss: a}}}"))
    message = str(caught.value)
    assert message.startswith("The configuration has 6 problems:")
    for path in ("seeds:", "dataset:", "cams.a.classifier:", "cams.a.flip:", "masks.q.camss:", "masks.q.cams:"):
        assert f"  {path}" in message


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}])
def test_no_mapping(raw: Any) -> None:
    with pytest.raises(WsssError):
        load(raw)


def test_defaults_reach_the_recipes_that_have_the_key() -> None:
    config = load(changed("defaults: {classifiers: {epochs: 7, tiles: 4}, segmenters: {predict: {flip: false}}}"))
    vanilla, p_noc = config.recipes["classifiers"].values()
    assert (vanilla.epochs, p_noc.epochs, p_noc.tiles) == (7, 7, 4)
    assert config.recipes["segmenters"]["p-noc"].predict.flip is False


def test_a_recipe_wins_over_defaults_block_by_block() -> None:
    text = (
        "{defaults: {masks: {threshold: {value: 0.2, policy: oracle}}}, masks: {p-noc: {cams: p-noc, threshold: %s}}}"
    )
    threshold = load(changed(text % "{value: 0.5}")).recipes["masks"]["p-noc"].threshold
    assert (threshold.value, threshold.policy) == (0.5, "oracle")


def test_a_default_may_choose_the_objective() -> None:
    config = load(changed("{defaults: {classifiers: {objective: vanilla}}, classifiers: {plain: null}}"))
    assert config.recipes["classifiers"]["plain"].objective == "vanilla"


def test_blocks_may_be_left_out() -> None:
    config = load({"dataset": "a", "datasets": {"a": {"kind": "scenes"}}, "masks": None, "evaluation": None})
    assert config.recipes["masks"] == {}
    assert config.evaluation.calibration_images == 20


SMALL = {"dataset": "a", "datasets": {"a": {"kind": "scenes"}}}
RECIPES = {
    "classifiers": {"v": {"objective": "vanilla"}},
    "cams": {"c": {"classifier": "v"}},
    "saliency": {"s": {"objective": "c2am"}},
}
BAND = {"foreground": 0.4, "background": 0.1}
TURNED = {"foreground": 0.1, "background": 0.4}
REFUSED_RECIPES = [
    ("affinity", {"cams": "c", "width": 30}, "width (30) must be a multiple of 4"),
    ("affinity", {"cams": "c", "crop": 64}, "crop (64) must be at least 8 x radius (80) for pairs to fit"),
    ("affinity", {"cams": "c", "labels": TURNED}, "labels.background (0.4) must not exceed labels.foreground (0.1)"),
    ("cams", {"classifier": "v", "normalise": "softmax"}, "classifiers.v is 'vanilla'; use 'class', or a guided"),
    (
        "cams",
        {"classifier": "v", "normalise": "softmax", "explainer": "grad-cam"},
        "normalise: softmax reads a guided classifier's own maps, and the explainer is 'grad-cam'; leave one of them",
    ),
    (
        "cams",
        {"classifier": "v", "rivals": 2, "explainer": "grad-cam"},
        "leave it out, or leave out explainer: grad-cam",
    ),
    ("cams", {"classifier": "v", "rivals": 2, "normalise": "softmax"}, "leave it out, or leave out normalise: softmax"),
    ("classifiers", {"objective": "vanilla", "kur_alpha": 2.0}, "kur_alpha has no effect without head: kur"),
    ("classifiers", {"objective": "vanilla", "features": "centred"}, "features: centred needs a centre"),
    (
        "classifiers",
        {"objective": "vanilla", "features": "centred", "warm_start": "v"},
        "features: 'centred', but it starts from classifiers.v, whose features are 'plain'; give both the same",
    ),
    (
        "classifiers",
        {"objective": "puzzle", "crop": 48, "tiles": 2},
        "crop (48) must be a multiple of tiles x output_stride",
    ),
    ("classifiers", {"objective": "vanilla", "ema": 0.9, "average_last": 2}, "ema and average_last are two ways"),
    ("classifiers", {"objective": "vanilla", "processes": 3}, "batch_size (16) must be a multiple of processes (3)"),
    ("classifiers", {"objective": "vanilla", "processes": 4, "nodes": 3}, "(4) must be a multiple of nodes (3)"),
    ("classifiers", {"objective": "vanilla", "stage_to": "tmp"}, "stage_to (tmp) must be a full path, or begin with"),
    ("classifiers", {"objective": "vanilla", "average_last": 99}, "average_last (99) must not exceed epochs (15)"),
    ("classifiers", {"objective": "vanilla", 3: 4}, "the key 3 is not text; put it in quotes"),
    ("masks", {"cams": "c", "threshold": {"per_class": True}}, "per_class thresholds are chosen on masks"),
    ("masks", {"cams": "c", "ignore": TURNED}, "background (0.4) must not exceed foreground (0.1)"),
    ("masks", {"cams": "c", "saliency": "s", "ignore": BAND}, "with 'saliency' the background score is 1 - saliency"),
    ("masks", {"cams": "c", "saliency_threshold": 0.5}, "saliency_threshold needs 'saliency'"),
    ("masks", {"cams": "c", "saliency": "s", "saliency_threshold": "agrement"}, "; did you mean 'agreement'"),
    (
        "masks",
        {"cams": "c", "saliency": "s", "saliency_threshold": 0.5, "crf": "psa"},
        "a threshold of saliency gives labels, no scores",
    ),
    (
        "masks",
        {"cams": "c", "crf": "psa", "threshold": {"per_class": True, "policy": "oracle"}},
        "thresholds of each class give labels, no scores; set crf.unary to labels",
    ),
]
"""Kind, recipe, what is said of it."""


@pytest.mark.parametrize("kind, recipe, said", REFUSED_RECIPES)
def test_a_recipe_is_refused(kind: str, recipe: dict, said: str) -> None:
    config = SMALL | RECIPES
    with pytest.raises(WsssError, match=re.escape(f"{kind}.new") + ".*" + re.escape(said)):
        load(config | {kind: {**config.get(kind, {}), "new": recipe}})


def test_code_counts_in_one_of_two_ways() -> None:
    assert (load(SMALL).code, load(SMALL | {"code": "strict"}).code) == ("declared", "strict")
    said = "code: unknown value \"strickt\"; did you mean 'strict'? (allowed: declared, strict)"
    with pytest.raises(WsssError, match=re.escape(said)):
        load(SMALL | {"code": "strickt"})


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice in one block, in lines 1 and 3; keep one"),
        ("a: [1\n", "not valid YAML."),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_of_settings_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(WsssError, match=r"my\.yaml.*" + re.escape(said)):
        read_yaml(tmp_path / "my.yaml")


# --- what a few lines blow up -----------------------------------------------------------------------------------------


def bomb(depth: int) -> str:
    """Each anchor holds nine times the one before it."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(lines)


def test_anchors_that_repeat_each_other_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(bomb(12))
    with pytest.raises(WsssError, match=r"stands for \d{3},\d{3},\d{3},\d{3} values, since anchors"):
        load(read_yaml(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text(bomb(4))  # 9 ** 4 values are no bomb: other problems are told
    with pytest.raises(WsssError, match="unknown key"):
        load(read_yaml(tmp_path / "c.yaml"))


def test_blocks_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: &a [*a]")
    with pytest.raises(WsssError, match="blocks lie in each other more than 100 deep"):
        load(read_yaml(tmp_path / "c.yaml"))
    (tmp_path / "c.yaml").write_text("a: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(WsssError, match="blocks lie in each other more than 100 deep"):
        read_yaml(tmp_path / "c.yaml")


def test_numbers_that_nothing_can_take_are_refused() -> None:
    raw = {"seeds": [2**32], "classifiers": {"a": {"objective": "vanilla", "epochs": 10**30}}}
    with pytest.raises(WsssError) as error:
        load(raw)
    assert "seeds: expected a list of different whole numbers from 0 to 4294967295" in str(error.value)
    assert "classifiers.a.epochs: 1" + 30 * "0" + " is too large a number" in str(error.value)
