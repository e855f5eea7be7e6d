"""A chart as SVG, drawn without a library: what a bench measured, at a glance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias
from xml.sax.saxutils import escape

from msgspec import Struct, convert

Scale: TypeAlias = Literal["linear", "log"]
Point = tuple[float, float]
_WIDTH: Final = 720
_HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 40, 56
_COLOURS: Final = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#566573")
_STEPS: Final = 5
_MARKED_MAX: Final = 60  # more points than this are a line only


class Chart(Struct, frozen=True, kw_only=True):
    """What is drawn.

    Attributes
    ----------
    x, y
        What the axes show, with their units.
    series
        Name -> points, in the order of x.
    x_scale
        ``log``: for x from 10 to 10,000,000, say; then every x is above 0.
    """

    title: str
    x: str
    y: str
    series: dict[str, list[Point]]
    x_scale: Scale = "linear"


def to_svg(charts: Sequence[Mapping[str, Any]]) -> str:
    """Return charts, given as plain objects, one below another.

    Examples
    --------
    >>> chart = Chart(title="t", x="s", y="MiB", series={"a": [(0, 1), (1, 3)]})
    >>> import msgspec
    >>> to_svg([msgspec.to_builtins(chart)]).startswith("<svg")
    True
    """
    drawn = [_draw(convert(chart, Chart), k * _HEIGHT) for k, chart in enumerate(charts)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT * len(drawn)}" '
        'font-family="sans-serif" font-size="12">\n'
        '<rect width="100%" height="100%" fill="white"/>\n' + "".join(drawn) + "</svg>\n"
    )


class _Axis(Struct, frozen=True):
    """From values to pixels."""

    low: float
    high: float
    first: float
    last: float
    scale: Scale = "linear"

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, it = (_scaled(v, self.scale) for v in (self.low, self.high, value))
        share = (it - low) / (high - low) if high > low else 0.5
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[float]:
        """Return where to write a number."""
        if self.scale == "log":
            ends = (math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            powers = [10.0**k for k in range(ends[0], ends[1] + 1)]
            return [p for p in powers if self.low <= p <= self.high] or [self.low, self.high]
        step = _round_step((self.high - self.low) / _STEPS)
        begin = math.ceil(self.low / step)
        return [k * step for k in range(begin, math.floor(self.high / step) + 1)]


def _scaled(value: float, scale: Scale) -> float:
    return math.log10(value) if scale == "log" else value


def _round_step(rough: float) -> float:
    """Return the next larger of 1, 2, 5, 10 … times a power of ten."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= rough)


def _draw(chart: Chart, top: int) -> str:
    points = [point for series in chart.series.values() for point in series] or [(1.0, 0.0)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_axis = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, chart.x_scale)
    y_axis = _Axis(min(0.0, *ys), max(ys) * 1.05 or 1.0, top + _HEIGHT - _BOTTOM, top + _TOP)
    middle = top + (_HEIGHT - _BOTTOM + _TOP) / 2
    parts = [
        _text(_LEFT, top + 20, chart.title, 'font-weight="bold"'),
        _text((_LEFT + _WIDTH) / 2, top + _HEIGHT - 8, chart.x, 'text-anchor="middle"'),
        _text(
            16, middle, chart.y, f'text-anchor="middle" transform="rotate(-90 16 {round(middle)})"'
        ),
        *(_x_tick(x_axis, y_axis, tick) for tick in x_axis.ticks()),
        *(_y_tick(x_axis, y_axis, tick) for tick in y_axis.ticks()),
    ]
    for k, (name, series) in enumerate(chart.series.items()):
        colour = _COLOURS[k % len(_COLOURS)]
        parts.append(_line(x_axis, y_axis, series, colour))
        place = _LEFT + 8 + 150 * k
        parts.append(_text(place, top + _TOP - 6, name, f'fill="{colour}"'))
    return "".join(parts)


def _line(x_axis: _Axis, y_axis: _Axis, series: Sequence[Point], colour: str) -> str:
    places = [(x_axis.at(x), y_axis.at(y)) for x, y in series]
    path = " ".join(f"{x},{y}" for x, y in places)
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>\n'
    if len(places) <= _MARKED_MAX:
        drawn += "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>\n' for x, y in places)
    return drawn


def _x_tick(x_axis: _Axis, y_axis: _Axis, value: float) -> str:
    x = x_axis.at(value)
    return _rule(x, y_axis.first, x, y_axis.last) + _text(
        x, y_axis.first + 18, f"{value:,.10g}", 'text-anchor="middle"'
    )


def _y_tick(x_axis: _Axis, y_axis: _Axis, value: float) -> str:
    y = y_axis.at(value)
    return _rule(x_axis.first, y, x_axis.last, y) + _text(
        x_axis.first - 8, y + 4, f"{value:,.10g}", 'text-anchor="end"'
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>\n'


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}" {more}>{escape(words)}</text>\n'
