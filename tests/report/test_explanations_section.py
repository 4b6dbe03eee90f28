"""The section of explanations, from the table that their stage writes."""

from __future__ import annotations

import csv
from pathlib import Path

from wsss.report.html.explained import explanations
from wsss.report.html.render import render_page, render_section
from wsss.stages.explanations import COLUMNS


def written(folder: Path, rows: list[tuple[str, ...]]) -> Path:
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "s0.png").write_bytes(b"PNG")
    with open(folder / "explanations.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    (folder / "manifest.json").write_text("{}")
    return folder


def row(recipe: str, metric: str, value: str, seed: str = "0", others: str = "reference", segmenter: str = ""):
    classifier = "" if segmenter else "plain"
    return ("scenes", recipe, classifier, "an explainer", seed, others, "weighted", metric, value, segmenter)


def test_means_over_seeds_by_network(tmp_path: Path) -> None:
    rows = [row("cam", "ad", "20.04"), row("cam", "ad", "30.0", "1"), row("cam", "ado", "7", others="multi_only")]
    rows += [row("cam", "ado", "1"), row("minmax", "ad", "")]
    rows += [row("<b>", "deletion_black", "0.251", segmenter="walk"), row("<b>", "deletion_black_random", "0.4")]
    rows.append(row("<b>", "inside", "60.5", segmenter="walk"))
    (tmp_path / "explanations.md").touch()
    content = explanations(written(tmp_path / "explanations", rows), tmp_path)
    assert content is not None
    tables = {title: (table.heads, table.rows) for title, table in content["networks"]}
    heads, cells = tables["Classifier plain"]
    assert heads == ["recipe", "explainer", "AD ↓", "ADO ↑"]
    assert cells[:2] == [["cam", "an explainer", "25.0", "7.0"], ["minmax", "an explainer", "–", "–"]]
    heads, cells = tables["Segmentation network walk"]
    assert heads == ["recipe", "explainer", "in region ↑", "deletion black ↓"]
    assert cells == [["<b>", "an explainer", "60.5", "25.1"]]
    text = render_section("explanations", content)
    assert "&lt;b&gt;" in text and 'src="data:image/png;base64,UE5H"' in text
    for link in ("explanations.md", "explanations/pictures"):
        assert f'<a href="{link}">' in text and (tmp_path / link).exists()
    page = render_page("scenes", {"explanations": content})
    assert '<a href="#explanations">Explanations</a>' in page


def test_what_is_not_made_is_not_shown(tmp_path: Path) -> None:
    assert explanations(tmp_path, tmp_path) is None
    (written(tmp_path / "explanations", [row("cam", "ad", "1")]) / "manifest.json").unlink()
    assert explanations(tmp_path / "explanations", tmp_path) is None
