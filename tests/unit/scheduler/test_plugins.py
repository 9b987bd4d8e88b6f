"""Filters and scores, each on its own, and what is said when no node is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, Toleration
from services.scheduler.core import NodeId, NodeTable, Plan, PodClasses, plan
from tests.support.scheduling import make_node, make_pod


def plan_on(nodes: Sequence[Node], *pods: Pod, stale: bool = False) -> Plan:
    table = NodeTable(scheduler="s")
    for node in nodes:
        table.upsert("rp-1", node)
    table.set_stale("rp-1", stale)
    classes = PodClasses()
    return plan(table.freeze(), [classes.info(pod) for pod in pods])


def message(nodes: Sequence[Node], pod: Pod, *, stale: bool = False) -> str:
    decided = plan_on(nodes, pod, stale=stale)
    assert not decided.placements
    return decided.unschedulable[0].message


def test_every_reason_is_counted_and_a_node_counts_once_for_the_first_filter_that_refuses_it() -> None:
    nodes = [
        *(make_node(f"small-{n}", cpu="1") for n in range(12)),
        *(make_node(f"tainted-{n}", cpu="1", taints=[("k", "v", "NoSchedule")]) for n in range(8)),
    ]
    assert message(nodes, make_pod("p", cpu="2")) == (
        "0/20 nodes are available: 12 Insufficient cpu, 8 node(s) had untolerated taint {k: v}."
    )


def test_a_node_may_lack_several_resources() -> None:
    nodes = [make_node("a", cpu="1", memory="1Gi", pods="0")]
    assert message(nodes, make_pod("p", cpu="2", memory="2Gi")) == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods."
    )


@pytest.mark.parametrize(
    ("node", "pod", "reason"),
    [
        (make_node("a", unschedulable=True), make_pod("p"), "1 node(s) were unschedulable"),
        (make_node("a", ready=False), make_pod("p"), "1 node(s) were not ready"),
        (
            make_node("a", labels={"zone": "1"}),
            make_pod("p", node_selector={"zone": "2"}),
            "1 node(s) didn't match Pod's node affinity/selector",
        ),
        (
            make_node("a", taints=[("k", "", "NoExecute")]),
            make_pod("p"),
            "1 node(s) had untolerated taint {k: }",
        ),
        (
            make_node("a"),
            make_pod("p", requests={"example.com/gpu": "1"}),
            "1 Insufficient example.com/gpu",
        ),
    ],
)
def test_reasons(node: Node, pod: Pod, reason: str) -> None:
    assert message([node], pod) == f"0/1 nodes are available: {reason}."


def test_a_partition_that_cannot_be_reached_is_named() -> None:
    assert message([make_node("a"), make_node("b")], make_pod("p"), stale=True) == (
        "0/2 nodes are available: 2 node(s) were in resource partition rp-1, which cannot be reached."
    )


def test_no_nodes_at_all() -> None:
    assert message([], make_pod("p")) == "no nodes available to schedule pods"


def test_a_pod_that_tolerates_the_taint_of_a_cordon_may_go_there() -> None:
    tolerates = [Toleration(key="node.kubernetes.io/unschedulable", operator="Exists", effect="NoSchedule")]
    assert plan_on([make_node("a", unschedulable=True)], make_pod("p", tolerations=tolerates)).placements


def test_a_host_port_is_given_once_per_node() -> None:
    pods = [make_pod(f"p{n}", host_port=80) for n in range(3)]
    decided = plan_on([make_node("a"), make_node("b")], *pods)
    assert sorted(placement.node.name for placement in decided.placements) == ["a", "b"]
    assert decided.unschedulable[0].message == (
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
    )


def test_host_ports_of_other_addresses_or_protocols_do_not_conflict() -> None:
    first, second, third = (make_pod(name, host_port=80) for name in ("first", "second", "third"))
    first.spec.containers[0].ports[0].host_ip = "10.0.0.1"
    second.spec.containers[0].ports[0].host_ip = "10.0.0.2"
    third.spec.containers[0].ports[0].protocol = "UDP"
    assert len(plan_on([make_node("a")], first, second, third).placements) == 3


def test_an_untainted_node_is_preferred() -> None:
    nodes = [make_node("a", cpu="64", taints=[("k", "v", "PreferNoSchedule")]), make_node("b", cpu="2")]
    assert plan_on(nodes, make_pod("p", cpu="1")).placements[0].node == NodeId("rp-1", "b")


def test_the_node_with_the_most_room_is_preferred() -> None:
    nodes = [make_node("small", cpu="2", memory="2Gi"), make_node("large", cpu="8", memory="8Gi")]
    assert plan_on(nodes, make_pod("p", cpu="1", memory="1Gi")).placements[0].node.name == "large"


def test_equal_nodes_are_chosen_in_an_order_that_differs_between_schedulers() -> None:
    orders = set()
    for scheduler in ("one", "two"):
        table = NodeTable(scheduler=scheduler, seed=1)
        for number in range(20):
            table.upsert("rp-1", make_node(f"n{number}"))
        classes = PodClasses()
        pods = [classes.info(make_pod(f"p{n}", cpu="1")) for n in range(10)]
        orders.add(tuple(placement.node.name for placement in plan(table.freeze(), pods).placements))
    assert len(orders) == 2


def test_among_equal_nodes_the_partition_with_fewest_pods_of_the_tenant_comes_first() -> None:
    table = NodeTable(scheduler="s")
    for partition in ("rp-1", "rp-2", "rp-3"):
        for number in range(5):
            table.upsert(partition, make_node(f"n{number}", cpu="32", memory="256Gi"))
    classes = PodClasses()
    pods = [classes.info(make_pod(f"p{n}", tenant=tenant)) for n in range(3) for tenant in ("red", "blue")]
    decided = plan(table.freeze(), pods)
    for tenant in ("red", "blue"):
        chosen = [placement.node.partition for placement in decided.placements if placement.pod.tenant == tenant]
        assert sorted(chosen) == ["rp-1", "rp-2", "rp-3"]
