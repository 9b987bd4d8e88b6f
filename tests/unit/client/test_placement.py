"""Rendezvous hashing: stable, even, and moving as little as possible."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.placement import rendezvous

NAMES = st.lists(st.from_regex(r"tp-[0-9]{1,3}", fullmatch=True), min_size=1, max_size=8, unique=True)
TENANTS = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)


def test_the_choice_is_part_of_the_interface() -> None:
    assert {t: rendezvous(t, ["tp-1", "tp-2", "tp-3"]) for t in ("acme", "beta", "gamma", "delta")} == {
        "acme": "tp-3",
        "beta": "tp-1",
        "gamma": "tp-1",
        "delta": "tp-2",
    }


@given(TENANTS, NAMES)
def test_order_does_not_matter(tenant: str, names: list[str]) -> None:
    assert rendezvous(tenant, names) == rendezvous(tenant, names[::-1]) == rendezvous(tenant, sorted(names))


@given(TENANTS, NAMES)
def test_losing_another_partition_moves_nobody(tenant: str, names: list[str]) -> None:
    chosen = rendezvous(tenant, names)
    for lost in names:
        if lost != chosen:
            assert rendezvous(tenant, [name for name in names if name != lost]) == chosen


def test_tenants_spread_evenly() -> None:
    counts = Counter(rendezvous(f"tenant-{i}", ["tp-1", "tp-2", "tp-3", "tp-4"]) for i in range(4000))
    assert all(850 < count < 1150 for count in counts.values()), counts


def test_no_partition_is_an_error() -> None:
    with pytest.raises(ValueError, match="no partition"):
        rendezvous("acme", [])
