"""Plots as inline SVG, drawn from numbers alone: no scripts, nothing fetched. Colours are the page's classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np


@dataclass(frozen=True)
class Mark:
    """A horizontal line at ``value`` with a name; ``css`` is its class."""

    value: float
    text: str
    css: str


@dataclass(frozen=True)
class Spread:
    """A row of percentiles: p50, p90 and p99 in milliseconds, and the group that its colour tells. ``limit``: what the
    p99 is held against, 0 for nothing."""

    text: str
    p50: float
    p90: float
    p99: float
    css: str
    limit: float = 0.0


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2, 5 × 10ⁿ apart) from ``low`` to ``high``."""
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """``12,300``, ``4.5``, ``0.02``: no more digits than one reads."""
    if value >= 100 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rates(at: np.ndarray, seconds: float, bins: int = 64) -> tuple[np.ndarray, float]:
    """Events per second in equal bins from 0 to ``seconds`` (float64), and a bin's width."""
    width = max(seconds / bins, 0.02)
    count = max(1, math.ceil(seconds / width - 1e-9))
    counted, _ = np.histogram(at, bins=count, range=(0.0, count * width))
    return counted / width, width


def over_time(values: np.ndarray, width_s: float, marks: Sequence[Mark], title: str) -> str:
    """An area of ``values`` over time, bins of ``width_s`` each, with lines across it."""
    box = Box(560, 250, left=52, right=104, top=12, bottom=30)
    end = max(width_s * len(values), 1e-9)
    peak = max([float(values.max(initial=0.0)), *(mark.value for mark in marks)]) * 1.06 or 1.0
    parts = [opened(box, title)]
    for tick in ticks(0.0, peak):
        y = box.y(tick / peak)
        parts.append(f'<line class="grid" x1="{box.left}" x2="{box.x(1)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{box.left - 8}" y="{y + 4}" text-anchor="end">{short(tick)}</text>')
    for tick in ticks(0.0, end, 5):
        x = box.x(tick / end)
        parts.append(f'<text class="tick" x="{x}" y="{box.y(0) + 18}" text-anchor="middle">{short(tick)} s</text>')
    points = []
    for index, value in enumerate(values):
        y = box.y(value / peak)
        points += [f"{box.x(index * width_s / end)},{y}", f"{box.x((index + 1) * width_s / end)},{y}"]
    base = box.y(0)
    parts.append(f'<polygon class="area" points="{box.left},{base} {" ".join(points)} {box.x(1)},{base}"/>')
    parts.append(f'<polyline class="edge" points="{" ".join(points)}"/>')
    parts += _marks(box, marks, peak)
    parts.append(f'<line class="axis" x1="{box.left}" x2="{box.x(1)}" y1="{base}" y2="{base}"/></svg>')
    return "".join(parts)


def _marks(box: Box, marks: Sequence[Mark], peak: float) -> list[str]:
    parts, lowest = [], -math.inf
    for mark in sorted(marks, key=lambda one: -one.value):
        y = box.y(mark.value / peak)
        # Names of lines that are close would overlap: each keeps a line's height from the one above.
        text_y = max(y + 4, lowest + 13)
        lowest = text_y
        parts.append(f'<line class="mark {mark.css}" x1="{box.left}" x2="{box.x(1)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="name {mark.css}" x="{box.x(1) + 8}" y="{text_y}">{escape(mark.text)}</text>')
    return parts


def spreads(rows: Sequence[Spread], title: str) -> str:
    """A row each on a logarithmic axis: a bar from p50 to p99, a notch at p90, a line at the limit."""
    row_height = 24
    box = Box(560, 38 + row_height * len(rows), left=190, right=132, top=8, bottom=30)
    found = [value for row in rows for value in (row.p50, row.p99, row.limit) if value > 0]
    low = 10.0 ** math.floor(math.log10(min(found, default=1.0)))
    high = 10.0 ** math.ceil(math.log10(max(found, default=10.0)) + 1e-9)
    span = math.log10(high / low) or 1.0

    def x(value: float) -> float:
        return box.x(math.log10(max(value, low) / low) / span)

    parts = [opened(box, title)]
    for power in range(round(span) + 1):
        at = low * 10.0**power
        parts.append(f'<line class="grid" x1="{x(at)}" x2="{x(at)}" y1="{box.top}" y2="{box.y(0)}"/>')
        parts.append(f'<text class="tick" x="{x(at)}" y="{box.y(0) + 18}" text-anchor="middle">{duration(at)}</text>')
    for index, row in enumerate(rows):
        y = box.top + row_height * index + row_height / 2
        end = max(x(row.p99), x(row.p50) + 2)
        parts.append(f'<text class="row" x="{box.left - 10}" y="{y + 4}" text-anchor="end">{escape(row.text)}</text>')
        parts.append(
            f'<rect class="bar {row.css}" x="{x(row.p50)}" y="{y - 6}" width="{round(end - x(row.p50), 1)}"'
            ' height="12" rx="3"/>'
        )
        parts.append(f'<line class="notch" x1="{x(row.p90)}" x2="{x(row.p90)}" y1="{y - 6}" y2="{y + 6}"/>')
        if row.limit:
            at = x(row.limit)
            parts.append(f'<line class="limit" x1="{at}" x2="{at}" y1="{y - 8}" y2="{y + 8}"/>')
        numbers = f"{short(_rounded(row.p50))} / {short(_rounded(row.p90))} / {short(_rounded(row.p99))}"
        parts.append(f'<text class="name" x="{box.x(1) + 8}" y="{y + 4}">{numbers}</text>')
    return "".join(parts) + "</svg>"


def duration(milliseconds: float) -> str:
    """``12 ms``, ``1.5 s``."""
    return f"{short(milliseconds / 1000.0)} s" if milliseconds >= 1000.0 else f"{short(milliseconds)} ms"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True)
class Box:
    """The plot's size, and the space left around it; ``x`` and ``y`` take shares from 0 to 1."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    def x(self, share: float) -> float:
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, share: float) -> float:
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)


def opened(box: Box, title: str) -> str:
    """The start of a plot; the caller closes it with ``</svg>``."""
    return f'<svg viewBox="0 0 {box.width} {box.height}" role="img" aria-label="{escape(title)}">'
