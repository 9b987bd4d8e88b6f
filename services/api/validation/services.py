"""Rules of Services (kubernetes ``pkg/apis/core/validation`` ValidateService); nothing here allocates addresses."""

from __future__ import annotations

from services.api import names
from services.api.pb.ursa.core.v1.service_pb2 import Service, ServicePort, ServiceSpec
from services.api.validation.containers import int_or_port_name, is_ip, port_faults
from services.api.validation.metadata import labels_faults
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

HEADLESS = "None"
TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
PROTOCOLS = ("TCP", "UDP", "SCTP")
AFFINITY_S_MAX = 86_400
_EXTERNAL = ("NodePort", "LoadBalancer")


def service(service: Service) -> Violations:
    spec = service.spec
    found = _type(spec) + _addresses(spec) + _ports(spec) + _affinity(spec) + _policies(spec)
    return under("spec", found + labels_faults("selector", spec.selector))


def service_update(new: Service, old: Service) -> Violations:
    found = service(new)
    before, after = old.spec, new.spec
    if "ExternalName" not in (before.type, after.type) and before.cluster_ip and after.cluster_ip != before.cluster_ip:
        found.append(forbidden("spec.clusterIP", "may not be changed once it is set"))
    return found


def _type(spec: ServiceSpec) -> Violations:
    found = one_of("type", spec.type, TYPES)
    if spec.type == "ExternalName":
        if spec.cluster_ip:
            found.append(forbidden("clusterIP", "may not be set for ExternalName services"))
        name = spec.external_name.removesuffix(".")
        return found + (faults("externalName", name, names.dns_subdomain(name)) if name else [required("externalName")])
    if spec.type in _EXTERNAL and spec.cluster_ip == HEADLESS:
        found.append(invalid("clusterIP", HEADLESS, f"may not be set to 'None' for {spec.type} services"))
    return found


def _addresses(spec: ServiceSpec) -> Violations:
    found: Violations = []
    if spec.cluster_ip and spec.cluster_ip != HEADLESS and not is_ip(spec.cluster_ip):
        found.append(invalid("clusterIP", spec.cluster_ip, "must be empty, 'None', or a valid IP address"))
    for index, address in enumerate(spec.cluster_ips):
        if index == 0 and address != spec.cluster_ip:
            found.append(invalid("clusterIPs[0]", address, "first value must match `clusterIP`"))
        elif index and not is_ip(address):
            found.append(invalid(f"clusterIPs[{index}]", address, "must be a valid IP address"))
    for index, address in enumerate(spec.external_ips):
        if not is_ip(address):
            found.append(invalid(f"externalIPs[{index}]", address, "must be a valid IP address"))
    return found


def _ports(spec: ServiceSpec) -> Violations:
    found: Violations = []
    if not spec.ports and spec.cluster_ip != HEADLESS and spec.type != "ExternalName":
        found.append(required("ports"))
    seen_names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        here = f"ports[{index}]"
        found += under(here, _port(port, spec, named=len(spec.ports) > 1))
        if port.name and port.name in seen_names:
            found.append(duplicate(f"{here}.name", port.name))
        if (port.protocol, port.port) in seen:
            found.append(duplicate(here, f"{port.port}/{port.protocol}"))
        if port.node_port and (port.protocol, port.node_port) in seen_node_ports:
            found.append(duplicate(f"{here}.nodePort", port.node_port))
        seen_names.add(port.name)
        seen.add((port.protocol, port.port))
        seen_node_ports.add((port.protocol, port.node_port))
    return found


def _port(port: ServicePort, spec: ServiceSpec, *, named: bool) -> Violations:
    found: Violations = []
    if port.name:
        found += faults("name", port.name, names.dns_label(port.name))
    elif named:
        found.append(required("name"))
    found += port_faults("port", port.port)
    found += one_of("protocol", port.protocol, PROTOCOLS)
    found += int_or_port_name("targetPort", port.target_port)
    if port.app_protocol:
        found += faults("appProtocol", port.app_protocol, names.qualified_name(port.app_protocol))
    if not port.node_port:
        return found
    if spec.type not in _EXTERNAL:
        return [*found, forbidden("nodePort", f"may not be used when `type` is '{spec.type}'")]
    return found + port_faults("nodePort", port.node_port)


def _affinity(spec: ServiceSpec) -> Violations:
    found = one_of("sessionAffinity", spec.session_affinity, ("ClientIP", "None"))
    if spec.session_affinity == "ClientIP":
        seconds = spec.session_affinity_config.client_ip.timeout_seconds
        if not 0 < seconds <= AFFINITY_S_MAX:
            here = "sessionAffinityConfig.clientIP.timeoutSeconds"
            found.append(invalid(here, seconds, f"must be greater than 0 and at most {AFFINITY_S_MAX}"))
    elif spec.HasField("session_affinity_config"):
        found.append(forbidden("sessionAffinityConfig", "must not be set when session affinity is None"))
    return found


def _policies(spec: ServiceSpec) -> Violations:
    found = one_of("internalTrafficPolicy", spec.internal_traffic_policy, ("Cluster", "Local"), optional=True)
    found += one_of("trafficDistribution", spec.traffic_distribution, ("PreferClose",), optional=True)
    if spec.external_traffic_policy and spec.type not in _EXTERNAL and not spec.external_ips:
        detail = "may only be set for externally-accessible services"
        return [*found, invalid("externalTrafficPolicy", spec.external_traffic_policy, detail)]
    return found + one_of("externalTrafficPolicy", spec.external_traffic_policy, ("Cluster", "Local"), optional=True)
