"""Plots over time with events on them, stages stacked, and lines small enough for a table: SVG from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from services.bench.observe.observations import Floats, Mark
from services.bench.svg import Box, duration, opened, short, ticks

POINTS_MAX = 360
SPARK_POINTS_MAX = 120
COLOURS = 8


@dataclass(frozen=True)
class Line:
    """A named series; ``colour`` is one of eight. Values that are no number leave a gap."""

    text: str
    at: Floats
    values: Floats
    colour: int


def over_time(
    lines: Sequence[Line],
    seconds: float,
    title: str,
    *,
    unit: str = "",
    stacked: bool = False,
    limit: float | None = None,
    events: Sequence[Mark] = (),
) -> str:
    """Lines, or areas one upon the other, from 0 to ``seconds``, with their legend. ``limit``: a line across, shown
    when the values come near it. ``events`` are numbered as in their list."""
    drawn = [line for line in lines if len(line.at) and np.isfinite(line.values).any()]
    if not drawn or seconds <= 0:
        return '<p class="soft">Nothing was measured.</p>'
    grid = _grid(drawn, seconds)
    columns = [_sampled(line, grid) for line in drawn]
    tops = np.cumsum(np.nan_to_num(np.array(columns)), axis=0) if stacked else np.array(columns)
    highest = float(np.nanmax(tops)) if np.isfinite(tops).any() else 0.0
    if limit is not None and highest >= limit / 4:
        highest = max(highest, limit)
    peak = highest * 1.06 or 1.0
    box = Box(560, 230, left=58, right=14, top=18, bottom=28)
    parts = [opened(box, title), *_axes(box, peak, seconds, unit)]
    for number, (line, top) in enumerate(zip(drawn, tops, strict=True)):
        below = (tops[number - 1] if number else np.zeros(len(grid))) if stacked else None
        parts += _drawn(box, line.colour, grid / seconds, top / peak, None if below is None else below / peak)
    if limit is not None and limit <= peak:
        y = box.y(limit / peak)
        parts.append(f'<line class="limit" x1="{box.left}" x2="{box.x(1)}" y1="{y}" y2="{y}"/>')
    parts += _events(box, events, seconds)
    keys = "".join(f'<span class="key swatch s{line.colour}">{escape(line.text)}</span>' for line in drawn)
    return f'{"".join(parts)}</svg><div class="legend">{keys}</div>'


def spark(at: Floats, values: Floats, seconds: float, colour: int, title: str) -> str:
    """A line for a table's cell, from 0 to its own highest value; empty without values."""
    line = Line("", at, values, colour)
    if seconds <= 0 or not np.isfinite(values).any():
        return ""
    grid = _grid([line], seconds, SPARK_POINTS_MAX)
    column = _sampled(line, grid)
    peak = float(np.nanmax(column)) or 1.0
    box = Box(150, 26, left=1, right=1, top=2, bottom=2)
    marks = _drawn(box, colour, grid / seconds, column / peak, None)
    return f'<svg class="spark" viewBox="0 0 150 26" role="img" aria-label="{escape(title)}">{"".join(marks)}</svg>'


def stacked_stages(rows: Mapping[str, Mapping[str, float]], title: str) -> str:
    """A bar per row, its stages one after the other, in seconds; the numbers of wide parts inside, the sum behind."""
    longest = max((sum(stages.values()) for stages in rows.values()), default=0.0)
    if longest <= 0:
        return '<p class="soft">No pod has every stage.</p>'
    height = 34
    box = Box(1120, 30 + height * len(rows), left=44, right=84, top=4, bottom=26)
    parts = [opened(box, title)]
    for tick in ticks(0.0, longest * 1000.0, 8):
        x = box.x(tick / 1000.0 / longest)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{box.top}" y2="{box.y(0)}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{box.y(0) + 17}" text-anchor="middle">{duration(tick)}</text>')
    for index, (name, stages) in enumerate(rows.items()):
        y = box.top + height * index + 5
        parts.append(f'<text class="row" x="{box.left - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>')
        at = 0.0
        for number, (stage, seconds) in enumerate(stages.items()):
            left, right = box.x(at / longest), box.x((at + seconds) / longest)
            at += seconds
            width = round(right - left, 1)
            label = duration(_rounded(seconds * 1000.0))
            parts.append(
                f'<rect class="band s{number % COLOURS}" x="{left}" y="{y}" width="{width}" height="24">'
                f"<title>{escape(stage)}: {label}</title></rect>"
            )
            if width > 9 + 6.5 * len(label):
                middle = round((left + right) / 2, 1)
                parts.append(f'<text class="inside" x="{middle}" y="{y + 16}" text-anchor="middle">{label}</text>')
        end = box.x(at / longest) + 8
        parts.append(f'<text class="row" x="{end}" y="{y + 16}">{duration(_rounded(at * 1000.0))}</text>')
    return "".join(parts) + "</svg>"


