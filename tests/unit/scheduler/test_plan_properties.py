"""What every plan promises, over random clusters: it equals the slow one-by-one plan, is safe, and is repeatable."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import NodeSelectorRequirement, NodeSelectorTerm, Pod
from services.scheduler.core import NodeId, NodeTable, PodClasses, PodInfo, plan
from services.scheduler.core.plan import in_plan_order
from tests.support.scheduling import make_node, make_pod
from tests.unit.scheduler.clusters import batches, clusters
from tests.unit.scheduler.reference import ReferenceScheduler

SCHEDULER = "scheduler-under-test"

Cluster = list[tuple[str, Node]]


def table_of(cluster: Sequence[tuple[str, Node]], seed: int = 7) -> NodeTable:
    table = NodeTable(scheduler=SCHEDULER, seed=seed)
    for partition, node in cluster:
        table.upsert(partition, node)
    return table


def infos_of(pods: Sequence[Pod]) -> list[PodInfo]:
    classes = PodClasses()
    return [classes.info(pod) for pod in pods]


def planned(cluster: Sequence[tuple[str, Node]], pods: Sequence[PodInfo], seed: int = 7) -> dict[str, NodeId | None]:
    decided = plan(table_of(cluster, seed).freeze(), pods)
    where: dict[str, NodeId | None] = {placement.pod.uid: placement.node for placement in decided.placements}
    where.update((refused.pod.uid, None) for refused in decided.unschedulable)
    return where


def in_order(pods: Sequence[PodInfo]) -> list[PodInfo]:
    return [pod for alike in in_plan_order(pods) for pod in alike]


@settings(deadline=None, max_examples=150)
@given(clusters(), batches())
def test_a_plan_for_a_batch_equals_planning_pod_by_pod(cluster: Cluster, pods: list[Pod]) -> None:
    infos = infos_of(pods)
    table = table_of(cluster)
    one_by_one: dict[str, NodeId | None] = {}
    for pod in in_order(infos):
        decided = plan(table.freeze(), [pod])
        one_by_one[pod.uid] = decided.placements[0].node if decided.placements else None
        if decided.placements:
            table.assign(pod, decided.placements[0].node)
    assert planned(cluster, infos) == one_by_one


@settings(deadline=None, max_examples=150)
@given(clusters(), batches())
def test_a_plan_equals_the_slow_scheduler_written_from_the_rules(cluster: Cluster, pods: list[Pod]) -> None:
    infos, messages = infos_of(pods), {pod.metadata.uid: pod for pod in pods}
    slow = ReferenceScheduler(cluster, scheduler=SCHEDULER, seed=7)
    expected = {pod.uid: slow.place(messages[pod.uid]) for pod in in_order(infos)}
    assert planned(cluster, infos) == expected


@st.composite
def contests(draw: st.DrawFn) -> tuple[Cluster, list[Pod]]:
    """One class whose preferred nodes are few, small and of unequal weight: the normaliser's maximum leaves early."""
    cluster = []
    for number in range(draw(st.integers(3, 8))):
        node = make_node(
            f"node-{number}",
            cpu=draw(st.sampled_from(("500m", "2", "32"))),
            pods=draw(st.sampled_from(("1", "2", "9"))),
            labels={"zone": draw(st.sampled_from(("1", "2", "3")))},
            taints=[("old", str(n), "PreferNoSchedule") for n in range(draw(st.integers(0, 2)))],
        )
        cluster.append((draw(st.sampled_from(("rp-1", "rp-2"))), node))
    template = make_pod("", cpu="200m")
    for value, weight in (("1", 100), ("2", draw(st.integers(1, 30)))):
        wanted = NodeSelectorRequirement(key="zone", operator="In", values=[value])
        template.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution.add(
            weight=weight, preference=NodeSelectorTerm(match_expressions=[wanted])
        )
    pods = []
    for number in range(draw(st.integers(2, 12))):
        pod = Pod()
        pod.CopyFrom(template)
        pod.metadata.name = pod.metadata.uid = f"pod-{number}"
        pods.append(pod)
    return cluster, pods


@settings(deadline=None, max_examples=200)
@given(contests())
def test_scores_are_normalised_anew_when_the_maximum_has_left(contest: tuple[Cluster, list[Pod]]) -> None:
    cluster, pods = contest
    slow = ReferenceScheduler(cluster, scheduler=SCHEDULER, seed=7)
    assert planned(cluster, infos_of(pods)) == {pod.metadata.uid: slow.place(pod) for pod in pods}


@settings(deadline=None, max_examples=150)
@given(clusters(), batches())
def test_no_constraint_is_violated_and_no_feasible_pod_is_left(cluster: Cluster, pods: list[Pod]) -> None:
    where = planned(cluster, infos_of(pods))
    check = ReferenceScheduler(cluster, scheduler=SCHEDULER, seed=7)
    by_id = {node.id: node for node in check.nodes}
    for pod in pods:
        at = where[pod.metadata.uid]
        if at is not None:
            # Each pod still fits when all others of its node are there already, whatever the order.
            assert check.feasible(pod, by_id[at])
            by_id[at].placed.append(pod)
    for pod in pods:
        if where[pod.metadata.uid] is None:
            assert not any(check.feasible(pod, node) for node in check.nodes)


@settings(deadline=None, max_examples=75)
@given(clusters(), batches(), st.randoms(use_true_random=False))
def test_a_plan_is_repeatable_and_does_not_depend_on_the_order_of_nodes(
    cluster: Cluster, pods: list[Pod], shuffle: st.DataObject
) -> None:
    infos = infos_of(pods)
    first = planned(cluster, infos)
    shuffled = list(cluster)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    assert planned(cluster, infos) == first
    assert planned(shuffled, infos) == first


@settings(deadline=None, max_examples=50)
@given(clusters(), batches())
def test_planning_leaves_the_snapshot_as_it_was(cluster: Cluster, pods: list[Pod]) -> None:
    snapshot = table_of(cluster).freeze()
    infos = infos_of(pods)
    assert plan(snapshot, infos) == plan(snapshot, infos)
    assert not snapshot.usage.requested.any() and not snapshot.usage.scoring.any()
    assert not any(snapshot.usage.spread.total)
