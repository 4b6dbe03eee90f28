"""The drawn chain: boxes and arrows are the artefacts and what they were made from, and nothing lies on anything."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest

from wsss.report.effects import effects
from wsss.report.headline import final
from wsss.report.html import chain as drawn
from wsss.report.html.overview import main_figures
from wsss.report.provenance import read_scored
from wsss.store.manifest import write_manifest

NET, BOUND = ("segmenters", "net"), ("segmenters", "bound")


@pytest.fixture(scope="module")
def read(scored: SimpleNamespace) -> SimpleNamespace:
    every = [read_scored(folder) for folder in scored.scores]
    return SimpleNamespace(scored=every, leading=final(every))


def test_boxes_and_arrows_are_those_of_the_manifests(read) -> None:
    graph = drawn.graph_of(read.scored, read.leading)
    classifier, cams, masks = ((kind, "plain") for kind in ("classifiers", "cams", "masks"))
    assert graph.parents == {classifier: set(), cams: {classifier}, masks: {cams}, BOUND: set(), NET: {masks}}
    assert graph.leading == {classifier, cams, masks, NET}
    assert {folder.parents[1].name for folder in graph.folders[NET]} == {"s0", "s3"}


def artefact(base, kind: str, name: str, *inputs: str):
    folder = base / "s0" / kind / name
    folder.mkdir(parents=True)
    given = {f"input.{k}": {"path": f"../../{path}", "digest": "0"} for k, path in enumerate(inputs)}
    given["index"] = {"path": "../../../index", "digest": "0"}
    write_manifest(folder, {"stage": kind, "settings": {}, "seed": 0, "inputs": given})
    return folder


def test_steps_without_a_box_of_their_own(tmp_path) -> None:
    """Saliency has one box for its network, maps and masks; labels of an affinity have none."""
    artefact(tmp_path, "cams", "a")
    artefact(tmp_path, "saliency", "c2am", "cams/a")
    artefact(tmp_path, "saliency-maps", "c2am", "saliency/c2am")
    artefact(tmp_path, "saliency-masks", "c2am-crf", "saliency-maps/c2am")
    artefact(tmp_path, "affinity-labels", "b", "cams/a", "saliency-masks/c2am-crf")
    artefact(tmp_path, "affinity", "b", "affinity-labels/b")
    last = artefact(tmp_path, "masks", "m", "cams/a", "affinity/b")
    one = SimpleNamespace(artefact=last.resolve())
    graph = drawn.graph_of([one], [one])
    cams, saliency, affinity = ("cams", "a"), ("saliency", "c2am"), ("affinity", "b")
    assert graph.parents == {
        cams: set(), saliency: {cams}, affinity: {cams, saliency}, ("masks", "m"): {cams, affinity},
    }  # fmt: skip
    assert [folder.parent.name for folder in graph.folders[saliency]] == ["saliency-masks", "saliency-maps", "saliency"]


def test_figures_are_those_of_the_scores(read) -> None:
    content = drawn.chain(read.scored, read.leading)
    boxes = {(box.kind, box.name): box for box in content["boxes"]}
    values = [100 * one.content["splits"]["val"]["policies"][""]["miou"]
              for one in read.scored if (one.kind, one.recipe) == NET]  # fmt: skip
    assert boxes["network", "net"].score.startswith(f"{mean(values):.1f} ± ") and boxes["network", "net"].leading
    assert not boxes["network, fully supervised", "bound"].leading
    (step,) = [e for e in effects(read.scored) if e.after == ("masks", "plain") and e.split == "val"]
    points = f"{100 * step.difference:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert [arrow.points for arrow in content["arrows"] if arrow.points] == [points]
    row = next(row for row in content["table_of_steps"].rows if row[0] == "pseudo-labels plain")
    assert row[1] == "CAMs plain" and row[3:] == ["validation", f"{points} over plain"]
    assert drawn.chain([], []) is None


def test_the_card_of_the_tags_is_of_the_classifier_whose_maps_are_used(scored, tmp_path) -> None:
    """Not of one that this one learnt from, although its name comes first."""
    base = tmp_path / "results"
    shutil.copytree(scored.base, base, symlinks=True)
    for place in ("classifiers", "scores/classifiers"):
        shutil.copytree(base / "s0" / place / "plain", base / "s0" / place / "a-teacher")
    for path, name, at in (
        (base / "s0/classifiers/plain/manifest.json", "ordinary", "../a-teacher"),
        (base / "s0/scores/classifiers/a-teacher/manifest.json", "artefact", "../../../classifiers/a-teacher"),
    ):
        about = json.loads(path.read_text())
        about["inputs"][name] = {"path": at, "digest": "0"}
        path.write_text(json.dumps(about))
    facts = json.loads((base / "s0/scores/classifiers/a-teacher/scores.json").read_text())
    (base / "s0/scores/classifiers/a-teacher/scores.json").write_text(json.dumps(facts | {"recipe": "a-teacher"}))
    every = [read_scored(path.parent) for path in sorted(base.glob("s0/scores/*/*/manifest.json"))]
    assert {one.recipe for one in every if one.kind == "classifiers"} == {"a-teacher", "plain"}
    figures = main_figures(scored.index, every, [one for one in every if one.recipe == "net"])
    (note,) = [note for title, _, note in figures if title == "Image classification"]
    assert note.startswith("mAP of plain,")


def test_a_long_name_is_cut_and_told_in_full(tmp_path) -> None:
    name = "a-very-long-name-of-a-recipe"
    artefact(tmp_path, "cams", name)
    one = SimpleNamespace(artefact=artefact(tmp_path, "masks", "m", f"cams/{name}").resolve(), kind="", recipe="")
    first, _ = drawn.chain([one], [])["boxes"]
    assert first.name == "a-very-long-name…" and len(first.name) == drawn.LETTERS["name"]
    assert first.title == f"CAMs {name}"


@pytest.mark.parametrize("seed", range(8))
def test_nothing_lies_on_anything(seed: int) -> None:
    """Of any graph: what something is made from stands left of it, and an arrow runs through rows of its own."""
    rng = np.random.default_rng(seed)
    keys = [("masks", f"m{k}") for k in range(14)]
    parents = {key: {keys[j] for j in range(k) if rng.random() < 0.2} for k, key in enumerate(keys)}
    places, (width, height) = drawn.laid_out(parents)
    sizes = {place: (drawn.THIN if len(place) == 3 else drawn.HEIGHT) for place in places}
    for one, other in combinations(places, 2):
        (x, y), (u, v) = places[one], places[other]
        assert x != u or abs(y - v) >= (sizes[one] + sizes[other]) / 2
    for key, (x, y) in places.items():
        assert 0 < x < x + drawn.WIDTH < width and sizes[key] / 2 < y < height - sizes[key] / 2
    column = {key: round((places[key][0] - drawn.MARGIN) / (drawn.WIDTH + drawn.ACROSS)) for key in keys}
    graph = drawn.Graph(parents, {}, set(keys[:3]))
    for key, given in parents.items():
        assert column[key] == (1 + max(column[one] for one in given) if given else 0)
        for parent in given:
            path = drawn._arrow(graph, parent, key, places, None).path
            stops = [tuple(map(float, two)) for two in re.findall(r"([-\d.]+) ([-\d.]+)(?=C|$)", path)]
            free = [places[(*parent, k)] for k in range(column[parent] + 1, column[key])]
            ends = [stop for x, y in free for stop in ((x, y), (x + drawn.WIDTH, y))]
            start = places[parent][0] + drawn.WIDTH, places[parent][1]
            assert stops == [start, *ends, places[key]]


def test_the_drawing_says_what_it_shows(scored) -> None:
    page = scored.page.read_text(encoding="utf-8")
    (svg,) = re.findall(r'<svg class="chain".*?</svg>', page, re.S)
    assert 'role="img"' in svg and 'aria-label="The steps of this run as 5 boxes with 3 arrows' in svg
    assert svg.count("<rect") == 5 and svg.count('class="arrow leading"') == 3
    assert "<title>network net: mIoU " in svg
