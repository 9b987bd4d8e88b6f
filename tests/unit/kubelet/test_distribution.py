"""Distributions and outages, as people write them."""

from __future__ import annotations

import statistics

import pytest

from services.base.rand import Rand
from services.kubelet.distribution import Distribution, Outage, duration_s


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("100ms", 0.1), ("2s", 2.0), ("1.5m", 90.0), ("1h30m", 5400.0), ("10us", 1e-5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1s 2s", "-1s", "1s-"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration_s(text)


def draws(text: str, count: int = 20_000) -> list[float]:
    rand, distribution = Rand(3), Distribution.parse(text)
    return [distribution.draw(rand) for _ in range(count)]


def test_each_shape_has_its_mean_and_its_bounds() -> None:
    assert set(draws("100ms", 5)) == {0.1}
    uniform = draws("50ms-2s")
    assert 0.05 <= min(uniform) < 0.06
    assert 1.99 < max(uniform) <= 2.0
    exponential = draws("exp:1s")
    assert statistics.mean(exponential) == pytest.approx(1.0, rel=0.05)
    assert statistics.median(exponential) == pytest.approx(0.693, rel=0.05)
    lognormal = draws("lognormal:200ms,0.5")
    assert statistics.median(lognormal) == pytest.approx(0.2, rel=0.05)
    assert statistics.mean(lognormal) == pytest.approx(0.2 * 1.1331, rel=0.05)
    assert set(draws("lognormal:200ms,0", 5)) == {0.2}


def test_the_same_seed_draws_the_same() -> None:
    assert draws("lognormal:200ms,0.5", 10) == draws("lognormal:200ms,0.5", 10)


@pytest.mark.parametrize(
    "text", ["", "soon", "2s-1s", "exp:", "exp:1", "lognormal:1s", "lognormal:1s,x", "lognormal:1s,-1", "gauss:1s"]
)
def test_what_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"want|duration|distribution|shorter"):
        Distribution.parse(text)


@pytest.mark.parametrize(
    ("text", "outage"),
    [
        ("1%", Outage(0.01)),
        ("0.25,for=10m", Outage(0.25, 0.0, 600.0)),
        ("1%,after=60s,for=600s", Outage(0.01, 60.0, 600.0)),
        ("100%,for=1s,after=0", Outage(1.0, 0.0, 1.0)),
    ],
)
def test_outages(text: str, outage: Outage) -> None:
    assert Outage.parse(text) == outage


@pytest.mark.parametrize("text", ["", "0%", "101%", "2", "1%,after", "1%,until=5s", "1%,for=5", "1%,for=1s,for=2s"])
def test_what_is_no_outage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"share|want|duration"):
        Outage.parse(text)
