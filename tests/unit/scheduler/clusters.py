"""Random small clusters and batches of pods, shaped so that constraints, shortage and ties all occur."""

from __future__ import annotations

from hypothesis import strategies as st

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.core.v1.pod_pb2 import (
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PreferredSchedulingTerm,
    Toleration,
)
from tests.support.scheduling import make_node, make_pod

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_KEYS = ("zone", "disk", "rank")


@st.composite
def _nodes(draw: st.DrawFn) -> Node:
    return make_node(
        "",
        cpu=draw(st.sampled_from(("1", "2", "2", "3500m"))),
        memory=draw(st.sampled_from(("1Gi", "2Gi", "4Gi"))),
        pods=draw(st.sampled_from(("2", "3", "110"))),
        labels=draw(st.dictionaries(st.sampled_from(_KEYS), st.sampled_from(("1", "2", "7")), max_size=3)),
        taints=draw(
            st.lists(
                st.tuples(st.sampled_from(("dedicated", "old")), st.sampled_from(("", "a")), st.sampled_from(_EFFECTS)),
                max_size=2,
                unique=True,
            )
            if draw(st.integers(0, 2)) == 0
            else st.just([])
        ),
        ready=draw(st.integers(0, 9)) > 0,
        unschedulable=draw(st.integers(0, 9)) == 0,
        **({"example.com/gpu": "2"} if draw(st.booleans()) else {}),
    )


@st.composite
def clusters(draw: st.DrawFn, nodes_max: int = 8) -> list[tuple[str, Node]]:
    """(resource partition, node) pairs; names may repeat across partitions."""
    shapes = draw(st.lists(_nodes(), min_size=1, max_size=3))
    cluster: list[tuple[str, Node]] = []
    for number in range(draw(st.integers(0, nodes_max))):
        node = Node()
        node.CopyFrom(draw(st.sampled_from(shapes)))
        partition = draw(st.sampled_from(("rp-1", "rp-2", "rp-3")))
        node.metadata.name = f"node-{number // 2}" if partition == "rp-3" else f"node-{number}"
        if any(partition == p and n.metadata.name == node.metadata.name for p, n in cluster):
            continue
        cluster.append((partition, node))
    return cluster


_requirements = st.one_of(
    st.builds(
        lambda key, operator, values: NodeSelectorRequirement(key=key, operator=operator, values=values),
        st.sampled_from(_KEYS),
        st.sampled_from(("In", "NotIn")),
        st.lists(st.sampled_from(("1", "2", "3")), min_size=1, max_size=2),
    ),
    st.builds(
        lambda key, operator: NodeSelectorRequirement(key=key, operator=operator),
        st.sampled_from(_KEYS),
        st.sampled_from(("Exists", "DoesNotExist")),
    ),
    st.builds(
        lambda operator, value: NodeSelectorRequirement(key="rank", operator=operator, values=[value]),
        st.sampled_from(("Gt", "Lt")),
        st.sampled_from(("1", "2", "x")),
    ),
)
_names = st.builds(
    lambda operator, value: NodeSelectorRequirement(key="metadata.name", operator=operator, values=[value]),
    st.sampled_from(("In", "NotIn")),
    st.sampled_from(("node-0", "node-3")),
)
_terms = st.builds(
    lambda expressions, fields: NodeSelectorTerm(match_expressions=expressions, match_fields=fields),
    st.lists(_requirements, max_size=2),
    st.lists(_names, max_size=1),
)
_tolerations = st.builds(
    lambda key, operator, effect: Toleration(
        key=key, operator=operator if key else "Exists", value="a" if operator == "Equal" and key else "", effect=effect
    ),
    st.sampled_from(("dedicated", "old", "", "node.kubernetes.io/unschedulable")),
    st.sampled_from(("Exists", "Equal")),
    st.sampled_from(("", *_EFFECTS)),
)


@st.composite
def _templates(draw: st.DrawFn) -> Pod:
    pod = make_pod(
        "",
        cpu=draw(st.sampled_from(("", "100m", "500m", "1", "3"))),
        memory=draw(st.sampled_from(("", "100Mi", "512Mi", "1Gi"))),
        host_port=draw(st.sampled_from((0, 0, 0, 80, 443))),
        node_selector=draw(st.dictionaries(st.just("zone"), st.sampled_from(("1", "2")), max_size=1))
        if draw(st.integers(0, 3)) == 0
        else {},
        tolerations=draw(st.lists(_tolerations, max_size=2)),
        requests={"example.com/gpu": "1"} if draw(st.integers(0, 5)) == 0 else None,
    )
    if draw(st.integers(0, 5)) == 0:
        pod.spec.resource_partition = draw(st.sampled_from(("rp-1", "rp-4")))
    affinity = pod.spec.affinity.node_affinity
    if draw(st.integers(0, 3)) == 0:
        affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.extend(
            draw(st.lists(_terms, min_size=1, max_size=2))
        )
    for term in draw(st.lists(_terms, max_size=2)):
        affinity.preferred_during_scheduling_ignored_during_execution.append(
            PreferredSchedulingTerm(weight=draw(st.integers(1, 100)), preference=term)
        )
    return pod


@st.composite
def batches(draw: st.DrawFn, pods_max: int = 24) -> list[Pod]:
    """Pods of a few templates, tenants and priorities, mixed."""
    templates = draw(st.lists(_templates(), min_size=1, max_size=3))
    pods = []
    for number in range(draw(st.integers(1, pods_max))):
        pod = Pod()
        pod.CopyFrom(draw(st.sampled_from(templates)))
        pod.metadata.name, pod.metadata.uid = f"pod-{number}", f"uid-{number}"
        pod.metadata.tenant = draw(st.sampled_from(("red", "blue")))
        pod.spec.priority = draw(st.sampled_from((0, 0, 5)))
        pods.append(pod)
    return pods
