"""Line charts as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from gramme.bench.svg import FONT, INK, document, escape

_LEFT: Final = 70
_TOP: Final = 40
_WIDTH: Final = 700
_HEIGHT: Final = 340
_LEGEND: Final = 20


class Line(msgspec.Struct, frozen=True):
    """Points (x, y) of one series; `dashed` without markers, for what is quoted."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


class Axis(msgspec.Struct, frozen=True):
    """`low` to `high`, both written out; `ticks` between them too. Logarithmic axes begin above nought."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def part(self, value: float) -> float:
        """Where `value` stands, from 0 to 1; what lies outside is drawn at the edge."""
        if self.logarithmic:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, part))


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """The SVG document."""
    height = _TOP + _HEIGHT + 60 + _LEGEND * len(lines)
    width = _LEFT + _WIDTH + 40
    parts = [
        _text(_LEFT, 24, title, " font-weight='bold'"),
        *_axes(x, y),
    ]
    for line in lines:
        parts += _line(line, x, y)
    for at, line in enumerate(lines):
        parts += _legend(line, _TOP + _HEIGHT + 62 + _LEGEND * at)
    return document(width, height, parts)


def ticks(high: float, count: int = 5) -> list[float]:
    """Round numbers from nought to at least `high`, about `count` of them."""
    if high <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(high / count))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step * count >= high)
    return [step * at for at in range(math.ceil(high / step) + 1)]


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {FONT} fill='{INK}'{more}>{escape(text)}</text>"


def _at(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    return _LEFT + x.part(point[0]) * _WIDTH, _TOP + (1 - y.part(point[1])) * _HEIGHT


def _axes(x: Axis, y: Axis) -> list[str]:
    bottom = _TOP + _HEIGHT
    parts = [f"<path d='M{_LEFT} {_TOP} V{bottom} H{_LEFT + _WIDTH}' stroke='{INK}' fill='none'/>"]
    for value in dict.fromkeys((x.low, *x.ticks, x.high)):
        at = _LEFT + x.part(value) * _WIDTH
        parts.append(_text(at, bottom + 18, f"{value:,.10g}", " text-anchor='middle'"))
    for value in dict.fromkeys((y.low, *y.ticks, y.high)):
        at = _TOP + (1 - y.part(value)) * _HEIGHT
        parts.append(f"<path d='M{_LEFT} {at:.1f} H{_LEFT + _WIDTH}' stroke='#dddddd'/>")
        parts.append(_text(_LEFT - 8, at + 4, f"{value:,.10g}", " text-anchor='end'"))
    parts.append(_text(_LEFT + _WIDTH / 2, bottom + 40, x.title, " text-anchor='middle'"))
    middle = _TOP + _HEIGHT / 2
    turned = f" text-anchor='middle' transform='rotate(-90 16 {middle:.1f})'"
    return [*parts, _text(16, middle, y.title, turned)]


def _line(line: Line, x: Axis, y: Axis) -> list[str]:
    places = [_at(x, y, point) for point in line.points]
    path = " L".join(f"{left:.1f} {top:.1f}" for left, top in places)
    dash = " stroke-dasharray='7 5'" if line.dashed else ""
    parts = [f"<path d='M{path}' fill='none' stroke='{line.colour}' stroke-width='2'{dash}/>"] if places else []
    if not line.dashed and len(places) <= 60:
        parts += [f"<circle cx='{left:.1f}' cy='{top:.1f}' r='4' fill='{line.colour}'/>" for left, top in places]
    return parts


def _legend(line: Line, y: float) -> list[str]:
    dash = " stroke-dasharray='7 5'" if line.dashed else ""
    return [
        f"<path d='M{_LEFT} {y - 4} H{_LEFT + 40}' stroke='{line.colour}' stroke-width='2'{dash}/>",
        _text(_LEFT + 50, y, line.label),
    ]
