# ruff: noqa: E501 (tables: one case, one line)
"""Services and PodDisruptionBudgets: what is filled in, and what is refused with the path of its field."""

from __future__ import annotations

from typing import Any

import pytest

from services.api import defaults, manifests, validation
from services.api.kinds import POD_DISRUPTION_BUDGETS, SERVICES, Kind

PORT = {"port": 80}


def made(kind: Kind, spec: dict[str, Any], **rest: Any) -> Any:
    name = rest.pop("name", "web")
    document = {"metadata": {"name": name, "tenant": "acme", "namespace": "default"}, "spec": spec, **rest}
    message = manifests.parse_json(kind, document)
    defaults.apply(kind, message)
    return message


def faults(kind: Kind, spec: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    found = validation.validate_create(kind, made(kind, spec, **rest))
    return [(violation.field, violation.reason) for violation in found]


def service(**spec: Any) -> dict[str, Any]:
    return {"ports": [PORT], **spec}


def test_a_service_of_one_port_gets_kubernetes_defaults() -> None:
    filled = made(SERVICES, {"ports": [PORT], "clusterIP": "None"})
    assert manifests.to_dict(SERVICES, filled)["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "clusterIP": "None",
        "clusterIPs": ["None"],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }


def test_the_defaults_of_other_types() -> None:
    balancer = made(SERVICES, service(type="LoadBalancer", sessionAffinity="ClientIP")).spec
    assert balancer.external_traffic_policy == "Cluster" and balancer.allocate_load_balancer_node_ports
    assert balancer.session_affinity_config.client_ip.timeout_seconds == 10_800
    name = made(SERVICES, {"type": "ExternalName", "externalName": "db.example.com"}).spec
    assert (name.internal_traffic_policy, name.external_traffic_policy) == ("", "")
    named = made(SERVICES, {"ports": [{"port": 80, "targetPort": "http"}]}).spec
    assert named.ports[0].target_port.string_value == "http"


@pytest.mark.parametrize(
    "spec",
    [
        service(),
        service(selector={"app": "web"}, externalIPs=["192.0.2.1"], externalTrafficPolicy="Local"),
        {"clusterIP": "None"},
        {"type": "ExternalName", "externalName": "db.example.com"},
        service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]),
        {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}]},
    ],
)
def test_good_services_pass(spec: dict[str, Any]) -> None:
    assert faults(SERVICES, spec) == []


BAD_SERVICES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "spec.ports", "Required"),
    (service(type="Magic"), "spec.type", "NotSupported"),
    ({"type": "ExternalName"}, "spec.externalName", "Required"),
    ({"type": "ExternalName", "externalName": "a_b"}, "spec.externalName", "Invalid"),
    (service(type="ExternalName", externalName="a", clusterIP="10.0.0.1"), "spec.clusterIP", "Forbidden"),
    (service(type="NodePort", clusterIP="None"), "spec.clusterIP", "Invalid"),
    (service(clusterIP="ten"), "spec.clusterIP", "Invalid"),
    (service(clusterIP="10.0.0.1", clusterIPs=["10.0.0.2"]), "spec.clusterIPs[0]", "Invalid"),
    (service(externalIPs=["x"]), "spec.externalIPs[0]", "Invalid"),
    (service(selector={"a b": "c"}), "spec.selector[a b]", "Invalid"),
    (service(sessionAffinity="Sticky"), "spec.sessionAffinity", "NotSupported"),
    (service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}), "spec.sessionAffinityConfig.clientIP.timeoutSeconds", "Invalid"),
    (service(internalTrafficPolicy="x"), "spec.internalTrafficPolicy", "NotSupported"),
    (service(externalTrafficPolicy="Local"), "spec.externalTrafficPolicy", "Invalid"),
    ({"ports": [{"port": 0, "targetPort": 80}]}, "spec.ports[0].port", "Invalid"),
    ({"ports": [{"port": 80, "protocol": "HTTP"}]}, "spec.ports[0].protocol", "NotSupported"),
    ({"ports": [{"port": 80, "targetPort": 70000}]}, "spec.ports[0].targetPort", "Invalid"),
    ({"ports": [{"port": 80, "nodePort": 30000}]}, "spec.ports[0].nodePort", "Forbidden"),
    ({"ports": [{"port": 80, "name": "a"}, {"port": 81}]}, "spec.ports[1].name", "Required"),
    ({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}, "spec.ports[1].name", "Duplicate"),
    ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}, "spec.ports[1]", "Duplicate"),
    (service(type="NodePort", ports=[{"port": 80, "name": "a", "nodePort": 30000}, {"port": 81, "name": "b", "nodePort": 30000}]), "spec.ports[1].nodePort", "Duplicate"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "reason"), BAD_SERVICES)
def test_a_bad_service_is_named_by_its_field(spec: dict[str, Any], field: str, reason: str) -> None:
    assert faults(SERVICES, spec) == [(field, reason)]


def test_a_services_name_is_a_dns_label_that_begins_with_a_letter() -> None:
    assert faults(SERVICES, service(), name="1web") == [("metadata.name", "Invalid")]


def test_a_cluster_ip_stays() -> None:
    old, new = made(SERVICES, service(clusterIP="10.0.0.1")), made(SERVICES, service(clusterIP="10.0.0.2"))
    found = validation.validate_update(SERVICES, new, old)
    assert [(violation.field, violation.reason) for violation in found] == [("spec.clusterIP", "Forbidden")]
    assert validation.validate_update(SERVICES, new, made(SERVICES, service())) == []


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"minAvailable": 0, "selector": {}},
        {"minAvailable": "100%"},
        {"maxUnavailable": 3, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        {"maxUnavailable": "0%", "selector": {"matchLabels": {"app": "web"}}},
    ],
)
def test_good_budgets_pass(spec: dict[str, Any]) -> None:
    assert faults(POD_DISRUPTION_BUDGETS, spec) == []


BAD_BUDGETS: list[tuple[dict[str, Any], str, str]] = [
    ({"minAvailable": 1, "maxUnavailable": 1}, "spec", "Invalid"),
    ({"minAvailable": -1}, "spec.minAvailable", "Invalid"),
    ({"minAvailable": "101%"}, "spec.minAvailable", "Invalid"),
    ({"maxUnavailable": "half"}, "spec.maxUnavailable", "Invalid"),
    ({"maxUnavailable": "-5%"}, "spec.maxUnavailable", "Invalid"),
    ({"unhealthyPodEvictionPolicy": "Sometimes"}, "spec.unhealthyPodEvictionPolicy", "NotSupported"),
    ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "spec.selector.matchExpressions[0].values", "Required"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "reason"), BAD_BUDGETS)
def test_a_bad_budget_is_named_by_its_field(spec: dict[str, Any], field: str, reason: str) -> None:
    assert faults(POD_DISRUPTION_BUDGETS, spec) == [(field, reason)]


def test_half_a_pod_is_no_number_of_pods() -> None:
    budget = made(POD_DISRUPTION_BUDGETS, {"minAvailable": 1})
    budget.spec.min_available.number_value = 1.5
    found = validation.validate_create(POD_DISRUPTION_BUDGETS, budget)
    assert [(violation.field, violation.reason) for violation in found] == [("spec.minAvailable", "Invalid")]


def test_a_budgets_status_counts_are_not_negative() -> None:
    assert faults(POD_DISRUPTION_BUDGETS, {}, status={"currentHealthy": -1}) == [("status.currentHealthy", "Invalid")]
