"""Random small clusters and pods whose constraints look at other nodes."""

from __future__ import annotations

from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import (
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodAffinityTerm,
    Toleration,
    TopologySpreadConstraint,
)
from services.api.pb.ursa.meta.v1.meta_pb2 import LabelSelector, LabelSelectorRequirement
from tests.support.scheduling import make_node, make_pod

HOSTNAME = "kubernetes.io/hostname"
KEYS = (HOSTNAME, "zone", "rack")
NAMESPACES = {("red", "one"): {"team": "a"}, ("red", "two"): {"team": "b"}, ("blue", "one"): {"team": "a"}}

_selectors = st.one_of(
    st.builds(lambda v: LabelSelector(match_labels={"app": v}), st.sampled_from(("a", "b"))),
    st.just(LabelSelector()),
    st.builds(
        lambda operator, values: LabelSelector(
            match_expressions=[
                LabelSelectorRequirement(
                    key="app", operator=operator, values=values if operator in ("In", "NotIn") else ()
                )
            ]
        ),
        st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
        st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=2),
    ),
)


@st.composite
def _nodes(draw: st.DrawFn, number: int) -> Node:
    labels = {}
    if draw(st.integers(0, 7)):
        # Two resource partitions may have a host of the same name.
        labels[HOSTNAME] = f"host-{number // 2 if draw(st.booleans()) else number}"
    if draw(st.integers(0, 5)):
        labels["zone"] = draw(st.sampled_from(("1", "2", "3")))
    if draw(st.integers(0, 2)):
        labels["rack"] = draw(st.sampled_from(("x", "y")))
    return make_node(
        f"node-{number}",
        cpu=draw(st.sampled_from(("300m", "1", "4"))),
        memory="8Gi",
        pods=draw(st.sampled_from(("1", "3", "110"))),
        labels=labels,
        taints=draw(st.sampled_from(([], [], [], [("k", "", "NoSchedule")], [("k", "", "PreferNoSchedule")]))),
    )


@st.composite
def clusters(draw: st.DrawFn, nodes_max: int = 8) -> list[tuple[str, Node]]:
    """(resource partition, node); a host name occurs at most once in a partition."""
    cluster: list[tuple[str, Node]] = []
    taken: set[tuple[str, str]] = set()
    for number in range(draw(st.integers(1, nodes_max))):
        partition, node = draw(st.sampled_from(("rp-1", "rp-2"))), draw(_nodes(number))
        host = (partition, node.metadata.labels.get(HOSTNAME, node.metadata.name))
        if host not in taken:
            taken.add(host)
            cluster.append((partition, node))
    return cluster


@st.composite
def _terms(draw: st.DrawFn) -> PodAffinityTerm:
    term = PodAffinityTerm(topology_key=draw(st.sampled_from(KEYS)))
    if draw(st.integers(0, 9)):
        term.label_selector.CopyFrom(draw(_selectors))
    term.namespaces.extend(draw(st.lists(st.sampled_from(("one", "two")), max_size=1)))
    if draw(st.integers(0, 3)) == 0:
        term.namespace_selector.CopyFrom(
            draw(st.sampled_from((LabelSelector(), LabelSelector(match_labels={"team": "b"}))))
        )
    if draw(st.integers(0, 4)) == 0:
        term.match_label_keys.append("version")
    if draw(st.integers(0, 4)) == 0:
        term.mismatch_label_keys.append("version")
    return term


@st.composite
def _constraints(draw: st.DrawFn) -> TopologySpreadConstraint:
    constraint = TopologySpreadConstraint(
        max_skew=draw(st.integers(1, 2)),
        topology_key=draw(st.sampled_from(KEYS)),
        when_unsatisfiable=draw(st.sampled_from(("DoNotSchedule", "ScheduleAnyway"))),
        label_selector=draw(_selectors),
        node_affinity_policy=draw(st.sampled_from(("", "Honor", "Ignore"))),
        node_taints_policy=draw(st.sampled_from(("", "Honor", "Ignore"))),
        match_label_keys=draw(st.sampled_from(([], [], ["version"]))),
    )
    if constraint.when_unsatisfiable == "DoNotSchedule" and draw(st.integers(0, 3)) == 0:
        constraint.min_domains = draw(st.integers(1, 4))
    return constraint


@st.composite
def _templates(draw: st.DrawFn) -> Pod:
    labels = {"version": draw(st.sampled_from(("1", "2")))} if draw(st.booleans()) else {}
    if draw(st.integers(0, 4)):
        labels["app"] = draw(st.sampled_from(("a", "b")))
    tolerates = draw(st.booleans())
    pod = make_pod(
        "",
        tenant="red" if draw(st.integers(0, 3)) else "blue",
        namespace="one" if draw(st.integers(0, 3)) else "two",
        cpu=draw(st.sampled_from(("100m", "250m"))),
        labels=labels,
        tolerations=[Toleration(operator="Exists")] if tolerates else [],
    )
    spec = pod.spec
    spec.topology_spread_constraints.extend(draw(st.lists(_constraints(), max_size=2)))
    near, away = spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity
    near.required_during_scheduling_ignored_during_execution.extend(
        draw(st.lists(_terms(), min_size=1, max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    )
    away.required_during_scheduling_ignored_during_execution.extend(
        draw(st.lists(_terms(), min_size=1, max_size=2)) if draw(st.integers(0, 2)) == 0 else []
    )
    for side in (near, away):
        for term in draw(st.lists(_terms(), max_size=2)) if draw(st.integers(0, 2)) == 0 else []:
            side.preferred_during_scheduling_ignored_during_execution.add(
                weight=draw(st.integers(1, 100)), pod_affinity_term=term
            )
    if draw(st.integers(0, 4)) == 0:
        wanted = NodeSelectorRequirement(key="zone", operator="In", values=["1", "2"])
        term = NodeSelectorTerm(match_expressions=[wanted])
        node_affinity = spec.affinity.node_affinity
        if draw(st.booleans()):
            node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.append(term)
        else:
            node_affinity.preferred_during_scheduling_ignored_during_execution.add(
                weight=draw(st.integers(1, 100)), preference=term
            )
    return pod


@st.composite
def batches(draw: st.DrawFn, pods_max: int = 16, prefix: str = "pod") -> list[Pod]:
    """Pods of a few templates and priorities, mixed."""
    templates = draw(st.lists(_templates(), min_size=1, max_size=3))
    pods = []
    for number in range(draw(st.integers(1, pods_max))):
        pod = Pod()
        pod.CopyFrom(draw(st.sampled_from(templates)))
        pod.metadata.name = f"{prefix}-{number}"
        pod.metadata.uid = f"uid-{prefix}-{number}"
        pod.spec.priority = draw(st.sampled_from((0, 0, 5)))
        pods.append(pod)
    return pods


@st.composite
def populations(draw: st.DrawFn, cluster: list[tuple[str, Node]]) -> list[tuple[Pod, int]]:
    """Pods that are placed already, with the index of their node; some of them are ending."""
    placed = []
    for pod in draw(batches(pods_max=6, prefix="old")):
        if draw(st.integers(0, 4)) == 0:
            pod.metadata.deletion_timestamp.seconds = 1
        placed.append((pod, draw(st.integers(0, len(cluster) - 1))))
    return placed
