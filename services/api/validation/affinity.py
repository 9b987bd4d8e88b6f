"""Rules of node selection: node selector, affinity, tolerations, topology spread (``validateAffinity`` and its kin)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from services.api import names
from services.api.pb.ursa.core.v1.pod_pb2 import (
    Affinity,
    NodeAffinity,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinity,
    PodAffinityTerm,
    Toleration,
    TopologySpreadConstraint,
)
from services.api.validation.selectors import label_selector_faults
from services.api.validation.violations import (
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    one_of,
    required,
    under,
)

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EFFECTS = frozenset(("NoSchedule", "PreferNoSchedule", "NoExecute"))
_NODE_OPERATORS = frozenset(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
_FIELD_OPERATORS = frozenset(("In", "NotIn"))
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def affinity_faults(affinity: Affinity) -> Violations:
    """Paths start inside ``affinity``."""
    found: Violations = []
    if affinity.HasField("node_affinity"):
        found += under("nodeAffinity", _node_affinity(affinity.node_affinity))
    if affinity.HasField("pod_affinity"):
        found += under("podAffinity", _pod_affinity(affinity.pod_affinity))
    if affinity.HasField("pod_anti_affinity"):
        found += under("podAntiAffinity", _pod_affinity(affinity.pod_anti_affinity))
    return found


def _node_affinity(affinity: NodeAffinity) -> Violations:
    found: Violations = []
    if affinity.HasField("required_during_scheduling_ignored_during_execution"):
        terms = affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
        here = f"{REQUIRED}.nodeSelectorTerms"
        if not terms:
            found.append(required(here, "must have at least one node selector term"))
        for index, term in enumerate(terms):
            found += under(f"{here}[{index}]", _node_term(term))
    for index, preferred in enumerate(affinity.preferred_during_scheduling_ignored_during_execution):
        here = f"{PREFERRED}[{index}]"
        found += _weight(f"{here}.weight", preferred.weight)
        found += under(f"{here}.preference", _node_term(preferred.preference))
    return found


def _weight(field: str, weight: int) -> Violations:
    return [] if 1 <= weight <= 100 else [invalid(field, weight, "must be in the range 1-100")]


def _node_term(term: NodeSelectorTerm) -> Violations:
    found: Violations = []
    for index, requirement in enumerate(term.match_expressions):
        found += under(f"matchExpressions[{index}]", _node_requirement(requirement))
    for index, requirement in enumerate(term.match_fields):
        found += under(f"matchFields[{index}]", _field_requirement(requirement))
    return found


def _node_requirement(requirement: NodeSelectorRequirement) -> Violations:
    found = faults("key", requirement.key, names.qualified_name(requirement.key))
    operator, values = requirement.operator, requirement.values
    found += one_of("operator", operator, _NODE_OPERATORS)
    if operator in _FIELD_OPERATORS and not values:
        found.append(required("values", f"must be specified when operator is {operator}"))
    if operator in ("Exists", "DoesNotExist") and values:
        found.append(forbidden("values", f"may not be specified when operator is {operator}"))
    if operator in ("Gt", "Lt"):
        if len(values) != 1:
            found.append(required("values", f"must be one value when operator is {operator}"))
        elif not _INTEGER.fullmatch(values[0]):
            found.append(invalid("values[0]", values[0], f"must be an integer when operator is {operator}"))
    for index, value in enumerate(values):
        found += faults(f"values[{index}]", value, names.label_value(value))
    return found


def _field_requirement(requirement: NodeSelectorRequirement) -> Violations:
    found = one_of("key", requirement.key, ("metadata.name",))
    found += one_of("operator", requirement.operator, _FIELD_OPERATORS)
    if len(requirement.values) != 1:
        found.append(required("values", "must be one value for a field selector"))
    for index, value in enumerate(requirement.values):
        found += faults(f"values[{index}]", value, names.dns_subdomain(value))
    return found


def _pod_affinity(affinity: PodAffinity) -> Violations:
    found: Violations = []
    for index, term in enumerate(affinity.required_during_scheduling_ignored_during_execution):
        found += under(f"{REQUIRED}[{index}]", _pod_term(term))
    for index, weighted in enumerate(affinity.preferred_during_scheduling_ignored_during_execution):
        here = f"{PREFERRED}[{index}]"
        found += _weight(f"{here}.weight", weighted.weight)
        found += under(f"{here}.podAffinityTerm", _pod_term(weighted.pod_affinity_term))
    return found


def _pod_term(term: PodAffinityTerm) -> Violations:
    found: Violations = []
    if not term.topology_key:
        found.append(required("topologyKey", "can not be empty"))
    else:
        found += faults("topologyKey", term.topology_key, names.qualified_name(term.topology_key))
    if term.HasField("label_selector"):
        found += under("labelSelector", label_selector_faults(term.label_selector))
    if term.HasField("namespace_selector"):
        found += under("namespaceSelector", label_selector_faults(term.namespace_selector))
    for index, namespace in enumerate(term.namespaces):
        found += faults(f"namespaces[{index}]", namespace, names.dns_label(namespace))
    selected = term.HasField("label_selector")
    found += _label_keys("matchLabelKeys", term.match_label_keys, selected)
    found += _label_keys("mismatchLabelKeys", term.mismatch_label_keys, selected)
    for key in sorted(set(term.match_label_keys) & set(term.mismatch_label_keys)):
        found.append(invalid("matchLabelKeys", key, "exists in both matchLabelKeys and mismatchLabelKeys"))
    return found


def _label_keys(field: str, keys: Sequence[str], selected: bool) -> Violations:
    if keys and not selected:
        return [forbidden(field, "must not be specified when labelSelector is not set")]
    found: Violations = []
    for index, key in enumerate(keys):
        found += faults(f"{field}[{index}]", key, names.qualified_name(key))
    return found


def tolerations_faults(tolerations: Iterable[Toleration]) -> Violations:
    """Paths start at ``tolerations``' own items: ``[0].operator``."""
    found: Violations = []
    for index, toleration in enumerate(tolerations):
        wrong = _toleration(toleration)
        if wrong:
            found += under(f"[{index}]", wrong)
    return found


