"""Node selectors and node affinity match as in Kubernetes."""

from __future__ import annotations

import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import NodeSelector, NodeSelectorTerm, Pod
from services.placement.affinity import node_matches, pod_matches_node

LABELS = {"zone": "a", "cpus": "16", "disk": "", "arch": "arm64"}


def term(
    *requirements: tuple[str, str, list[str]], fields: tuple[tuple[str, str, list[str]], ...] = ()
) -> NodeSelectorTerm:
    found = NodeSelectorTerm()
    for key, operator, values in requirements:
        found.match_expressions.add(key=key, operator=operator, values=values)
    for key, operator, values in fields:
        found.match_fields.add(key=key, operator=operator, values=values)
    return found


@pytest.mark.parametrize(
    ("key", "operator", "values", "matches"),
    [
        ("zone", "In", ["b", "a"], True),
        ("zone", "In", ["b"], False),
        ("rack", "In", ["a"], False),
        ("zone", "NotIn", ["b"], True),
        ("zone", "NotIn", ["a"], False),
        ("rack", "NotIn", ["a"], True),
        ("disk", "Exists", [], True),
        ("rack", "Exists", [], False),
        ("rack", "DoesNotExist", [], True),
        ("disk", "DoesNotExist", [], False),
        ("cpus", "Gt", ["15"], True),
        ("cpus", "Gt", ["16"], False),
        ("cpus", "Lt", ["17"], True),
        ("cpus", "Lt", ["16"], False),
        ("rack", "Lt", ["16"], False),
        ("zone", "Gt", ["1"], False),
        ("cpus", "Gt", ["many"], False),
        ("cpus", "Gt", ["1", "2"], False),
        ("cpus", "Near", ["16"], False),
    ],
)
def test_operators(key: str, operator: str, values: list[str], matches: bool) -> None:
    assert node_matches(term((key, operator, values)), LABELS, "n1") is matches


def test_all_of_a_term_and_one_of_the_terms_must_match() -> None:
    yes, no = ("zone", "In", ["a"]), ("zone", "In", ["b"])
    assert node_matches(term(yes, ("cpus", "Exists", [])), LABELS, "n1")
    assert not node_matches(term(yes, no), LABELS, "n1")
    assert node_matches(NodeSelector(node_selector_terms=[term(no), term(yes)]), LABELS, "n1")
    assert not node_matches(NodeSelector(node_selector_terms=[term(no), term(no)]), LABELS, "n1")


def test_an_empty_term_and_a_selector_without_terms_match_no_node() -> None:
    assert not node_matches(NodeSelectorTerm(), LABELS, "n1")
    assert not node_matches(NodeSelector(), LABELS, "n1")
    assert not node_matches(NodeSelector(node_selector_terms=[NodeSelectorTerm()]), LABELS, "n1")


def test_fields_are_the_nodes_name() -> None:
    named = term(fields=(("metadata.name", "In", ["n1"]),))
    assert node_matches(named, {}, "n1")
    assert not node_matches(named, {}, "n2")
    assert node_matches(term(fields=(("metadata.name", "NotIn", ["n1"]),)), {}, "n2")
    assert not node_matches(term(("zone", "In", ["a"]), fields=(("metadata.name", "In", ["n2"]),)), LABELS, "n1")


def test_a_pod_needs_its_node_selector_and_its_required_affinity() -> None:
    pod = Pod()
    assert pod_matches_node(pod, LABELS, "n1")
    pod.spec.node_selector["zone"] = "a"
    assert pod_matches_node(pod, LABELS, "n1")
    pod.spec.node_selector["disk"] = "ssd"
    assert not pod_matches_node(pod, LABELS, "n1")
    del pod.spec.node_selector["disk"]
    required = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    required.node_selector_terms.append(term(("arch", "In", ["amd64"])))
    assert not pod_matches_node(pod, LABELS, "n1")
    required.node_selector_terms.append(term(("arch", "In", ["arm64"])))
    assert pod_matches_node(pod, LABELS, "n1")


def test_preferences_do_not_bind() -> None:
    pod = Pod()
    pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution.add(weight=1)
    assert pod_matches_node(pod, LABELS, "n1")
