"""What stands in the report is what the scores and the images say."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from wsss.data.palette import class_colours
from wsss.evaluate.confusion import mean_iou
from wsss.report import headline, image_scores
from wsss.report.html import gallery, picture_section, score_sections
from wsss.report.provenance import read_scored


class Page(HTMLParser):
    """Rows of tables as lists of texts, the attributes of all elements, and all text but scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attrs)))
        if name not in ("meta", "img", "input", "br"):
            self.open.append(name)
        if name == "tr":
            self.rows.append([])
        if name in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name, f"</{name}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.said.append(data)
            if "tr" in self.open:
                self.rows[-1][-1] += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for element, attrs in self.elements if element == name]


@pytest.fixture(scope="module")
def page(scored: SimpleNamespace) -> Page:
    return Page(scored.page.read_text(encoding="utf-8"))


def content(scored: SimpleNamespace, seed: int, kind: str, name: str) -> dict:
    return json.loads((scored.base / f"s{seed}/scores/{kind}/{name}/scores.json").read_text())["splits"]


@pytest.mark.parametrize(
    ("kind", "name", "policy", "metric"),
    [("masks", "plain", "", "miou"), ("cams", "plain", "calibrated", "miou"), ("classifiers", "plain", "", "map"),
     ("segmenters", "bound", "", "miou")],
)  # fmt: skip
def test_a_cell_is_the_figure_of_the_scores(scored, page, kind, name, policy, metric) -> None:
    """Mean and deviation over the seeds, in the first table, under the name of the stage."""
    titles = {"masks": "Pseudo-labels", "cams": "Class activation maps", "classifiers": "Classifiers",
              "segmenters": "Predicted masks"}  # fmt: skip
    start = next(k for k, row in enumerate(page.rows) if len(row) == 1 and row[0].startswith(titles[kind]))
    row = next(row for row in page.rows[start:] if row[0] == name)
    for cell, split in ((row[1], "val"), (row[2], "train")):
        policies = [content(scored, s, kind, name).get(split, {}).get("policies", {}) for s in scored.seeds]
        values = [100 * p[policy][metric] for p in policies if p]
        assert cell == (f"{mean(values):.1f} ± {stdev(values):.1f}" if values else "–")
    assert row[3] == "2"
    assert row[4] == ("ground-truth masks" if name == "bound" else "image tags, ImageNet")


def test_the_oracle_is_marked_in_the_curve_where_the_scores_have_it(scored, page) -> None:
    found = content(scored, 0, "cams", "plain")["val"]["policies"]["oracle"]
    assert f"plain, oracle: {found['threshold']:g}, {100 * found['miou']:.1f} %" in "".join(page.said)


def own_ious(scored: SimpleNamespace, label: int) -> list[tuple[float, str]]:
    """IoU of a class in each validation image that shows it, of network ``net`` with the first seed: counted pixel by
    pixel, best first."""
    found = []
    for item in scored.index.split("val"):
        truth = np.asarray(Image.open(item.mask))
        mask = np.asarray(Image.open(scored.base / f"s0/predictions/net/masks/{item.id}.png"))
        known = truth != 255
        true, said = known & (truth == label + 1), known & (mask == label + 1)
        if true.any():
            found.append(((true & said).sum() / (true | said).sum(), item.id))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))