def _toleration(toleration: Toleration) -> Violations:
    found: Violations = []
    if toleration.key:
        found += faults("key", toleration.key, names.qualified_name(toleration.key))
    elif toleration.operator != "Exists":
        found.append(invalid("operator", toleration.operator, "must be Exists when key is empty"))
    if toleration.operator not in ("", "Equal", "Exists"):
        found += one_of("operator", toleration.operator, ("Equal", "Exists"))
    if toleration.operator == "Exists" and toleration.value:
        found.append(invalid("value", toleration.value, "value must be empty when operator is Exists"))
    elif toleration.value:
        found += faults("value", toleration.value, names.label_value(toleration.value))
    found += one_of("effect", toleration.effect, EFFECTS, optional=True)
    if toleration.HasField("toleration_seconds") and toleration.effect != "NoExecute":
        found.append(invalid("effect", toleration.effect, "must be NoExecute when tolerationSeconds is set"))
    return found


def spread_faults(constraints: Iterable[TopologySpreadConstraint]) -> Violations:
    """Paths start at the items: ``[0].maxSkew``."""
    found: Violations = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        found += under(f"[{index}]", _spread(constraint))
        pair = (constraint.topology_key, constraint.when_unsatisfiable)
        if pair in seen:
            found.append(duplicate(f"[{index}]", " ".join(pair)))
        seen.add(pair)
    return found


def _spread(constraint: TopologySpreadConstraint) -> Violations:
    found: Violations = []
    if constraint.max_skew <= 0:
        found.append(invalid("maxSkew", constraint.max_skew, "must be greater than zero"))
    if not constraint.topology_key:
        found.append(required("topologyKey", "can not be empty"))
    else:
        found += faults("topologyKey", constraint.topology_key, names.qualified_name(constraint.topology_key))
    found += one_of("whenUnsatisfiable", constraint.when_unsatisfiable, ("DoNotSchedule", "ScheduleAnyway"))
    if constraint.HasField("min_domains"):
        if constraint.min_domains <= 0:
            found.append(invalid("minDomains", constraint.min_domains, "must be greater than zero"))
        if constraint.when_unsatisfiable != "DoNotSchedule":
            detail = "can only use minDomains if whenUnsatisfiable is DoNotSchedule"
            found.append(invalid("minDomains", constraint.min_domains, detail))
    policies: Sequence[tuple[str, str]] = (
        ("nodeAffinityPolicy", constraint.node_affinity_policy),
        ("nodeTaintsPolicy", constraint.node_taints_policy),
    )
    for field, policy in policies:
        found += one_of(field, policy, ("Honor", "Ignore"), optional=True)
    if constraint.HasField("label_selector"):
        found += under("labelSelector", label_selector_faults(constraint.label_selector))
    found += _label_keys("matchLabelKeys", constraint.match_label_keys, constraint.HasField("label_selector"))
    return found
