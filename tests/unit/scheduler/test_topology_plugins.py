"""PodTopologySpread and InterPodAffinity: scores worked out by hand, reasons, hints, and what a batch must respect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm
from services.api.pb.ursa.meta.v1.meta_pb2 import LabelSelector
from services.scheduler.core import DEFAULT_PROFILE, NodeId, NodeTable, Plan, PodClasses, plan
from services.scheduler.core.feasibility import helps, refusals
from services.scheduler.core.plugin import Cluster, DomainScore, PodChange
from services.scheduler.core.plugins.inter_pod_affinity import PodAffinityScore
from services.scheduler.core.plugins.pod_topology_spread import SpreadScore
from tests.support.scheduling import make_node, make_pod

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
BLUE = LabelSelector(match_labels={"color": "blue"})

CLASSES = PodClasses()
Shape = Callable[[Pod], None]


def spread(key: str, when: str, *, skew: int = 1, **more: object) -> Shape:
    def shape(pod: Pod) -> None:
        pod.spec.topology_spread_constraints.add(
            max_skew=skew,
            topology_key=key,
            when_unsatisfiable=when,
            label_selector=BLUE,
            **more,
        )

    return shape


def term(key: str, **more: object) -> PodAffinityTerm:
    return PodAffinityTerm(topology_key=key, label_selector=BLUE, **more)  # type: ignore[arg-type]


def near(key: str, **more: object) -> Shape:
    return lambda pod: pod.spec.affinity.pod_affinity.required_during_scheduling_ignored_during_execution.append(
        term(key, **more)
    )


def away(key: str) -> Shape:
    return lambda pod: pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.append(
        term(key)
    )


def prefers(key: str, weight: int) -> Shape:
    def shape(pod: Pod) -> None:
        pod.spec.affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution.add(
            weight=weight, pod_affinity_term=term(key)
        )

    return shape


def pod_of(name: str, *shapes: Shape, color: str = "blue", **options: object) -> Pod:
    pod = make_pod(name, cpu="10m", labels={"color": color}, **options)  # type: ignore[arg-type]
    for shape in shapes:
        shape(pod)
    return pod


def table_of(zones: Mapping[str, str | None]) -> NodeTable:
    """Nodes by name, each in a zone (or none)."""
    table = NodeTable(scheduler="s")
    for name, zone in zones.items():
        labels = {HOST: name} | ({} if zone is None else {ZONE: zone})
        table.upsert("rp-1", make_node(name, labels=labels))
    return table


def put(table: NodeTable, node: str, *pods: Pod) -> None:
    for pod in pods:
        table.assign(CLASSES.info(pod), NodeId("rp-1", node))


def planned(table: NodeTable, *pods: Pod) -> Plan:
    return plan(table.freeze(), [CLASSES.info(pod) for pod in pods])


def scores(score: DomainScore, table: NodeTable, pod: Pod) -> dict[str, int]:
    snapshot, kind = table.freeze(), CLASSES.classify(pod)
    topology = snapshot.nodes.topology(score.topology_keys(kind, snapshot.usage))
    points = score.open(kind, snapshot.nodes, snapshot.usage, topology)
    nodes = np.bincount(topology.group[snapshot.nodes.alive], minlength=len(topology))
    points.settle(nodes > 0, nodes, True)
    return {
        snapshot.nodes.ids[row].name: int(points.points[topology.group[row]])
        for row in np.flatnonzero(snapshot.nodes.alive).tolist()
    }


def blue(count: int, prefix: str = "old", **options: object) -> list[Pod]:
    return [pod_of(f"{prefix}-{number}", **options) for number in range(count)]  # type: ignore[arg-type]


# Scores


def test_spreading_over_hosts_is_scored_as_upstream_does() -> None:
    # 3, 2, 1, 0 pods: raw = round(count * ln(4 + 2)) = 5, 4, 2, 0; score = 100 * (5 + 0 - raw) // 5.
    table = table_of({"a": "1", "b": "1", "c": "2", "d": "2"})
    for node, count in (("a", 3), ("b", 2), ("c", 1)):
        put(table, node, *blue(count, prefix=node))
    assert scores(SpreadScore(), table, pod_of("p", spread(HOST, "ScheduleAnyway"))) == {
        "a": 0,
        "b": 20,
        "c": 60,
        "d": 100,
    }


def test_spreading_over_zones_and_hosts_weighs_each_topology_by_its_size() -> None:
    # zones: 5 and 4 pods, weight ln(2 + 2); hosts: 3, 2, 4, 0 pods, weight ln(4 + 2).
    # raw = 5 * 1.3863 + 3 * 1.7918 = 12; 5 * 1.3863 + 2 * 1.7918 = 11; 4 * 1.3863 + 4 * 1.7918 = 13; 4 * 1.3863 = 6.
    table = table_of({"a": "1", "b": "1", "c": "2", "d": "2"})
    for node, count in (("a", 3), ("b", 2), ("c", 4)):
        put(table, node, *blue(count, prefix=node))
    pod = pod_of("p", spread(ZONE, "ScheduleAnyway"), spread(HOST, "ScheduleAnyway"))
    assert scores(SpreadScore(), table, pod) == {"a": 53, "b": 61, "c": 46, "d": 100}


def test_a_node_without_the_label_gets_nothing_and_the_skew_that_is_allowed_waters_differences_down() -> None:
    # 2, 0 pods, weight ln(2 + 2), maxSkew 3: raw = round(2.77 + 2) = 5 and 2; 100 * (5 + 2 - raw) // 5.
    table = table_of({"a": "1", "b": "2", "none": None})
    put(table, "a", *blue(2))
    assert scores(SpreadScore(), table, pod_of("p", spread(ZONE, "ScheduleAnyway", skew=3))) == {
        "a": 40,
        "b": 100,
        "none": 0,
    }


def test_preferences_of_both_sides_are_added_up_and_normalised() -> None:
    table = table_of({"a": "1", "b": "2", "c": "3"})
    put(table, "a", *blue(2))  # 2 * 5 for the newcomer's preference
    put(table, "b", pod_of("seeker", prefers(ZONE, 3), color="red"))  # 3 for that pod's preference
    put(table, "b", pod_of("needy", near(ZONE), color="red"))  # 1: hardPodAffinityWeight
    assert scores(PodAffinityScore(), table, pod_of("p", prefers(ZONE, 5))) == {"a": 100, "b": 40, "c": 0}


# Filters


def test_hosts_take_one_pod_each_when_they_keep_their_like_away() -> None:
    table = table_of({f"n{number}": "1" for number in range(5)})
    decided = planned(table, *(pod_of(f"p{number}", away(HOST)) for number in range(6)))
    assert sorted(placement.node.name for placement in decided.placements) == [f"n{number}" for number in range(5)]
    assert decided.unschedulable[0].message == (
        "0/5 nodes are available: 5 node(s) didn't match pod anti-affinity rules."
    )


def test_zones_stay_within_the_skew_though_one_has_far_more_nodes() -> None:
    table = table_of({**{f"n{number}": "big" for number in range(20)}, "x": "small", "y": "tiny"})
    decided = planned(table, *(pod_of(f"p{number}", spread(ZONE, "DoNotSchedule")) for number in range(31)))
    zones = Counter({"x": "small", "y": "tiny"}.get(placement.node.name, "big") for placement in decided.placements)
    assert sorted(zones.values()) == [10, 10, 11]


def test_with_fewer_domains_than_asked_for_the_least_count_is_taken_for_none() -> None:
    table = table_of({"a": "1", "b": "2"})
    pods = [pod_of(f"p{number}", spread(ZONE, "DoNotSchedule", min_domains=3)) for number in range(3)]
    assert len(planned(table, *pods).placements) == 2


def test_the_first_of_those_that_want_to_be_together_chooses_and_the_others_follow() -> None:
    table = table_of({f"n{number}": str(number % 3) for number in range(9)} | {"none": None})
    decided = planned(table, *(pod_of(f"p{number}", near(ZONE)) for number in range(6)))
    assert len({int(placement.node.name[1:]) % 3 for placement in decided.placements}) == 1
    assert len(decided.placements) == 6


def test_a_host_name_that_occurs_in_two_resource_partitions_is_two_hosts() -> None:
    table = NodeTable(scheduler="s")
    for partition in ("rp-1", "rp-2"):
        table.upsert(partition, make_node("n", labels={HOST: "n"}))
    decided = planned(table, pod_of("p0", away(HOST)), pod_of("p1", away(HOST)))
    assert {placement.node.partition for placement in decided.placements} == {"rp-1", "rp-2"}


def test_namespaces_are_selected_by_their_labels_as_they_are_now() -> None:
    table = table_of({"a": "1", "b": "2"})
    put(table, "b", pod_of("old", namespace="other"))
    seeker = pod_of("p", near(ZONE, namespace_selector=LabelSelector(match_labels={"team": "devops"})), color="red")
    assert not planned(table, seeker).placements
    assert table.set_namespace("acme", "other", {"team": "devops"}) is Cluster.NAMESPACE_CHANGED
    assert planned(table, seeker).placements[0].node.name == "b"
    assert table.set_namespace("acme", "other", {"team": "devops"}) is Cluster.NOTHING


def test_match_label_keys_mean_pods_with_the_same_value_and_mismatch_label_keys_those_with_another() -> None:
    def version(pod: Pod, value: str) -> Pod:
        pod.metadata.labels["version"] = value
        return pod

    table = table_of({"a": "1", "b": "2"})
    put(table, "a", version(pod_of("old-1"), "1"))
    put(table, "b", version(pod_of("old-2"), "2"))
    for newcomer, node in (
        (version(pod_of("p", near(ZONE, match_label_keys=["version"])), "1"), "a"),
        (version(pod_of("p", near(ZONE, mismatch_label_keys=["version"])), "1"), "b"),
    ):
        assert [placement.node.name for placement in planned(table, newcomer).placements] == [node]
    spreads = [
        version(pod_of(f"p{n}", spread(ZONE, "DoNotSchedule", match_label_keys=["version"])), "1") for n in range(3)
    ]
    assert sorted(placement.node.name for placement in planned(table, *spreads).placements) == ["a", "b", "b"]


def test_pods_of_other_tenants_are_not_seen() -> None:
    table = table_of({"a": "1"})
    put(table, "a", pod_of("old", away(HOST), tenant="blue"))
    assert planned(table, pod_of("p", away(HOST), tenant="red")).placements


@pytest.mark.parametrize(
    ("there", "pod", "reason", "hopeless"),
    [
        ([], pod_of("p", near(ZONE), color="red"), "node(s) didn't match pod affinity rules", True),
        ([pod_of("o")], pod_of("p", away(ZONE)), "node(s) didn't match pod anti-affinity rules", False),
        (
            [pod_of("o", away(ZONE), color="red")],
            pod_of("p"),
            "node(s) didn't satisfy existing pods anti-affinity rules",
            False,
        ),
        (
            [pod_of("o")],
            pod_of("p", spread(ZONE, "DoNotSchedule", min_domains=2)),
            "node(s) didn't match pod topology spread constraints",
            False,
        ),
        (
            [],
            pod_of("p", spread("rack", "DoNotSchedule")),
            "node(s) didn't match pod topology spread constraints (missing required label)",
            True,
        ),
    ],
)
def test_reasons(there: Sequence[Pod], pod: Pod, reason: str, hopeless: bool) -> None:
    table = table_of({"a": "1"})
    put(table, "a", *there)
    assert planned(table, pod).unschedulable[0].message == f"0/1 nodes are available: 1 {reason}."
    snapshot = table.freeze()
    (refused,) = refusals(CLASSES.classify(pod), snapshot.nodes, snapshot.usage, DEFAULT_PROFILE)
    assert refused.hopeless.tolist() == [hopeless]


def test_node_scores_are_normalised_anew_when_the_best_node_of_a_zone_is_full() -> None:
    # Weighted scores (node affinity + taints + wishes): a 200 + 300 + 0, then b 200 + 300 + 0, c 0 + 300 + 150,
    # d 0 + 0 + 200. With a's preference still taken for the maximum, b would have 100 less.
    table = NodeTable(scheduler="s")
    table.upsert("rp-1", make_node("a", pods="1", labels={ZONE: "1", "rank": "high"}))
    table.upsert("rp-1", make_node("b", labels={ZONE: "1", "rank": "middle"}))
    table.upsert("rp-1", make_node("c", labels={ZONE: "2"}))
    table.upsert("rp-1", make_node("d", labels={ZONE: "3"}, taints=[("k", "", "PreferNoSchedule")]))
    put(table, "c", *blue(3, prefix="c"))
    put(table, "d", *blue(4, prefix="d"))

    def ranked(pod: Pod) -> None:
        for rank, weight in (("high", 100), ("middle", 50)):
            wanted = NodeSelectorRequirement(key="rank", operator="In", values=[rank])
            pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution.add(
                weight=weight, preference=NodeSelectorTerm(match_expressions=[wanted])
            )

    decided = planned(table, *(pod_of(f"p{n}", prefers(ZONE, 1), ranked, color="red") for n in range(2)))
    assert [placement.node.name for placement in decided.placements] == ["a", "b"]


# What changes


def test_a_pod_that_begins_to_end_is_not_counted_by_spreading_any_more() -> None:
    table = table_of({"a": "1"})
    old, pod = pod_of("old"), pod_of("p", spread(ZONE, "DoNotSchedule", min_domains=2))
    known = CLASSES.info(old)
    table.assign(known, NodeId("rp-1", "a"))
    assert not planned(table, pod).placements
    assert CLASSES.current(known, old) is known
    old.metadata.deletion_timestamp.seconds = 1
    table.assign(CLASSES.current(known, old), NodeId("rp-1", "a"))
    assert planned(table, pod).placements
    snapshot = table.freeze()
    assert snapshot.usage.requested[snapshot.nodes.resources["pods"]].sum() == 1


@pytest.mark.parametrize(
    ("waiting", "other", "what", "expected"),
    [
        (pod_of("p", near(ZONE)), pod_of("o"), Cluster.POD_ADDED, True),
        (pod_of("p", near(ZONE)), pod_of("o", color="red"), Cluster.POD_ADDED, False),
        (pod_of("p", near(ZONE)), pod_of("o"), Cluster.POD_GONE, False),
        (pod_of("p", away(ZONE)), pod_of("o"), Cluster.POD_GONE, True),
        (pod_of("p", away(ZONE)), pod_of("o", tenant="another"), Cluster.POD_GONE, False),
        (pod_of("p"), pod_of("o", away(ZONE), color="red"), Cluster.POD_GONE, True),
        (pod_of("p", spread(ZONE, "DoNotSchedule")), pod_of("o"), Cluster.POD_ADDED, True),
        (pod_of("p", spread(ZONE, "DoNotSchedule")), pod_of("o", namespace="other"), Cluster.POD_ADDED, False),
    ],
)
def test_only_pods_that_terms_match_are_a_reason_to_try_again(
    waiting: Pod, other: Pod, what: Cluster, expected: bool
) -> None:
    refused_by = frozenset(("InterPodAffinity", "PodTopologySpread"))
    change = PodChange(CLASSES.classify(other), what)
    assert helps(CLASSES.classify(waiting), refused_by, change, DEFAULT_PROFILE) is expected