def bytes_text(value: float) -> str:
    """``512 B``, ``1.5 MB``, ``12 GB``: powers of ten."""
    if not math.isfinite(value):
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{short(_rounded(value / size))} {unit}"
    return f"{short(_rounded(value))} B"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}") if math.isfinite(value) else 0.0


def _grid(lines: Sequence[Line], seconds: float, most: int = POINTS_MAX) -> Floats:
    """The times at which all lines are drawn: not more than can be seen."""
    longest = max(len(line.at) for line in lines)
    grid: Floats = np.linspace(0.0, seconds, min(max(longest, 2), most))
    return grid


def _sampled(line: Line, grid: Floats) -> Floats:
    """The highest of the values around each time of ``grid``; between two looks that are far apart, the line between
    them; not a number outside of what was seen, and in gaps."""
    known = np.isfinite(line.values)
    if len(line.at) > len(grid):
        cell = np.clip(np.searchsorted(grid, line.at), 0, len(grid) - 1)
        column = np.full(len(grid), -np.inf)
        np.maximum.at(column, cell[known], line.values[known])
        column[~np.isfinite(column)] = np.nan
        holes = ~np.isfinite(column)
    else:
        column, holes = np.full(len(grid), np.nan), np.ones(len(grid), dtype=bool)
    # The first look is never quite at 0, and the last never quite at the end.
    reach = 1.5 * max(float(np.median(np.diff(line.at))) if len(line.at) > 1 else 0.0, float(grid[1] - grid[0]))
    inside = holes & (grid >= line.at[0] - reach) & (grid <= line.at[-1] + reach)
    column[inside] = np.interp(grid[inside], line.at, line.values)
    return column


def _axes(box: Box, peak: float, seconds: float, unit: str) -> list[str]:
    parts = []
    scale, suffix = (1.0, unit) if unit not in ("B", "B/s") else _byte_scale(peak, unit)
    for tick in ticks(0.0, peak / scale, 4):
        y = box.y(tick * scale / peak)
        parts.append(f'<line class="grid" x1="{box.left}" x2="{box.x(1)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{box.left - 8}" y="{y + 4}" text-anchor="end">{short(tick)}</text>')
    if suffix:
        parts.append(f'<text class="tick" x="{box.left - 8}" y="{box.top - 7}" text-anchor="end">{suffix}</text>')
    minutes = seconds > 300
    for tick in ticks(0.0, seconds / (60.0 if minutes else 1.0), 6):
        x = box.x(tick * (60.0 if minutes else 1.0) / seconds)
        text = f"{short(tick)} {'min' if minutes else 's'}"
        parts.append(f'<text class="tick" x="{x}" y="{box.y(0) + 17}" text-anchor="middle">{text}</text>')
    return [*parts, f'<line class="axis" x1="{box.left}" x2="{box.x(1)}" y1="{box.y(0)}" y2="{box.y(0)}"/>']


def _byte_scale(peak: float, unit: str) -> tuple[float, str]:
    for name, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if peak >= size:
            return size, name + unit
    return 1.0, unit


def _drawn(box: Box, colour: int, xs: Floats, ys: Floats, below: Floats | None) -> list[str]:
    """A polyline per stretch without gaps, or an area down to ``below``; a stretch of one value is a dot."""
    if below is not None:
        up = " ".join(f"{box.x(x)},{box.y(y)}" for x, y in zip(xs, ys, strict=True))
        down = " ".join(f"{box.x(x)},{box.y(y)}" for x, y in zip(xs[::-1], below[::-1], strict=True))
        return [f'<polygon class="band s{colour}" points="{up} {down}"/>']
    parts = []
    finite = np.isfinite(ys)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], finite, [False])).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start == 1:
            parts.append(f'<circle class="dot s{colour}" cx="{box.x(xs[start])}" cy="{box.y(ys[start])}" r="2.5"/>')
            continue
        points = " ".join(f"{box.x(x)},{box.y(y)}" for x, y in zip(xs[start:end], ys[start:end], strict=True))
        parts.append(f'<polyline class="line s{colour}" points="{points}"/>')
    return parts


def _events(box: Box, events: Sequence[Mark], seconds: float) -> list[str]:
    parts, free_from = [], -math.inf
    for number, event in enumerate(events, 1):
        x = box.x(min(max(event.at_s / seconds, 0.0), 1.0))
        parts.append(
            f'<line class="event" x1="{x}" x2="{x}" y1="{box.top}" y2="{box.y(0)}">'
            f"<title>{escape(event.text)}</title></line>"
        )
        # Numbers that would overlap are left out: the list has them all.
        if x >= free_from:
            text = str(number)
            parts.append(f'<text class="event" x="{x}" y="{box.top - 4}" text-anchor="middle">{text}</text>')
            free_from = x + 4 + 7 * len(text)
    return parts
