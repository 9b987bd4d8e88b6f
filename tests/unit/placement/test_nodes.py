"""What a node offers, and why a pod does not fit."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.placement import nodes


def test_allocatable_is_in_canonical_units() -> None:
    node = Node()
    node.status.capacity.update({"cpu": "32", "memory": "256Gi", "pods": "110", "example.com/gpu": "8"})
    assert nodes.allocatable(node) == {"cpu": 32000, "memory": 2**38, "pods": 110, "example.com/gpu": 8}
    node.status.allocatable.update({"cpu": "31500m", "pods": "100"})
    assert nodes.allocatable(node) == {"cpu": 31500, "pods": 100}


@pytest.mark.parametrize(("status", "ready"), [("True", True), ("False", False), ("Unknown", False), (None, False)])
def test_ready_is_the_condition_and_nothing_else(status: str | None, ready: bool) -> None:
    node = Node()
    node.status.conditions.add(type="MemoryPressure", status="True")
    if status is not None:
        node.status.conditions.add(type="Ready", status=status)
    assert nodes.is_ready(node) is ready


OFFERED = {"cpu": 1000, "memory": 100, "pods": 2}


@pytest.mark.parametrize(
    ("requests", "used", "pods_used", "reasons"),
    [
        ({}, {}, 0, []),
        ({"cpu": 1000, "memory": 100}, {}, 1, []),
        ({"cpu": 1001}, {}, 0, ["Insufficient cpu"]),
        ({"cpu": 1}, {"cpu": 1000}, 0, ["Insufficient cpu"]),
        ({"cpu": 0}, {"cpu": 2000}, 0, []),
        ({"cpu": 1}, {"cpu": 2000}, 0, ["Insufficient cpu"]),
        ({}, {"cpu": 2000}, 2, ["Too many pods"]),
        ({"cpu": 1001, "memory": 101}, {}, 2, ["Too many pods", "Insufficient cpu", "Insufficient memory"]),
        ({"example.com/gpu": 1}, {}, 0, ["Insufficient example.com/gpu"]),
    ],
)
def test_fits_says_why_not(requests: dict[str, int], used: dict[str, int], pods_used: int, reasons: list[str]) -> None:
    assert nodes.fits(requests, OFFERED, used, pods_used) == reasons


def test_a_node_that_says_no_number_of_pods_takes_none() -> None:
    assert nodes.fits({}, {"cpu": 1000}, {}, 0) == ["Too many pods"]
