"""Durations as kubectl writes them."""

from __future__ import annotations

import pytest

from services.cli.ages import DAY, HOUR, MINUTE, YEAR, human


# From apimachinery's own table (pkg/util/duration/duration_test.go).
@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (0.9, "0s"),
        (70, "70s"),
        (119, "119s"),
        (3 * MINUTE, "3m"),
        (2 * MINUTE + 3, "2m3s"),
        (9 * MINUTE + 59, "9m59s"),
        (11 * MINUTE, "11m"),
        (2 * HOUR + 59 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (7 * HOUR + 59 * MINUTE, "7h59m"),
        (8 * HOUR + 59 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (49 * HOUR, "2d1h"),
        (8 * DAY, "8d"),
        (729 * DAY, "729d"),
        (2 * YEAR + DAY, "2y1d"),
        (9 * YEAR, "9y"),
    ],
)
def test_human(seconds: float, text: str) -> None:
    assert human(seconds) == text
