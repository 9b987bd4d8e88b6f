"""Zones: their states, the rates that follow, and what happens when everything is lost."""

from __future__ import annotations

import pytest

from services.controllers.nodes.config import NodesConfig
from services.controllers.nodes.health import ZoneCount
from services.controllers.nodes.zones import Bucket, Disruption, Zones, ZoneState, rate, zone_state

CONFIG = NodesConfig()


@pytest.mark.parametrize(
    ("nodes", "unhealthy", "state"),
    [
        (10, 0, ZoneState.NORMAL),
        (3, 2, ZoneState.NORMAL),  # two are never a disruption, unless they are all
        (10, 5, ZoneState.NORMAL),
        (20, 11, ZoneState.PARTIAL),  # 55 %
        (20, 10, ZoneState.NORMAL),
        (4, 3, ZoneState.PARTIAL),
        (4, 4, ZoneState.FULL),
        (1, 1, ZoneState.FULL),
    ],
)
def test_the_state_of_a_zone(nodes: int, unhealthy: int, state: ZoneState) -> None:
    assert zone_state(ZoneCount(nodes, unhealthy), 0.55) is state


@pytest.mark.parametrize(
    ("state", "nodes", "wanted"),
    [
        (ZoneState.NORMAL, 10, 0.1),
        (ZoneState.FULL, 10, 0.1),
        (ZoneState.PARTIAL, 50, 0.0),
        (ZoneState.PARTIAL, 51, 0.01),
    ],
)
def test_the_rate_of_a_zone(state: ZoneState, nodes: int, wanted: float) -> None:
    assert rate(state, nodes, CONFIG) == wanted


def test_a_bucket_holds_one_token_however_long_nobody_takes_it() -> None:
    bucket = Bucket(0.0)
    bucket.set_rate(0.1, 0.0)
    assert bucket.take(0.0) and not bucket.take(9.0)
    assert bucket.take(10.0)
    assert bucket.take(1000.0) and not bucket.take(1000.0)


def test_at_a_rate_of_nothing_even_a_full_bucket_gives_nothing() -> None:
    bucket = Bucket(0.0)
    assert not bucket.take(100.0)
    bucket.set_rate(0.1, 100.0)
    assert bucket.take(100.0)


def counted(**zones: tuple[int, int]) -> dict[str, ZoneCount]:
    return {zone: ZoneCount(*count) for zone, count in zones.items()}


def test_nodes_are_granted_zone_by_zone_in_the_order_in_which_they_came() -> None:
    zones = Zones(CONFIG)
    zones.update(counted(a=(10, 2), b=(10, 1)), 0.0)
    for name, zone in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a1", "a")):
        zones.want(name, zone)
    assert zones.grant(0.0) == ["a1", "b1"]
    assert zones.grant(9.9) == []
    zones.spare("a2", "a")
    zones.want("a3", "a")
    assert zones.grant(10.0) == ["a3"]


def test_when_every_zone_is_lost_all_stops_and_its_end_is_told_once() -> None:
    zones = Zones(CONFIG)
    assert zones.update(counted(a=(2, 2), b=(2, 1)), 0.0) is Disruption.NONE
    zones.want("a1", "a")
    assert zones.update(counted(a=(2, 2), b=(2, 2)), 5.0) is Disruption.BEGINS
    assert zones.stopped and zones.grant(5.0) == []
    zones.want("a1", "a")
    assert not zones.is_waiting("a1", "a")
    assert zones.update(counted(a=(2, 2), b=(2, 2)), 10.0) is Disruption.LASTS
    assert zones.update(counted(a=(2, 2), b=(2, 1)), 15.0) is Disruption.ENDS
    assert zones.update(counted(a=(2, 2), b=(2, 1)), 20.0) is Disruption.NONE


def test_a_partition_without_nodes_is_not_a_lost_one() -> None:
    zones = Zones(CONFIG)
    assert zones.update({}, 0.0) is Disruption.NONE and not zones.stopped