def test_best_median_and_worst_are_shown(scored, page) -> None:
    with open(scored.base / "report" / "pictures.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["ordered_by"] for row in rows} == {"iou"} and {row["split"] for row in rows} == {"val"}
    for label, name in enumerate(scored.index.classes):
        every = own_ious(scored, label)
        shown = [row for row in rows if row["class"] == name]
        wanted = [every[0], every[(len(every) - 1) // 2], every[-1]]
        if len(every) < 3:
            wanted = list(dict.fromkeys((every[0], every[-1])))
        assert [row["id"] for row in shown] == [id for _, id in wanted]
        assert [float(row["figure"]) for row in shown] == pytest.approx([v for v, _ in wanted], abs=1e-6)
    assert len([a for a in page.all("article")]) == len(rows)
    assert {a["data-layer"] for a in page.all("button") if "data-layer" in a} == {
        *("image", "truth", "cams", "masks", "segmenters", "error"),
    }


def test_the_counts_behind_pictures_and_confusion_are_those_of_the_scores(scored) -> None:
    every = [read_scored(folder) for folder in scored.scores]
    result = headline.final(every)
    assert [(one.kind, one.recipe, one.seed) for one in result] == [("segmenters", "net", 0), ("segmenters", "net", 3)]
    assert [one.recipe for one in headline.upper_bound(every)] == ["bound", "bound"]
    weaker = [one for one in every if one.recipe != "net"]
    assert {(one.kind, one.recipe) for one in headline.final(weaker)} == {("masks", "plain")}
    alone = [one for one in every if one.recipe == "bound"]
    assert headline.final(alone) == alone and headline.final([]) == []
    split, items = headline.shown_split(scored.index, result)
    source = headline.sources(every, result)["segmenters"]
    verdict = image_scores.score_images(scored.index, items, source, {}, 1)
    assert split == "val" and float(mean_iou(verdict.matrix)) == pytest.approx(
        content(scored, 0, "segmenters", "net")["val"]["policies"][""]["miou"], abs=1e-12
    )


def test_names_with_markup_stay_names(scored, page, stage) -> None:
    text = scored.page.read_text(encoding="utf-8")
    assert stage.cat not in text and "&lt;b&gt;cat" in text
    assert stage.cat in "".join(page.said) and "little & large" in "".join(page.said)
    assert "<i>machine" not in text
    assert page.open == []


def test_every_name_is_escaped(stage, tmp_path: Path) -> None:
    """Recipes, classes, image ids and the dataset: each would end an attribute and begin a script, were it markup."""
    mark = "\"'><script>&lt"
    found = stage.build(tmp_path / "results", seeds=(0,), end=mark, cat=f"cat{mark}", suffix=mark)
    stage.report(found, name=f"set{mark}")
    text = found.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and len(page.all("script")) == 1 and mark not in text
    shown = [*page.said, *(value for _, attrs in page.elements for value in attrs.values() if value)]
    named = {name: [one for one in shown if f"{name}{mark}" in one] for name in ("plain", "net", "bound", "cat", "set")}
    assert all(len(places) >= 3 for places in named.values()), named
    assert any(one == f"{found.index.split('val')[0].id}" and one.endswith(mark) for one in page.said)
    assert len(page.all("section")) == 15 and len(page.all("article")) > 3


def test_the_page_needs_nothing_beside_it(scored, page) -> None:
    loaded = [attrs.get(key) for _, attrs in page.elements for key in ("src", "srcset", "data") if attrs.get(key)]
    assert loaded and all(link.startswith("data:image/") for link in loaded)
    assert {name for name, attrs in page.elements if "href" in attrs} == {"a"}
    assert "@import" not in scored.page.read_text() and scored.page.stat().st_size < 8e6
    assert not {"link", "iframe", "object", "base"} & {name for name, _ in page.elements}
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    within = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    assert len(ids) == len(set(ids)) and within <= set(ids)


def test_links_lead_to_the_files_of_the_run(scored, page) -> None:
    """Relative ones, so that a folder of results may be moved; each to what it names."""
    links = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    buttons = [b for b in page.all("button") if "data-layer" in b]
    for link in [*links, *(b["data-file"] for b in buttons if "data-file" in b)]:
        assert not urlsplit(link).scheme and not link.startswith("/"), link
        assert (scored.base / unquote(link)).exists(), link
    layers = {(b["data-layer"], unquote(b.get("data-file", ""))) for b in buttons}
    assert "s0/predictions/net/masks" in links and "report/images.html" in links
    for kind in ("classifiers/plain", "cams/plain", "masks/plain", "segmenters/net", "predictions/net"):
        assert f"s0/{kind}/manifest.json" in links, kind
    assert [f"s{seed}/classifiers/plain/metrics.jsonl" in links for seed in scored.seeds] == [True, True]
    assert {layer for layer, file in layers if not file} == {"cams", "error"}
    with open(scored.base / "report" / "pictures.csv", newline="", encoding="utf-8") as file:
        shown = {row["id"] for row in csv.DictReader(file)}
    folders = {"masks": "s0/masks/plain/masks", "segmenters": "s0/predictions/net/masks"}
    for layer, folder in folders.items():
        assert {file for name, file in layers if name == layer} == {f"{folder}/{id}.png" for id in shown}
    images = {(scored.base / file).resolve() for name, file in layers if name == "image"}
    assert images == {scored.index.item(id).image.resolve() for id in shown}


def test_headings_can_be_linked_to(page) -> None:
    anchors = [a["href"][1:] for a in page.all("a") if a.get("class") == "anchor"]
    assert len(anchors) == len(set(anchors)) == len(page.all("h2")) + len(page.all("h3"))
    assert {"overview", "scores", "scores-cams", "uneven-1"} <= set(anchors)


def test_threshold_curves_stand_on_the_same_axes(scored) -> None:
    charts = score_sections.thresholds([read_scored(folder) for folder in scored.scores])["charts"]
    assert len(charts) == 2 and len({(*chart.rows, *chart.columns) for chart in charts}) == 1


def test_figures_of_a_class_in_words(scored, tmp_path: Path) -> None:
    assert picture_section.span("iou", 0.612, 0.4) == "IoU 61.2 to 40.0"
    assert picture_section.span("probability", 0.99, 0.101) == "probability 99.0 to 10.1 %"
    assert picture_section.span("share", 0.25, 0.2501) == "share of the image 25.0 %"
    assert picture_section.span("none", 0.0, 0.0) == ""
    item = scored.index.split("val")[0]
    for by, best, said in (("iou", 0.0, "not found"), ("iou", 0.2, "best"), ("share", 0.0, "largest")):
        cards = [gallery.Card(0, 0, best, item, {}, {"image": "data:image/png;base64,"})]
        found = picture_section.pictures(
            scored.index, gallery.Gallery(cards, by, [], 96), {}, "val", {}, "", tmp_path / "report"
        )["classes"][0]
        assert found["cards"][0]["rank"] == said and ("not found" in found["range"]) == (said == "not found")


def test_everything_has_words(page) -> None:
    assert all(attrs["alt"] for attrs in page.all("img"))
    assert all(attrs["aria-label"] for attrs in page.all("svg") if attrs.get("role") == "img")
    labels = {attrs["for"] for attrs in page.all("label")}
    assert {attrs["id"] for attrs in page.all("input")} <= labels
    assert len(page.all("h1")) == 1 and len(page.all("h2")) == len(page.all("section")) == 15
    for name in ("overview", "scores", "thresholds", "confusion", "uneven", "agreement", "training", "costs"):
        assert any(attrs.get("id") == name for attrs in page.all("section")), name


def test_the_same_results_give_the_same_page(scored, stage, tmp_path: Path) -> None:
    """In the same place: links are relative to it."""
    first, folder = tmp_path / "first", scored.base / "report"
    shutil.move(folder, first)
    page = scored.page.read_bytes()
    scored.page.unlink()
    stage.report(scored)
    assert scored.page.read_bytes() == page
    for name in ("pictures.csv", "images.html"):
        assert (folder / name).read_bytes() == (first / name).read_bytes()
    assert {path.name for path in folder.iterdir()} <= {
        "manifest.json",
        ".manifest.json",
        "run.json",
        "pictures.csv",
        "images.html",
        ".lock",
    }


def test_without_masks_it_says_what_cannot_be_scored(unscored) -> None:
    page = Page(unscored.page.read_text(encoding="utf-8"))
    said = "".join(page.said)
    assert "There are no ground-truth masks of these images" in said and "coverage" in said
    sections = {attrs["id"] for attrs in page.all("section")}
    assert {"overview", "pictures", "scores", "agreement", "costs", "provenance"} <= sections
    assert not {"thresholds", "classes", "confusion", "uneven"} & sections
    layers = {a["data-layer"] for a in page.all("button") if "data-layer" in a}
    assert layers == {"image", "cams", "masks", "segmenters"}
    table = [
        line.split(",") for line in (unscored.base / "s0/classifiers/plain/predictions.csv").read_text().splitlines()
    ]
    with open(unscored.base / "report" / "pictures.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for c, name in enumerate(unscored.index.classes):
        tagged = {item.id for item in unscored.index.split("val") if c in item.labels}
        every = sorted(((float(row[2 + c]), row[0]) for row in table[1:] if row[0] in tagged), reverse=True)
        shown = [row for row in rows if row["class"] == name]
        assert [shown[0][key] for key in ("id", "rank", "ordered_by")] == [every[0][1], "most confident", "probability"]
        assert shown[-1]["id"] == every[-1][1]


def test_an_index_alone_makes_a_page(stage, tmp_path: Path) -> None:
    found = SimpleNamespace(base=tmp_path, index=stage.index(tmp_path / "index"), scores=[])
    stage.report(found)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {"overview", "dataset", "pictures"} <= {attrs["id"] for attrs in page.all("section")}


def test_scores_of_other_classes_are_refused(scored, stage, tmp_path: Path) -> None:
    other = stage.index(tmp_path / "index")
    (other.folder / "classes.txt").write_text(f"{stage.cat}\nwolf\nred cow\n")
    text = (other.folder / "index.csv").read_text().replace("dog", "wolf")
    (other.folder / "index.csv").write_text(text)
    found = SimpleNamespace(base=tmp_path, index=other, scores=scored.scores)
    assert "other classes" in stage.report(found, code=2) and not (tmp_path / "report.html").exists()


def test_pictures_shrink_until_they_fit(scored, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {0: [(0.5, item.id) for item in scored.index.split("val")]}
    found = image_scores.ImageScores("iou", figures)
    assert gallery.gallery(scored.index, found, {}, "val").edge == gallery.EDGES[0]
    monkeypatch.setattr(gallery, "BUDGET", 0)
    assert gallery.gallery(scored.index, found, {}, "val").edge == gallery.EDGES[-1]
    monkeypatch.setattr(gallery, "MOST_CLASSES", 2)
    figures = {c: [(0.1 * c, found.figures[0][0][1])] for c in range(3)}
    shown = gallery.gallery(scored.index, image_scores.ImageScores("iou", figures), {}, "val")
    assert {card.label for card in shown.cards} == {0, 2} and shown.left_out == [1]


@pytest.mark.parametrize(
    ("count", "ranks", "ids"),
    [
        (0, [], ""),
        (1, [0], "a"),
        (2, [0, 2], "ab"),
        (3, [0, 1, 2], "abc"),
        (4, [0, 1, 2], "abd"),
        (5, [0, 1, 2], "ace"),
    ],
)
def test_choice_of_three(count: int, ranks: list[int], ids: str) -> None:
    found = image_scores.chosen([(1 - k / 10, "abcde"[k]) for k in range(count)])
    assert [rank for rank, _, _ in found] == ranks and "".join(id for _, _, id in found) == ids


def test_errors_and_layers_by_hand() -> None:
    truth = np.array([[0, 1, 1, 0, 2, 255]], np.uint8)
    mask = np.array([[0, 1, 0, 1, 1, 1]], np.uint8)
    assert gallery.errors(truth, mask).tolist() == [[0, 0, 1, 2, 3, 255]]
    assert gallery.errors(truth, np.full_like(truth, 255)).tolist() == [[0, 1, 1, 0, 1, 255]]
    import base64
    import io

    uri = gallery.labels(truth, {1: "#102030", 2: "#ffffff"}, (6, 1))
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))[0].tolist()
    assert shown[1] == [0x10, 0x20, 0x30, 255] and shown[4] == [255] * 4 and shown[0][3] == 0
    assert 0 < shown[5][3] < 255
    assert gallery.heat(np.array([[0.0, 1.0]])).sum(axis=2).tolist()[0] == sorted(
        gallery.heat(np.array([[0.0, 1.0]])).sum(axis=2).tolist()[0]
    )
    colours = class_colours(80)
    assert len(set(colours)) == 80 and all(re.fullmatch(r"#[0-9a-f]{6}", c) for c in colours)
    rgb = [np.array(list(bytes.fromhex(c[1:])), float) for c in (*gallery.ERRORS.values(), *colours)]
    for k, error in enumerate(rgb[:3]):
        others = [np.linalg.norm(error - other) for n, other in enumerate(rgb) if n != k]
        assert min(others[: 2 + 8]) > 120 and min(others) > 60, "errors are no classes"
