"""Scores over resources: each equals kube-scheduler's formula, worked out for one node and one pod at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.placement import nodes as node_facts
from services.placement import pods as pod_facts
from services.scheduler.core import NodeId, NodeTable, PodClasses
from services.scheduler.core.plugin import UsageScore
from services.scheduler.core.plugins.balanced_allocation import BalancedAllocation
from services.scheduler.core.plugins.least_allocated import LeastAllocated
from services.scheduler.core.plugins.most_allocated import MostAllocated
from services.scheduler.core.plugins.node_resources_fit import NodeResourcesFit
from services.scheduler.core.plugins.requested_to_capacity_ratio import (
    RequestedToCapacityRatio,
    ShapePoint,
    broken_line,
)
from services.scheduler.core.plugins.resource_amounts import Resource
from tests.support.scheduling import make_node, make_pod

GPU = "example.com/gpu"
SHAPE = (ShapePoint(0, 0), ShapePoint(40, 9), ShapePoint(100, 3))

# requested, allocatable and weight of each resource → 0…100
Formula = Callable[[Sequence[tuple[int, int, int]]], int]


def least(amounts: Sequence[tuple[int, int, int]]) -> int:
    counted = [(0 if used > have else (have - used) * 100 // have, weight) for used, have, weight in amounts if have]
    return sum(score * weight for score, weight in counted) // sum(weight for _, weight in counted) if counted else 0


def most(amounts: Sequence[tuple[int, int, int]]) -> int:
    counted = [(min(used, have) * 100 // have, weight) for used, have, weight in amounts if have]
    return sum(score * weight for score, weight in counted) // sum(weight for _, weight in counted) if counted else 0


def ratio(amounts: Sequence[tuple[int, int, int]]) -> int:
    total = weights = 0
    for used, have, weight in amounts:
        if have:
            score = broken_line(SHAPE, 100 if used > have else used * 100 // have)
            if score > 0:
                total, weights = total + score * weight, weights + weight
    return math.floor(total / weights + 0.5) if weights else 0


def balanced(amounts: Sequence[tuple[int, int, int]]) -> int:
    shares = [min(used / have, 1.0) for used, have, _ in amounts if have]
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    else:
        deviation = 0.0
    return int((1 - deviation) * 100)


def one_by_one(
    formula: Formula, resources: Sequence[Resource], node: Mapping[str, str], placed: int, *, asked: bool
) -> int:
    """The formula for ``POD`` on a node that has ``placed`` pods like it."""
    have = node_facts.allocatable(make_node("n", **node))  # type: ignore[arg-type]
    one = pod_facts.requests(POD) if asked else pod_facts.non_zero_requests(POD)
    amounts = []
    for name, weight in resources:
        wants = one.get(name, 0) if name in ("cpu", "memory") else pod_facts.requests(POD).get(name, 0)
        if wants or name in ("cpu", "memory"):
            amounts.append((wants * (placed + 1), have.get(name, 0), weight))
    return formula(amounts)


POD = make_pod("p", cpu="300m", requests={GPU: "1"})

resource_lists = st.lists(
    st.builds(Resource, st.sampled_from(("cpu", "memory", GPU, "example.com/absent")), st.integers(1, 5)),
    min_size=1,
    max_size=4,
    unique_by=lambda resource: resource.name,
)
nodes = st.fixed_dictionaries(
    {"cpu": st.sampled_from(("1", "2500m", "7")), "memory": st.sampled_from(("1Gi", "3Gi", "900Mi"))},
    optional={GPU: st.sampled_from(("1", "3", "8"))},
)


@pytest.mark.parametrize(
    ("make", "formula", "asked"),
    [
        (LeastAllocated, least, False),
        (MostAllocated, most, False),
        (lambda resources: RequestedToCapacityRatio(SHAPE, resources), ratio, False),
        (lambda resources: BalancedAllocation(tuple(resource.name for resource in resources)), balanced, True),
    ],
    ids=["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio", "BalancedAllocation"],
)
@settings(deadline=None, max_examples=60)
@given(
    resources=resource_lists,
    cluster=st.lists(nodes, min_size=1, max_size=4),
    placed=st.integers(0, 3),
    extra=st.just(3),
)
def test_a_score_is_upstreams_formula(
    make: Callable[[tuple[Resource, ...]], UsageScore],
    formula: Formula,
    asked: bool,
    resources: list[Resource],
    cluster: list[dict[str, str]],
    placed: int,
    extra: int,
) -> None:
    table, classes = NodeTable(scheduler="s"), PodClasses()
    for number, shape in enumerate(cluster):
        table.upsert("rp-1", make_node(f"n{number}", **shape))  # type: ignore[arg-type]
        for index in range(placed):
            pod = make_pod(f"p{number}-{index}", cpu="300m", requests={GPU: "1"})
            table.assign(classes.info(pod), NodeId("rp-1", f"n{number}"))
    snapshot = table.freeze()
    kind = classes.classify(POD)
    row_of = {snapshot.nodes.ids[row].name: row for row in np.flatnonzero(snapshot.nodes.alive).tolist()}
    rows = np.asarray([row_of[f"n{number}"] for number in range(len(cluster))])
    found = make(tuple(resources)).score(kind, snapshot.nodes, snapshot.usage, rows, np.arange(extra)[:, None])
    asks = any(resource.name in kind.requests for resource in resources)
    expected = [
        [one_by_one(formula, resources, shape, placed + more, asked=asked) for shape in cluster]
        for more in range(extra)
    ]
    if found is None:
        # Nothing to say is the same as saying the same of every node.
        assert not asks or all(len(set(row)) == 1 for row in expected)
    else:
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("percent", "score"), [(0, 0), (10, 22), (39, 87), (40, 90), (41, 89), (70, 60), (99, 31), (100, 30)]
)
def test_a_shape_is_a_line_through_its_points(percent: int, score: int) -> None:
    assert broken_line(SHAPE, percent) == score


def test_a_shape_is_level_before_and_after_its_points() -> None:
    shape = (ShapePoint(20, 2), ShapePoint(60, 8))
    assert [broken_line(shape, percent) for percent in (0, 20, 60, 100)] == [20, 20, 80, 80]


def fits(plugin: NodeResourcesFit, **requests: str) -> bool:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("n"))
    snapshot = table.freeze()
    kind = PodClasses().classify(make_pod("p", requests=requests))
    rows = np.flatnonzero(snapshot.nodes.alive)
    passes = plugin.passes(kind, snapshot.nodes, snapshot.usage, rows, 0)
    short = plugin.reasons(kind, snapshot.nodes, snapshot.usage, rows)
    assert bool(passes[0]) != bool(short)
    assert (plugin.passes(kind, snapshot.nodes, snapshot.usage, rows, np.asarray([[0]])) == passes).all()
    return bool(passes[0])


def test_ignored_resources_are_somebody_elses_business() -> None:
    assert not fits(NodeResourcesFit(), **{GPU: "1"})
    assert fits(NodeResourcesFit(ignored=frozenset({GPU})), **{GPU: "1"})
    assert fits(NodeResourcesFit(ignored_groups=frozenset({"example.com"})), **{GPU: "1"})
    assert not fits(NodeResourcesFit(ignored_groups=frozenset({"other.com"})), **{GPU: "1"})
    assert not fits(NodeResourcesFit(ignored=frozenset({"cpu"})), cpu="99")
