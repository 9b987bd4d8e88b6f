"""Rules of EndpointSlices (kubernetes ``pkg/apis/discovery/validation``)."""

from __future__ import annotations

import ipaddress

from services.api import names
from services.api.pb.ursa.discovery.v1.endpoint_slice_pb2 import Endpoint, EndpointPort, EndpointSlice
from services.api.validation.containers import port_faults
from services.api.validation.services import PROTOCOLS
from services.api.validation.violations import (
    FieldViolation,
    Violations,
    duplicate,
    faults,
    forbidden,
    invalid,
    one_of,
    required,
    under,
)

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
ENDPOINTS_MAX, ADDRESSES_MAX, PORTS_MAX = 1000, 100, 20_000


def endpoint_slice(found: EndpointSlice) -> Violations:
    wrong = one_of("addressType", found.address_type, ADDRESS_TYPES)
    wrong += _too_many("endpoints", len(found.endpoints), ENDPOINTS_MAX)
    for index, endpoint in enumerate(found.endpoints):
        wrong += under(f"endpoints[{index}]", _endpoint(endpoint, found.address_type))
    return wrong + _ports(found)


def endpoint_slice_update(new: EndpointSlice, old: EndpointSlice) -> Violations:
    wrong = endpoint_slice(new)
    if new.address_type != old.address_type:
        wrong.append(forbidden("addressType", "field is immutable"))
    return wrong


def _endpoint(endpoint: Endpoint, address_type: str) -> Violations:
    wrong: Violations = []
    if not endpoint.addresses:
        wrong.append(required("addresses", "must contain at least 1 address"))
    wrong += _too_many("addresses", len(endpoint.addresses), ADDRESSES_MAX)
    for index, address in enumerate(endpoint.addresses):
        wrong += faults(f"addresses[{index}]", address, _address_faults(address, address_type))
    if endpoint.HasField("hostname"):
        wrong += faults("hostname", endpoint.hostname, names.dns_label(endpoint.hostname))
    if endpoint.HasField("node_name"):
        wrong += faults("nodeName", endpoint.node_name, names.dns_subdomain(endpoint.node_name))
    return wrong


def _address_faults(address: str, address_type: str) -> list[str]:
    if address_type == "FQDN":
        name = address.removesuffix(".")
        return names.dns_subdomain(name) or ([] if "." in name else ["should be a domain with at least two segments"])
    if address_type not in ADDRESS_TYPES:
        return []  # The type itself has been refused.
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return [f"must be a valid {address_type} address"]
    if f"IPv{parsed.version}" != address_type:
        return [f"must be a valid {address_type} address"]
    if parsed.is_unspecified:
        return ["may not be unspecified (0.0.0.0 or ::)"]
    if parsed.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if parsed.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if parsed in _LINK_LOCAL_MULTICAST[parsed.version]:
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


_LINK_LOCAL_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/24"), 6: ipaddress.ip_network("ff02::/16")}


def _ports(found: EndpointSlice) -> Violations:
    wrong = _too_many("ports", len(found.ports), PORTS_MAX)
    seen: set[str] = set()
    for index, port in enumerate(found.ports):
        here = f"ports[{index}]"
        wrong += under(here, _port(port))
        if port.name in seen:
            wrong.append(duplicate(f"{here}.name", port.name))
        seen.add(port.name)
    return wrong


def _port(port: EndpointPort) -> Violations:
    wrong: Violations = []
    if port.name:
        wrong += faults("name", port.name, names.dns_label(port.name))
    wrong += one_of("protocol", port.protocol, PROTOCOLS)
    if port.HasField("port"):
        wrong += port_faults("port", port.port)
    if port.HasField("app_protocol"):
        wrong += faults("appProtocol", port.app_protocol, names.qualified_name(port.app_protocol))
    return wrong


def _too_many(field: str, count: int, most: int) -> list[FieldViolation]:
    return [invalid(field, count, f"must have at most {most} items")] if count > most else []
