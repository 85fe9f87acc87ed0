"""Pictures as SVG: bars with their spread, and dots for single measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from gramme.bench.svg import FONT, INK, document, escape

_WIDTH: Final = 860
_LEFT: Final = 330
_RIGHT: Final = 90
_ROW: Final = 26
_TITLE: Final = 34
_BAR: Final = "#3b6ea8"
_DOT: Final = "#b0452c"


class Bar(msgspec.Struct, frozen=True):
    """A bar of length `middle`, with a line from `low` to `high`."""

    label: str
    low: float
    middle: float
    high: float


class Dots(msgspec.Struct, frozen=True):
    """Single measurements on one line."""

    label: str
    values: Sequence[float]


class Panel(msgspec.Struct, frozen=True):
    """A part of a picture with a scale of its own, which begins at nought."""

    title: str
    rows: Sequence[Bar | Dots]


def draw(panels: Sequence[Panel]) -> str:
    """The SVG document, one panel below the other; those without rows are left out."""
    rows: list[str] = []
    y = 10
    for panel in panels:
        if panel.rows:
            y = _panel(rows, panel, y) + 14
    return document(_WIDTH, y, rows)


def bar(label: str, values: Sequence[float]) -> Bar:
    """The median of `values`, with their spread."""
    return Bar(label, min(values), statistics.median(values), max(values))


def _panel(rows: list[str], panel: Panel, y: int) -> int:
    y = _title(rows, panel.title, y)
    scale = _scale(max((value for row in panel.rows for value in _values(row)), default=1.0))
    for row in panel.rows:
        y = _bar(rows, row, scale, y) if isinstance(row, Bar) else _dots(rows, row, scale, y)
    return y


def _values(row: Bar | Dots) -> Sequence[float]:
    return (row.high,) if isinstance(row, Bar) else row.values


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def _scale(largest: float) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / (largest or 1.0)


def _title(rows: list[str], text: str, y: int) -> int:
    rows.append(f"<text x='10' y='{y + 18}' {FONT} font-weight='bold' fill='{INK}'>{escape(text)}</text>")
    return y + _TITLE


def _label(rows: list[str], text: str, y: int) -> None:
    rows.append(f"<text x='{_LEFT - 10}' y='{y + 16}' text-anchor='end' {FONT} fill='{INK}'>{escape(text)}</text>")


def _bar(rows: list[str], bar: Bar, scale: float, y: int) -> int:
    _label(rows, bar.label, y)
    middle, low, high = (_LEFT + value * scale for value in (bar.middle, bar.low, bar.high))
    rows.append(f"<rect x='{_LEFT}' y='{y + 3}' width='{middle - _LEFT:.1f}' height='{_ROW - 8}' fill='{_BAR}'/>")
    at = y + _ROW // 2 - 1
    rows.append(f"<path d='M{low:.1f} {at} H{high:.1f}' stroke='{INK}' stroke-width='2'/>")
    rows.append(f"<text x='{high + 8:.1f}' y='{y + 16}' {FONT} fill='{INK}'>{_figure(bar.middle)}</text>")
    return y + _ROW


def _dots(rows: list[str], line: Dots, scale: float, y: int) -> int:
    _label(rows, line.label, y)
    at = y + _ROW // 2 - 1
    rows.append(f"<path d='M{_LEFT} {at} H{_WIDTH - _RIGHT}' stroke='#cccccc'/>")
    for value in line.values:
        rows.append(f"<circle cx='{_LEFT + value * scale:.1f}' cy='{at}' r='4' fill='{_DOT}' fill-opacity='0.55'/>")
    largest = max(line.values, default=0.0)
    rows.append(
        f"<text x='{_LEFT + largest * scale + 10:.1f}' y='{y + 16}' {FONT} fill='{INK}'>{_figure(largest)}</text>"
    )
    return y + _ROW
