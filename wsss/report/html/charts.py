"""Line charts as SVG and dot plots as HTML, in colours that the page's style sheet names (``s0`` to ``s6``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wsss.report.html.markup import Html, markup, tag

WIDTH, HEIGHT = 460, 280  # user units: at phone width a letter of 13 still measures 10 pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 42
SERIES = 7
"""Colours that most eyes keep apart (Okabe and Ito); the eighth line has the first colour again, dashed."""


@dataclass(frozen=True)
class Line:
    """A line of a chart; ``marks``: (x, y, shape, text), shape ``dot``, ``ring`` or ``diamond``; ``series`` chooses
    colour and dashes; ``thin`` for what matters less; without a name it has no entry in the legend."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int = 0
    marks: Sequence[tuple[float, float, str, str]] = field(default=())
    thin: bool = False


def line_chart(lines: Sequence[Line], title: str, x: str, y: str, percent: bool = False, zero: bool = True) -> Html:
    """A chart with axes, grid and legend. ``percent``: values are fractions and shown times 100; ``zero``: the vertical
    axis begins at 0. NaN breaks nothing: such points are left out."""
    factor = 100.0 if percent else 1.0
    scaled = [[(a, factor * b) for a, b in _points(one)] for one in lines]
    points = [p for one in scaled for p in one]
    if not points:
        return Html()
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    across = ticks(min(xs), max(xs), 5)
    up = ticks(min(0.0, *ys) if zero else min(ys), max(ys), 5)

    def at(a: float, b: float) -> tuple[float, float]:
        wide, high = across[-1] - across[0], up[-1] - up[0]
        return (
            round(LEFT + (a - across[0]) / wide * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - (b - up[0]) / high * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts: list[Html] = []
    for value in up:
        left, height = at(across[0], value)
        parts.append(tag("line", x1=left, x2=WIDTH - RIGHT, y1=height, y2=height, class_="grid"))
        parts.append(tag("text", f"{value:g}", x=LEFT - 7, y=height + 4, text_anchor="end"))
    for value in across:
        place, bottom = at(value, up[0])
        parts.append(tag("text", f"{value:g}", x=place, y=bottom + 18, text_anchor="middle"))
    parts.append(tag("text", x, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="axis"))
    for one, path in sorted(zip(lines, scaled, strict=True), key=lambda pair: not pair[0].thin):
        drawn = " ".join(f"{a},{b}" for a, b in (at(*p) for p in path))
        parts.append(tag("polyline", points=drawn, class_=_class(one)))
        parts += [_mark(*at(a, factor * b), shape, text, one.series) for a, b, shape, text in one.marks]
    said = f"{title}. Horizontal: {x}. Vertical: {y}. {' '.join(_words(o, factor) for o in lines if o.name)}"
    picture = tag("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)
    shown = [one for one in lines if one.name]
    legend = tag("ul", [tag("li", _swatch(one), one.name) for one in shown], class_="legend") if shown else None
    return tag("figure", tag("figcaption", tag("b", title), tag("span", y)), picture, legend, class_="chart")


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers, evenly apart, from at most ``low`` to at least ``high``; at least two."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _points(line: Line) -> list[tuple[float, float]]:
    pairs = zip(line.xs, line.ys, strict=True)
    return [(float(a), float(b)) for a, b in pairs if b is not None and math.isfinite(b)]


def _class(line: Line) -> str:
    return f"line s{line.series % SERIES} d{line.series // SERIES % 3}" + (" thin" if line.thin else "")


def _mark(x: float, y: float, shape: str, text: str, series: int) -> Html:
    colour = f"mark s{series % SERIES} {shape}"
    if shape == "diamond":
        return tag("path", tag("title", text), d=f"M{x} {y - 6}l6 6l-6 6l-6 -6z", class_=colour)
    return tag("circle", tag("title", text), cx=x, cy=y, r=4.5, class_=colour)


def _swatch(line: Line) -> Html:
    drawn = tag("line", x1=0, x2=26, y1=6, y2=6, class_=_class(line))
    return tag("svg", drawn, viewBox="0 0 26 12", width=26, height=12, aria_hidden="true")


def _words(line: Line, factor: float) -> str:
    points = _points(line)
    if not points:
        return ""
    best = max(points, key=lambda p: p[1])
    return f"{line.name}: highest {factor * best[1]:.3g} at {best[0]:.3g}, last {factor * points[-1][1]:.3g}."


@dataclass(frozen=True)
class Dots:
    """A row of a dot plot: ``groups`` are (class of style, words, fractions), ``text`` stands at the end."""

    name: str
    groups: Sequence[tuple[str, str, Sequence[float]]]
    text: str


def dot_plot(rows: Iterable[Dots]) -> Html:
    """Fractions as dots between 0 and 100 %, a row an entry."""
    written = []
    for row in rows:
        dots = [
            tag("i", class_=f"dot {style}", style=f"left:{100 * v:.1f}%", title=f"{words} {100 * v:.1f}")
            for style, words, values in row.groups
            for v in values
        ]
        track = tag("span", dots, class_="dots", aria_hidden="true")
        written.append(tag("li", tag("span", row.name, class_="name"), track, tag("b", row.text)))
    if not written:
        return Html()
    scale = [tag("span", f"{v}", style=f"left:{v}%") for v in (0, 25, 50, 75, 100)]
    last = tag("li", tag("span"), tag("span", scale, class_="scale"), tag("b"), aria_hidden="true")
    return tag("ul", written, last, class_="plot")


def heat(names: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], caption: str,
         low: float = 0.0) -> Html:  # fmt: skip
    """A table of fractions as percentages, each cell as deep in colour as it lies above ``low``; None is left empty."""
    head = tag("tr", tag("td"), [tag("th", tag("span", c), scope="col") for c in columns])
    body = [
        tag("tr", tag("th", name, scope="row"), [_heat_cell(v, low) for v in row])
        for name, row in zip(names, values, strict=True)
    ]
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_="heat")
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _heat_cell(value: float | None, low: float) -> Html:
    if value is None or math.isnan(value):
        return tag("td")
    shown = markup("·" if value < 0.005 else f"{100 * value:.0f}")
    depth = (value - low) / max(1e-9, 1 - low)
    return tag("td", shown, class_="n deep" if depth > 0.55 else "n", style=f"--v:{100 * depth:.0f}%")
