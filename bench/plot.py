"""One picture of the figures, as an SVG written by hand: bars with their spread, and a dot for every failover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

import msgspec

_WIDTH: Final = 860
_LEFT: Final = 330
_RIGHT: Final = 90
_ROW: Final = 26
_TITLE: Final = 34
_FONT: Final = "font-family='system-ui, sans-serif' font-size='13'"
_BAR: Final = "#3b6ea8"
_DOT: Final = "#b0452c"
_INK: Final = "#222222"


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


def draw(bars_title: str, bars: Sequence[Bar], dots_title: str, dots: Sequence[Dots]) -> str:
    """The SVG document: bars above, dots below, each part with a scale of its own that begins at nought."""
    rows: list[str] = []
    y = 10
    if bars:
        y = _title(rows, bars_title, y)
        scale = _scale(max(bar.high for bar in bars))
        for bar in bars:
            y = _bar(rows, bar, scale, y)
        y += 14
    if dots:
        y = _title(rows, dots_title, y)
        scale = _scale(max((value for line in dots for value in line.values), default=1.0))
        for line in dots:
            y = _dots(rows, line, scale, y)
    body = "\n".join(rows)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {y + 10}' width='{_WIDTH}' height='{y + 10}'>\n"
        f"<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"
    )


def _scale(largest: float) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / (largest or 1.0)


def _title(rows: list[str], text: str, y: int) -> int:
    rows.append(f"<text x='10' y='{y + 18}' {_FONT} font-weight='bold' fill='{_INK}'>{escape(text)}</text>")
    return y + _TITLE


def _label(rows: list[str], text: str, y: int) -> None:
    rows.append(f"<text x='{_LEFT - 10}' y='{y + 16}' text-anchor='end' {_FONT} fill='{_INK}'>{escape(text)}</text>")


def _bar(rows: list[str], bar: Bar, scale: float, y: int) -> int:
    _label(rows, bar.label, y)
    middle, low, high = (_LEFT + value * scale for value in (bar.middle, bar.low, bar.high))
    rows.append(f"<rect x='{_LEFT}' y='{y + 3}' width='{middle - _LEFT:.1f}' height='{_ROW - 8}' fill='{_BAR}'/>")
    at = y + _ROW // 2 - 1
    rows.append(f"<path d='M{low:.1f} {at} H{high:.1f}' stroke='{_INK}' stroke-width='2'/>")
    rows.append(f"<text x='{high + 8:.1f}' y='{y + 16}' {_FONT} fill='{_INK}'>{bar.middle:,.0f}</text>")
    return y + _ROW


def _dots(rows: list[str], line: Dots, scale: float, y: int) -> int:
    _label(rows, line.label, y)
    at = y + _ROW // 2 - 1
    rows.append(f"<path d='M{_LEFT} {at} H{_WIDTH - _RIGHT}' stroke='#cccccc'/>")
    for value in line.values:
        rows.append(f"<circle cx='{_LEFT + value * scale:.1f}' cy='{at}' r='4' fill='{_DOT}' fill-opacity='0.55'/>")
    largest = max(line.values, default=0.0)
    rows.append(
        f"<text x='{_LEFT + largest * scale + 10:.1f}' y='{y + 16}' {_FONT} fill='{_INK}'>{largest:,.0f}</text>"
    )
    return y + _ROW
