"""The node table: sums are exact whatever happens to nodes and pods, snapshots are frozen, only what matters counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.api.pb.ursa.core.v1.node_pb2 import Taint
from services.scheduler.core import NodeId, NodeTable, PodClasses, PodInfo, Snapshot
from services.scheduler.core.plugin import Cluster
from tests.support.scheduling import make_node, make_pod

CLASSES = PodClasses()


def info(name: str, **shape: object) -> PodInfo:
    return CLASSES.info(make_pod(name, **shape))  # type: ignore[arg-type]


def requested(snapshot: Snapshot, resource: str) -> dict[NodeId, int]:
    row_of = {snapshot.nodes.ids[row]: row for row in np.flatnonzero(snapshot.nodes.alive).tolist()}
    index = snapshot.nodes.resources[resource]
    return {node: int(snapshot.usage.requested[index][row]) for node, row in row_of.items()}


POD_SHAPES = ({"cpu": "100m"}, {"cpu": "1", "host_port": 80}, {"requests": {"example.com/gpu": "1"}}, {})


class TableMachine(RuleBasedStateMachine):
    """Nodes come, go and change; pods are assigned, moved and released, to unknown nodes too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = NodeTable(scheduler="s")
        self.nodes: set[NodeId] = set()
        self.pods: dict[str, tuple[PodInfo, NodeId]] = {}

    node_ids = st.builds(NodeId, st.sampled_from(("rp-1", "rp-2")), st.sampled_from(("a", "b", "c")))
    pod_names = st.sampled_from([f"p{n}" for n in range(6)])

    @rule(node=node_ids, cpu=st.sampled_from(("1", "2")))
    def upsert(self, node: NodeId, cpu: str) -> None:
        self.table.upsert(node.partition, make_node(node.name, cpu=cpu))
        self.nodes.add(node)

    @rule(node=node_ids)
    def remove(self, node: NodeId) -> None:
        self.table.remove(*node)
        self.nodes.discard(node)

    @rule(name=pod_names, shape=st.sampled_from(POD_SHAPES), node=node_ids, tenant=st.sampled_from(("x", "y")))
    def assign(self, name: str, shape: dict[str, object], node: NodeId, tenant: str) -> None:
        if name in self.pods:
            pod = self.pods[name][0]
        else:
            pod = CLASSES.info(make_pod(name, tenant=tenant, **shape))  # type: ignore[arg-type]
        self.table.assign(pod, node)
        self.pods[name] = (pod, node)

    @rule(name=pod_names)
    def release(self, name: str) -> None:
        if name in self.pods:
            pod, node = self.pods.pop(name)
            assert self.table.release(pod.uid) == node
        assert self.table.release(f"uid-none-{name}") is None

    @invariant()
    def sums_equal_those_counted_afresh(self) -> None:
        snapshot = self.table.freeze()
        columns, usage = snapshot.nodes, snapshot.usage
        assert columns.count == len(self.nodes)
        spread: dict[str, dict[str, int]] = {}
        for row in np.flatnonzero(columns.alive).tolist():
            node = columns.ids[row]
            here = [pod for pod, at in self.pods.values() if at == node]
            for resource, index in columns.resources.items():
                total = sum(pod.kind.requests.get(resource, 0) for pod in here)
                assert usage.requested[index][row] == total, (node, resource)
            assert usage.scoring[0][row] == sum(pod.kind.scoring_requests[0] for pod in here)
            taken = row in set(usage.ports.conflicts([("TCP", "0.0.0.0", 80)]))
            assert taken == any(pod.kind.host_ports for pod in here)
            for pod in here:
                counts = spread.setdefault(pod.tenant, {})
                counts[node.partition] = counts.get(node.partition, 0) + 1
        for tenant in ("x", "y"):
            counted = dict(zip(columns.partitions, usage.spread.of(tenant), strict=True))
            assert {rp: n for rp, n in counted.items() if n} == spread.get(tenant, {})


TableMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTable = TableMachine.TestCase


def test_a_snapshot_does_not_see_later_changes() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a", labels={"zone": "1"}))
    before = table.freeze()
    table.upsert("rp-1", make_node("a", labels={"zone": "2"}, cpu="9"))
    table.upsert("rp-1", make_node("b"))
    table.assign(info("p", cpu="1"), NodeId("rp-1", "a"))
    assert requested(before, "cpu") == {NodeId("rp-1", "a"): 0}
    assert before.nodes.count == 1
    assert before.nodes.labels.column("zone").equals(["1"]).sum() == 1
    after = table.freeze()
    assert after.nodes.labels.column("zone").equals(["2"]).sum() == 1
    assert requested(after, "cpu") == {NodeId("rp-1", "a"): 1000, NodeId("rp-1", "b"): 0}


def test_the_arrays_of_a_snapshot_cannot_be_written_to() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a"))
    snapshot = table.freeze()
    for array in (snapshot.nodes.alive, snapshot.nodes.allocatable, snapshot.usage.requested):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_status_report_that_changes_nothing_keeps_the_columns() -> None:
    table = NodeTable(scheduler="s")
    node = make_node("a")
    assert table.upsert("rp-1", node) is Cluster.NODE_ADDED
    before = table.freeze().nodes
    node.metadata.resource_version = 99
    node.status.conditions[0].last_heartbeat_time.GetCurrentTime()
    assert table.upsert("rp-1", node) is Cluster.NOTHING
    assert table.freeze().nodes is before


@pytest.mark.parametrize(
    ("before", "after", "helps"),
    [
        ({"cpu": "1"}, {"cpu": "2"}, Cluster.ALLOCATABLE_GREW),
        ({"cpu": "2"}, {"cpu": "1"}, Cluster.NOTHING),
        ({}, {"labels": {"a": "b"}}, Cluster.LABELS_CHANGED),
        ({"taints": [("k", "v", "NoSchedule")]}, {}, Cluster.TAINTS_CHANGED),
        ({"unschedulable": True}, {}, Cluster.NODE_USABLE),
        ({"ready": False}, {}, Cluster.NODE_USABLE),
        ({}, {"ready": False}, Cluster.NOTHING),
    ],
)
def test_an_update_says_what_of_it_may_help(
    before: dict[str, object], after: dict[str, object], helps: Cluster
) -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a", **before))  # type: ignore[arg-type]
    assert table.upsert("rp-1", make_node("a", **after)) is helps  # type: ignore[arg-type]


def test_a_stale_partition_keeps_its_nodes_and_pods() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a"))
    table.assign(info("p", cpu="1"), NodeId("rp-1", "a"))
    assert table.set_stale("rp-1", True) is Cluster.NOTHING
    snapshot = table.freeze()
    assert snapshot.nodes.count == 1 and snapshot.nodes.stale[0]
    assert requested(snapshot, "cpu") == {NodeId("rp-1", "a"): 1000}
    assert table.set_stale("rp-1", False) == Cluster.NODE_ADDED | Cluster.NODE_USABLE
    assert table.set_stale("rp-1", False) is Cluster.NOTHING


def test_distinct_taint_sets_are_stored_once() -> None:
    table = NodeTable(scheduler="s")
    for number in range(10):
        table.upsert("rp-1", make_node(f"n{number}", taints=[("k", str(number % 2), "NoSchedule")]))
    classes = table.freeze().nodes.taint_classes
    assert [list(taints) for taints in classes] == [
        [],
        [Taint(key="k", value="0", effect="NoSchedule")],
        [Taint(key="k", value="1", effect="NoSchedule")],
    ]


def test_absurd_amounts_do_not_overflow() -> None:
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a", cpu="4", memory="8Ei"))
    for number in range(100):
        table.assign(info(f"p{number}", memory="7Ei"), NodeId("rp-1", "a"))
    assert requested(table.freeze(), "memory")[NodeId("rp-1", "a")] == 100 * 2**53
