"""Rules of PodDisruptionBudgets (kubernetes ``pkg/apis/policy/validation``)."""

from __future__ import annotations

import re

from google.protobuf.struct_pb2 import Value

from services.api.pb.ursa.policy.v1.pod_disruption_budget_pb2 import PodDisruptionBudget
from services.api.validation.selectors import label_selector_faults
from services.api.validation.violations import Violations, invalid, non_negative, one_of, under

EVICTION_POLICIES = ("IfHealthyBudget", "AlwaysAllow")
_PERCENTAGE = re.compile(r"[0-9]+%")


def pod_disruption_budget(budget: PodDisruptionBudget) -> Violations:
    spec = budget.spec
    found: Violations = []
    if spec.HasField("min_available") and spec.HasField("max_unavailable"):
        found.append(invalid("spec", "", "minAvailable and maxUnavailable cannot be both set"))
    if spec.HasField("min_available"):
        found += pods_or_percentage_faults("spec.minAvailable", spec.min_available)
    if spec.HasField("max_unavailable"):
        found += pods_or_percentage_faults("spec.maxUnavailable", spec.max_unavailable)
    if spec.HasField("selector"):
        found += under("spec.selector", label_selector_faults(spec.selector))
    policy = spec.unhealthy_pod_eviction_policy
    found += one_of("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES, optional=True)
    status = budget.status
    found += non_negative("status.disruptionsAllowed", status.disruptions_allowed)
    found += non_negative("status.currentHealthy", status.current_healthy)
    found += non_negative("status.desiredHealthy", status.desired_healthy)
    return found + non_negative("status.expectedPods", status.expected_pods)


def pods_or_percentage_faults(field: str, value: Value) -> Violations:
    """IntOrString: a whole number that is not negative, or a percentage of at most 100%."""
    form = value.WhichOneof("kind")
    if form == "number_value":
        number = value.number_value
        if not number.is_integer():
            return [invalid(field, number, "must be an integer or a percentage (e.g. '5%')")]
        return non_negative(field, int(number))
    text = value.string_value if form == "string_value" else ""
    if not _PERCENTAGE.fullmatch(text):
        return [invalid(field, text, "must be an integer or a percentage (e.g. '5%')")]
    return [invalid(field, text, "must not be greater than 100%")] if int(text[:-1]) > 100 else []
