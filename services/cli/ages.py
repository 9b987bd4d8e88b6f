"""Durations as kubectl prints them (apimachinery ``util/duration.HumanDuration``)."""

from __future__ import annotations

from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365 * DAY
UNKNOWN = "<unknown>"


def since(timestamp: Any, now: float) -> str:
    """From a protobuf timestamp to ``now`` (seconds since the epoch); ``<unknown>`` for one that is not set."""
    seconds = timestamp.seconds + timestamp.nanos / 1e9
    return human(now - seconds) if seconds else UNKNOWN


def human(duration_s: float) -> str:
    """Two units at most, the second one only while it matters."""
    seconds = int(duration_s)
    if duration_s < -1:
        return "<invalid>"
    if seconds < 2 * MINUTE:
        return f"{max(0, seconds)}s"
    if seconds < 10 * MINUTE:
        return _two(seconds, MINUTE, "m", 1, "s")
    if seconds < 3 * HOUR:
        return f"{seconds // MINUTE}m"
    if seconds < 8 * HOUR:
        return _two(seconds, HOUR, "h", MINUTE, "m")
    if seconds < 2 * DAY:
        return f"{seconds // HOUR}h"
    if seconds < 8 * DAY:
        return _two(seconds, DAY, "d", HOUR, "h")
    if seconds < 2 * YEAR:
        return f"{seconds // DAY}d"
    if seconds < 8 * YEAR:
        return _two(seconds, YEAR, "y", DAY, "d")
    return f"{seconds // YEAR}y"


def _two(seconds: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_name}" + (f"{rest}{small_name}" if rest else "")
