"""Node selectors and node affinity (Kubernetes ``component-helpers/scheduling/corev1/nodeaffinity``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.api.pb.ursa.core.v1.pod_pb2 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def node_matches(selector: NodeSelector | NodeSelectorTerm, labels: Mapping[str, str], name: str) -> bool:
    """One of a selector's terms, all of a term's requirements must match; an empty one matches no node."""
    if isinstance(selector, NodeSelectorTerm):
        return _term_matches(selector, labels, name)
    return any(_term_matches(term, labels, name) for term in selector.node_selector_terms)


def pod_matches_node(pod: Pod, labels: Mapping[str, str], name: str) -> bool:
    """The node has the labels of the pod's node selector and matches its required node affinity."""
    spec = pod.spec
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    affinity = spec.affinity.node_affinity
    if not affinity.HasField("required_during_scheduling_ignored_during_execution"):
        return True
    return node_matches(affinity.required_during_scheduling_ignored_during_execution, labels, name)


def _term_matches(term: NodeSelectorTerm, labels: Mapping[str, str], name: str) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return all(requirement_matches(requirement, labels) for requirement in term.match_expressions) and all(
        requirement_matches(requirement, {"metadata.name": name}) for requirement in term.match_fields
    )


def requirement_matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    """NotIn and DoesNotExist hold where the label is absent; Gt and Lt compare integers and else do not hold."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _compares(operator, value, requirement)
        case _:
            return False


def _compares(operator: str, value: str | None, requirement: NodeSelectorRequirement) -> bool:
    if value is None or len(requirement.values) != 1:
        return False
    limit = requirement.values[0]
    if not _INTEGER.fullmatch(value) or not _INTEGER.fullmatch(limit):
        return False
    return int(value) > int(limit) if operator == "Gt" else int(value) < int(limit)
