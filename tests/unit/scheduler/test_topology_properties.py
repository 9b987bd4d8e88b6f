"""Plans with constraints that look at other nodes, over random clusters: equal to the slow scheduler's, and safe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable, PodClasses, plan
from services.scheduler.core.feasibility import feasible
from services.scheduler.core.plan import in_plan_order
from tests.support.scheduling import make_node, make_pod
from tests.unit.scheduler.reference import ReferenceScheduler
from tests.unit.scheduler.topologies import HOSTNAME, NAMESPACES, THEMES, batches, clusters, contestants, populations

SCHEDULER = "scheduler-under-test"

Cluster = list[tuple[str, Node]]
Population = Sequence[tuple[Pod, int]]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Cluster, Population, list[Pod]]:
    theme, cluster = draw(st.sampled_from(THEMES)), draw(clusters())
    return cluster, draw(populations(theme, cluster)), draw(batches(theme))


def table_of(cluster: Cluster, placed: Population, classes: PodClasses) -> NodeTable:
    table = NodeTable(scheduler=SCHEDULER, seed=7)
    for (tenant, name), labels in NAMESPACES.items():
        table.set_namespace(tenant, name, labels)
    for partition, node in cluster:
        table.upsert(partition, node)
    for pod, at in placed:
        table.assign(classes.info(pod), node_id(cluster[at]))
    return table


def node_id(known: tuple[str, Node]) -> NodeId:
    return NodeId(known[0], known[1].metadata.name)


def reference_of(cluster: Cluster, placed: Population) -> ReferenceScheduler:
    slow = ReferenceScheduler(cluster, scheduler=SCHEDULER, seed=7, namespaces=NAMESPACES)
    for pod, at in placed:
        slow.nodes[at].placed.append(pod)
    return slow


@settings(deadline=None, max_examples=200)
@given(worlds())
def test_a_plan_equals_the_slow_scheduler_written_from_the_rules(world: tuple[Cluster, Population, list[Pod]]) -> None:
    cluster, placed, pods = world
    classes = PodClasses()
    table, slow = table_of(cluster, placed, classes), reference_of(cluster, placed)
    messages = {pod.metadata.uid: pod for pod in pods}
    infos = [classes.info(pod) for pod in pods]
    decided = plan(table.freeze(), infos)
    where: dict[str, NodeId | None] = {placement.pod.uid: placement.node for placement in decided.placements}
    where.update((refused.pod.uid, None) for refused in decided.unschedulable)
    expected = {pod.uid: slow.place(messages[pod.uid]) for alike in in_plan_order(infos) for pod in alike}
    assert where == expected


@st.composite
def contests(draw: st.DrawFn) -> tuple[Cluster, Population, list[Pod]]:
    """One class, and small nodes that fill up: what is normalised over the feasible nodes changes all the time."""
    cluster = []
    for number in range(draw(st.integers(3, 8))):
        labels = {HOSTNAME: f"node-{number}", "zone": draw(st.sampled_from(("1", "2", "3", "4")))}
        node = make_node(
            f"node-{number}",
            cpu=draw(st.sampled_from(("500m", "1", "16"))),
            pods=draw(st.sampled_from(("1", "2", "5"))),
            labels={**labels, "rank": draw(st.sampled_from(("low", "high")))},
            taints=[("k", "", draw(st.sampled_from(("NoSchedule", "PreferNoSchedule"))))]
            if draw(st.booleans())
            else [],
        )
        cluster.append((draw(st.sampled_from(("rp-1", "rp-1", "rp-2"))), node))
    template = draw(contestants())
    pods = []
    for number in range(draw(st.integers(3, 14))):
        pod = Pod()
        pod.CopyFrom(template)
        pod.metadata.name = pod.metadata.uid = f"pod-{number}"
        pods.append(pod)
    old = []
    for number in range(draw(st.integers(0, 4))):
        pod = make_pod(f"old-{number}", tenant="red", namespace="one", cpu="100m", labels={"app": "a"})
        old.append((pod, draw(st.integers(0, len(cluster) - 1))))
    return cluster, old, pods


@settings(deadline=None, max_examples=300)
@given(contests())
def test_what_is_normalised_is_normalised_anew_when_nodes_fill_up(
    contest: tuple[Cluster, Population, list[Pod]],
) -> None:
    cluster, placed, pods = contest
    classes = PodClasses()
    slow = reference_of(cluster, placed)
    decided = plan(table_of(cluster, placed, classes).freeze(), [classes.info(pod) for pod in pods])
    where = {placement.pod.uid: placement.node for placement in decided.placements}
    assert [where.get(pod.metadata.uid) for pod in pods] == [slow.place(pod) for pod in pods]


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_a_plan_for_a_batch_equals_planning_pod_by_pod(world: tuple[Cluster, Population, list[Pod]]) -> None:
    cluster, placed, pods = world
    classes = PodClasses()
    table = table_of(cluster, placed, classes)
    infos = [classes.info(pod) for pod in pods]
    decided = plan(table.freeze(), infos)
    together = {placement.pod.uid: placement.node for placement in decided.placements}
    one_by_one = {}
    for pod in (pod for alike in in_plan_order(infos) for pod in alike):
        for placement in plan(table.freeze(), [pod]).placements:
            one_by_one[pod.uid] = placement.node
            table.assign(pod, placement.node)
    assert together == one_by_one


@settings(deadline=None, max_examples=100)
@given(worlds(), st.data())
def test_feasible_nodes_are_those_of_the_rules_and_pods_taken_away_leave_no_trace(
    world: tuple[Cluster, Population, list[Pod]], data: st.DataObject
) -> None:
    cluster, placed, pods = world
    classes = PodClasses()
    snapshot = table_of(cluster, placed, classes).freeze()
    gone = data.draw(st.sets(st.integers(0, len(placed) - 1)))
    row_of = {snapshot.nodes.ids[row]: row for row in np.flatnonzero(snapshot.nodes.alive).tolist()}
    usage = snapshot.usage.without(
        (classes.classify(placed[index][0]), row_of[node_id(cluster[placed[index][1]])]) for index in gone
    )
    slow = reference_of(cluster, [known for index, known in enumerate(placed) if index not in gone])
    for pod in pods[:4]:
        mask = feasible(classes.classify(pod), snapshot.nodes, usage, DEFAULT_PROFILE)
        assert {node.id for node in slow.nodes if slow.allowed(pod, node)} == {
            snapshot.nodes.ids[row] for row in np.flatnonzero(mask).tolist()
        }


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_no_pod_is_left_pending_that_some_node_could_take_at_its_turn_and_reasons_cover_every_node(
    world: tuple[Cluster, Population, list[Pod]],
) -> None:
    cluster, placed, pods = world
    classes = PodClasses()
    slow = reference_of(cluster, placed)
    infos = [classes.info(pod) for pod in pods]
    decided = plan(table_of(cluster, placed, classes).freeze(), infos)
    by_uid = {pod.metadata.uid: pod for pod in pods}
    where = {placement.pod.uid: placement.node for placement in decided.placements}
    nodes = {node.id: node for node in slow.nodes}
    for pod in (pod for alike in in_plan_order(infos) for pod in alike):
        message, at = by_uid[pod.uid], where.get(pod.uid)
        if at is None:
            assert not any(slow.allowed(message, node) for node in slow.nodes)
        else:
            assert slow.allowed(message, nodes[at])
            nodes[at].placed.append(message)
    for refused in decided.unschedulable:
        numbers = [int(part.split()[0]) for part in refused.message.split(": ", 1)[1].split(", ")]
        assert sum(numbers) >= len(cluster)
        assert refused.refused_by


@settings(deadline=None, max_examples=50)
@given(worlds())
def test_planning_leaves_the_snapshot_as_it_was_and_later_changes_do_not_reach_it(
    world: tuple[Cluster, Population, list[Pod]],
) -> None:
    cluster, placed, pods = world
    classes = PodClasses()
    table = table_of(cluster, placed, classes)
    infos = [classes.info(pod) for pod in pods]
    snapshot = table.freeze()
    first = plan(snapshot, infos)
    for placement in first.placements:
        table.assign(placement.pod, placement.node)
    for pod, _ in placed:
        table.release(pod.metadata.uid)
    table.set_namespace("red", "one", None)
    assert plan(snapshot, infos) == first
