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

# What a world is mostly about: in worlds of everything, little of each happens.
THEMES = ("spreading", "near", "away", "wishes", "all")

_selectors = st.one_of(
    st.just(LabelSelector(match_labels={"app": "a"})),
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
        taints=draw(st.sampled_from(([], [], [("k", "", "NoSchedule")], [("k", "", "PreferNoSchedule")]))),
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
def _templates(draw: st.DrawFn, theme: str) -> Pod:
    def some(of: str) -> bool:
        return theme == of or (theme == "all" and draw(st.integers(0, 2)) == 0)

    labels = {"version": draw(st.sampled_from(("1", "2")))} if draw(st.integers(0, 3)) == 0 else {}
    if draw(st.integers(0, 5)):
        labels["app"] = draw(st.sampled_from(("a", "a", "b")))
    pod = make_pod(
        "",
        tenant="red" if draw(st.integers(0, 5)) else "blue",
        namespace="one" if draw(st.integers(0, 5)) else "two",
        cpu=draw(st.sampled_from(("100m", "250m"))),
        labels=labels,
        tolerations=[Toleration(operator="Exists")] if draw(st.integers(0, 2)) == 0 else [],
    )
    spec = pod.spec
    if some("spreading"):
        spec.topology_spread_constraints.extend(draw(st.lists(_constraints(), min_size=1, max_size=2)))
    near, away = spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity
    for side, about in ((near, "near"), (away, "away")):
        if some(about):
            terms = draw(st.lists(_terms(), min_size=1, max_size=2))
            side.required_during_scheduling_ignored_during_execution.extend(terms)
        for term in draw(st.lists(_terms(), max_size=2)) if some("wishes") else []:
            side.preferred_during_scheduling_ignored_during_execution.add(
                weight=draw(st.integers(1, 100)), pod_affinity_term=term
            )
    if draw(st.integers(0, 2)) == 0:
        wanted = NodeSelectorRequirement(key="zone", operator="In", values=["1", "2"])
        on_nodes = NodeSelectorTerm(match_expressions=[wanted])
        node_affinity = spec.affinity.node_affinity
        if draw(st.booleans()):
            node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.append(on_nodes)
        else:
            node_affinity.preferred_during_scheduling_ignored_during_execution.add(
                weight=draw(st.integers(1, 100)), preference=on_nodes
            )
    return pod


@st.composite
def contestants(draw: st.DrawFn) -> Pod:
    """A pod of app "a" with one or two constraints and wishes about pods of its own kind."""
    pod = make_pod("", tenant="red", namespace="one", cpu="100m", labels={"app": "a"})
    spec, mine = pod.spec, LabelSelector(match_labels={"app": "a"})
    key = st.sampled_from((HOSTNAME, "zone"))
    kinds = ("hard spread", "soft spread", "away", "wish near", "wish away")
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2)):
        term = PodAffinityTerm(topology_key=draw(key), label_selector=mine)
        if kind.endswith("spread"):
            spec.topology_spread_constraints.add(
                max_skew=draw(st.integers(1, 2)),
                topology_key=term.topology_key,
                when_unsatisfiable="DoNotSchedule" if kind == "hard spread" else "ScheduleAnyway",
                label_selector=mine,
                node_affinity_policy=draw(st.sampled_from(("Honor", "Ignore"))),
                node_taints_policy=draw(st.sampled_from(("Honor", "Ignore"))),
            )
        elif kind == "away":
            spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.append(term)
        else:
            side = spec.affinity.pod_affinity if kind == "wish near" else spec.affinity.pod_anti_affinity
            side.preferred_during_scheduling_ignored_during_execution.add(
                weight=draw(st.integers(1, 9)), pod_affinity_term=term
            )
    where = NodeSelectorTerm(match_expressions=[NodeSelectorRequirement(key="zone", operator="In", values=["1", "2"])])
    rank = NodeSelectorTerm(match_expressions=[NodeSelectorRequirement(key="rank", operator="In", values=["high"])])
    node_affinity = spec.affinity.node_affinity
    if draw(st.integers(0, 2)) == 0:
        node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.append(where)
    if draw(st.booleans()):
        for term_of_nodes, weight in ((where, 100), (rank, draw(st.sampled_from((1, 20, 60, 100))))):
            node_affinity.preferred_during_scheduling_ignored_during_execution.add(
                weight=weight, preference=term_of_nodes
            )
    return pod


@st.composite
def batches(draw: st.DrawFn, theme: str, pods_max: int = 16, prefix: str = "pod") -> list[Pod]:
    """Pods of a few templates and priorities, mixed."""
    templates = draw(st.lists(_templates(theme), min_size=1, max_size=3))
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
def populations(draw: st.DrawFn, theme: str, cluster: list[tuple[str, Node]]) -> list[tuple[Pod, int]]:
    """Pods that are placed already, with the index of their node; some of them are ending."""
    placed = []
    for pod in draw(batches(theme, pods_max=8, prefix="old")):
        if draw(st.integers(0, 4)) == 0:
            pod.metadata.deletion_timestamp.seconds = 1
        placed.append((pod, draw(st.integers(0, len(cluster) - 1))))
    return placed
