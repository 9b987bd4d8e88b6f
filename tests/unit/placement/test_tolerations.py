"""Taints and tolerations match as in Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.api.pb.ursa.core.v1.pod_pb2 import Toleration
from services.placement.tolerations import tolerates, untolerated

TAINT = Taint(key="gpu", value="a100", effect="NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "matches"),
    [
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "disk", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "Equal", "value": "a100"}, True),
        ({"key": "gpu", "value": "a100", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "h100"}, False),
        ({"key": "gpu"}, False),
        ({"key": "gpu", "operator": "Like", "value": "a100"}, False),
        ({}, False),
    ],
)
def test_a_toleration_matches_a_taint(toleration: dict[str, Any], matches: bool) -> None:
    assert tolerates([Toleration(**toleration)], TAINT) is matches


def test_one_matching_toleration_is_enough_and_none_is_not() -> None:
    assert tolerates([Toleration(key="x"), Toleration(operator="Exists")], TAINT)
    assert not tolerates([], TAINT)


def test_untolerated_taints_are_those_of_the_effects_asked_for() -> None:
    taints = [
        TAINT,
        Taint(key="slow", effect="PreferNoSchedule"),
        Taint(key="down", effect="NoExecute"),
        Taint(key="held", effect="NoSchedule"),
    ]
    tolerations = [Toleration(key="held", operator="Exists")]
    assert [taint.key for taint in untolerated(taints, tolerations)] == ["gpu", "down"]
    assert [taint.key for taint in untolerated(taints, tolerations, ("PreferNoSchedule",))] == ["slow"]
    assert untolerated(taints, [Toleration(operator="Exists")]) == []
