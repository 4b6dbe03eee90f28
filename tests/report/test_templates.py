"""The templates of the report escape what they show, and write tables and charts as they are computed."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError

from wsss.report.html.charts import Bar, Dots, Line, heat_map, line_chart, ticks
from wsss.report.html.render import HERE, SCRIPTS, environment, numeric_columns, render_section
from wsss.report.tables import Table
from wsss.text import count, duration, listed


def test_no_template_turns_escaping_off() -> None:
    templates = environment()
    names = templates.list_templates()
    assert len([name for name in names if name.startswith("sections/")]) == 17 and "page.html.j2" in names
    for name in names:
        source = templates.loader.get_source(templates, name)[0]
        assert not re.search(r"\|\s*safe|autoescape|Markup", source), name
        templates.get_template(name)  # compiles
    with pytest.raises(UndefinedError, match="explanation"):
        render_section("steps", {"steps": Table(["a"], [["b"]])})
    assert render_section("steps", {"explanation": "<&", "steps": Table(["a"], [])}).count("&lt;&amp;") == 1


def luminance(colour: list[float]) -> float:
    """Of WCAG 2, for red, green and blue from 0 to 255."""
    linear = [v / 255 / 12.92 if v / 255 <= 0.03928 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_figures_in_coloured_cells_can_be_read() -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, AA) at every depth of colour, in light and dark."""
    css = (HERE / "static" / "report.css").read_text(encoding="utf-8")
    assert not re.search(r"\.heat[^{]*\{[^}]*[{ ;]color:", css)  # the figures have the colour of all text
    (share,) = set(re.findall(r"var\(--accent\) calc\(([.\d]+) \* var\(--v", css))
    blocks = [block for block in re.findall(r"\{([^{}]*)\}", css) if "--page:" in block]
    for block in blocks:
        found = re.findall(r"--(\w+): #(\w{6})", block)
        colours = {name: [int(value[k : k + 2], 16) for k in (0, 2, 4)] for name, value in found}
        for depth in range(101):
            part = float(share) * depth / 100
            pairs = zip(colours["surface"], colours["accent"], strict=True)
            ground = luminance([below + part * (above - below) for below, above in pairs])
            dark, light = sorted((ground, luminance(colours["text"])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (depth, block)
    assert len(blocks) == 3


def test_style_and_script_are_whole(scored: SimpleNamespace) -> None:
    css = (HERE / "static" / "report.css").read_text(encoding="utf-8")
    scripts = [(HERE / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    assert {*SCRIPTS, "browse.js"} == {path.name for path in (HERE / "static").glob("*.js")}
    assert not re.search("</(style|script)|https?:|@import|url\\(", css)
    assert not any(re.search("</script|https?:|import|fetch|XMLHttp", js) for js in scripts)
    dark = re.findall(r"\{([^{}]*color-scheme: dark;[^{}]*)\}", css)
    assert len(dark) == 2 and dark[0].split() == dark[1].split()
    page = scored.page.read_text(encoding="utf-8")
    assert css in page and all(js in page for js in scripts)
    used = {name for names in re.findall(r'<[^>]* class="([^"]*)"', page) for name in names.split()}
    known = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)))
    assert used - known <= {"axis", "base", "d0", "image", "train"}  # marks for the script and for readers


def test_tables_bars_and_charts_by_hand() -> None:
    macros = environment().get_template("macros.html.j2").module
    content = Table(["a", "b", "c"], [["x", "61.2 ± 1.3", "<b>"], ["y", "–", 'a "longer" text & more of it']])
    assert numeric_columns(content) == [False, True, False]
    table = macros.table(content, "t")
    assert '<td class="number">61.2 ± 1.3</td><td class="short">&lt;b&gt;</td></tr>' in table
    assert "<td>a &#34;longer&#34; text &amp; more of it</td>" in table
    assert '<td class="short"><code>61.2 ± 1.3</code></td>' in macros.table(content, "t", code=True)
    assert macros.table(Table(["a"], []), "t").strip() == ""
    assert [Bar(value, "").width for value in (0.5, 7.0, -1.0, None)] == ["50.0", "100.0", "0.0", "0.0"]
    assert '<i class="s2" style="width:50.0%"></i></span><b>&lt;</b>' in macros.bars([("x", [Bar(0.5, "<", 2)])])
    assert ticks(0, 0.9, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(3, 3, 4)[0] < 3 < ticks(3, 3, 4)[-1]
    chart = line_chart([Line("a", [0, 1, 2], [0.0, float("nan"), 0.5])], "t", "x", "y", percent=True)
    assert chart.lines[0].points == "46.0,238.0 448.0,12.0" and "highest 50 at 2, last 50" in chart.description
    assert (chart.lines[0].values, chart.lines[0].name, chart.unit) == ("0,0.0 2,50.0", "a", " %")
    higher = Line("", [-1, 2], [0.0, 0.9])
    beside = line_chart([Line("a", [0, 1], [0.0, 0.5])], "t", "x", "y", percent=True, beside=[higher])
    alone = line_chart([higher], "t", "x", "y", percent=True)
    assert (beside.rows, beside.columns) == (alone.rows, alone.columns) and beside.rows != chart.rows
    assert len(beside.lines) == 1 and line_chart([], "t", "x", "y", beside=[higher]) is None
    unnamed = line_chart([Line("", [0.25], [1234.56], said="b"), Line("c", [0], [float("nan")])], "t", "x", "y").lines
    assert [(line.name, line.values) for line in unnamed] == [("b", "0.25,1235"), ("c", "")]
    assert Dots("a", [("val", "seen:", [0.5, 0.25]), ("train", "not:", [1])], "").said == "seen: 50.0, 25.0; not: 100.0"
    assert f'points="{chart.lines[0].points}"' in environment().get_template("charts.html.j2").module.line_chart(chart)
    assert line_chart([Line("a", [0], [float("nan")])], "t", "x", "y") is None
    ((_, cells),) = heat_map(["a"], "bcde", [[None, float("nan"), 0.001, 0.75]], "t", low=0.5).rows
    assert cells[:2] == [None, None] and (cells[2].text, cells[3].text, cells[3].depth) == ("·", "75", 50)


def test_words() -> None:
    assert [duration(s) for s in (0.5, 99, 600, 7200, 300_000)] == ["0.5 s", "99 s", "10 min", "2 h", "3.5 days"]
    assert [listed(names, " and ") for names in ("abc", "ab", "a")] == ["a, b and c", "a and b", "a"]
    assert [listed(names) for names in ("abc", "a", "")] == ["a, b, c", "a", "none"]
    assert [count(1, "class", "classes"), count(1234, "class", "classes"), count(2, "job")] == [
        "1 class",
        "1,234 classes",
        "2 jobs",
    ]
