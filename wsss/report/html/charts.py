"""Geometry and texts of the charts. ``templates/charts.html.j2`` draws them in the colours that ``static/report.css``
names ``s0`` to ``s6``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

SERIES = 7
"""Colours that the style sheet has; the eighth line has the first colour again, dashed."""


@dataclass(frozen=True)
class Mark:
    """A marked point of a line; ``shape``: ``dot``, ``ring`` or ``diamond``; ``text`` is shown under the pointer."""

    x: float
    y: float
    shape: str
    text: str


@dataclass(frozen=True)
class Line:
    """A line of a chart, in the units of its axes. ``series`` chooses colour and dashes; ``thin`` for what matters
    less; without a name it has no entry in the legend, and ``said`` names it where a point says its value. Values of
    ``ys`` that are NaN are left out."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int = 0
    marks: Sequence[Mark] = ()
    thin: bool = False
    said: str = ""

    @property
    def points(self) -> list[tuple[float, float]]:
        """The pairs of finite values."""
        pairs = zip(self.xs, self.ys, strict=True)
        return [(float(x), float(y)) for x, y in pairs if math.isfinite(y)]

    @property
    def style(self) -> str:
        """Its classes in the style sheet."""
        return f"line s{self.series % SERIES} d{self.series // SERIES % 3}" + (" thin" if self.thin else "")

    def description(self, factor: float) -> str:
        """Its highest and its last value times ``factor``, in words; empty without a name or points."""
        if not self.name or not self.points:
            return ""
        x, y = max(self.points, key=lambda point: point[1])
        return f"{self.name}: highest {factor * y:.3g} at {x:.3g}, last {factor * self.points[-1][1]:.3g}."


@dataclass(frozen=True)
class DrawnLine:
    """A line in the units of the picture: ``points`` as SVG writes them, and their ``values``, as they are said."""

    points: str
    values: str
    name: str
    style: str
    series: int
    marks: list[Mark]


@dataclass(frozen=True)
class Chart:
    """A line chart, drawn in user units. On a phone one is 0.7 pixels, and the style sheet enlarges the letters.

    Attributes:
        title, x, y: What it shows, and the names of its axes.
        description: The same for those who cannot see it.
        rows: Texts of the vertical axis, and how far down each stands.
        columns: Texts of the horizontal axis, and how far to the right each stands.
        lines: In the order in which they are drawn.
        legend: Names and classes of lines.
        unit: Behind a value of the vertical axis.
    """

    title: str
    x: str
    y: str
    description: str
    rows: list[tuple[str, float]]
    columns: list[tuple[str, float]]
    lines: list[DrawnLine]
    legend: list[tuple[str, str]]
    unit: str = ""

    width: ClassVar[int] = 460
    height: ClassVar[int] = 280
    left: ClassVar[int] = 46
    right: ClassVar[int] = 448
    top: ClassVar[int] = 12
    bottom: ClassVar[int] = 238


def line_chart(
    lines: Sequence[Line],
    title: str,
    x: str,
    y: str,
    percent: bool = False,
    zero: bool = True,
    beside: Sequence[Line] = (),
) -> Chart | None:
    """A chart; None where no line has a point. ``percent``: values are fractions and shown times 100; ``zero``: the
    vertical axis begins at 0; ``beside``: lines of charts that this one is compared with, which its axes reach over,
    too."""
    factor = 100.0 if percent else 1.0
    if not any(line.points for line in lines):
        return None
    points = [point for line in (*lines, *beside) for point in line.points]
    xs, ys = [a for a, _ in points], [factor * b for _, b in points]
    columns = ticks(min(xs), max(xs), 5)
    rows = ticks(min(0.0, *ys) if zero else min(ys), max(ys), 5)

    def across(value: float) -> float:
        share = (value - columns[0]) / (columns[-1] - columns[0])
        return round(Chart.left + share * (Chart.right - Chart.left), 1)

    def down(value: float) -> float:
        share = (value - rows[0]) / (rows[-1] - rows[0])
        return round(Chart.bottom - share * (Chart.bottom - Chart.top), 1)

    drawn = [
        DrawnLine(
            " ".join(f"{across(a)},{down(factor * b)}" for a, b in line.points),
            " ".join(f"{a:.4g},{factor * b:.{'1f' if percent else '4g'}}" for a, b in line.points),
            line.said or line.name,
            line.style,
            line.series % SERIES,
            [replace(mark, x=across(mark.x), y=down(factor * mark.y)) for mark in line.marks],
        )
        for line in sorted(lines, key=lambda line: not line.thin)
    ]
    return Chart(
        title,
        x,
        y,
        description=f"{title}. Horizontal: {x}. Vertical: {y}. "
        + " ".join(line.description(factor) for line in lines if line.name),
        rows=[(f"{value:g}", down(value)) for value in rows],
        columns=[(f"{value:g}", across(value)) for value in columns],
        lines=drawn,
        legend=[(line.name, line.style) for line in lines if line.name],
        unit=" %" if percent else "",
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers, evenly apart, from at most ``low`` to at least ``high``; at least two."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Dots:
    """A row of a dot plot: ``groups`` are (class of the style sheet, words, fractions), ``text`` stands at the end."""

    name: str
    groups: Sequence[tuple[str, str, Sequence[float]]]
    text: str

    @property
    def said(self) -> str:
        """The values in words."""
        return "; ".join(f"{words} {', '.join(f'{100 * v:.1f}' for v in values)}" for _, words, values in self.groups)


@dataclass(frozen=True)
class Bar:
    """A bar for a fraction in [0, 1] with its text; None: the text alone."""

    value: float | None
    text: str
    series: int = 0

    @property
    def width(self) -> str:
        """Percent of the track, of values within its ends."""
        return f"{100 * min(1.0, max(0.0, self.value or 0.0)):.1f}"


Bars = list[tuple[str, list[Bar]]]
"""Rows of a bar chart: a name, and a bar for each series."""


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map; ``depth``: of its colour, in percent."""

    text: str
    depth: float


@dataclass(frozen=True)
class HeatMap:
    """A table of percentages in colour; cells that are None are left empty."""

    caption: str
    columns: Sequence[str]
    rows: list[tuple[str, list[Cell | None]]]


def heat_map(
    names: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    caption: str,
    low: float = 0.0,
) -> HeatMap:
    """Fractions, a row for each name, as percentages; each cell is as deep in colour as it lies above ``low``. None and
    NaN are left empty."""

    def cell(value: float | None) -> Cell | None:
        if value is None or math.isnan(value):
            return None
        return Cell("·" if value < 0.005 else f"{100 * value:.0f}", 100 * (value - low) / max(1e-9, 1 - low))

    rows = [(name, [cell(value) for value in row]) for name, row in zip(names, values, strict=True)]
    return HeatMap(caption, columns, rows)
