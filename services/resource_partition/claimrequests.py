"""What may be asked of the ledgers: whether a claim or a release makes sense in itself. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from services.api import names, wire
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimRelease
from services.api.quantities import INT64_MAX
from services.apiserver import objects
from services.placement.pods import WILDCARD_IP
from services.placement.resources import PODS
from services.resource_partition.claimwire import BatchClaimView, PlainClaim, Template, Templates
from services.rpc import status
from services.rpc.status import Violation

RESOURCES_MAX = 128
PORTS_MAX = 1024
REPLACES_MAX = 1024
PROTOCOLS = ("TCP", "UDP", "SCTP")

_UID = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
_FORM = "at most 253 alphanumeric characters, '-', '_' or '.'"
_UID_RULE = f"must be a pod's UID: {_FORM}"
_NODE_UID_RULE = f"must be a node's UID: {_FORM}"
# A claim whose pod cannot be asked about would never end: every name must be one that a partition, a pod may have.
_TEXTS: tuple[tuple[str, str, Callable[[str], list[str]]], ...] = (
    ("node_name", "nodeName", names.dns_subdomain),
    ("tenant_partition", "tenantPartition", names.dns_subdomain),
    ("tenant", "tenant", names.dns_label),
    ("namespace", "namespace", names.dns_label),
    ("pod_name", "podName", names.dns_subdomain),
)

WantedClaim = PlainClaim | CapacityClaim


class ClaimReader:
    """Reads requests; remembers templates that it has found to be sound."""

    def __init__(self) -> None:
        self._templates = Templates()

    def read(self, request: bytes) -> list[WantedClaim]:
        """The claims in order. A ``PlainClaim`` is sound but for its node's name, which is still to be looked at.

        Raises ``StatusError``: as ``objects.parse_request``.
        """
        found: list[WantedClaim] = []
        for index, view in enumerate(objects.parse_request(BatchClaimView, request).claims):
            spec = view.spec
            if not (spec.host_ports or spec.replaces) and spec.bind_epoch >= 0:
                uid = view.metadata.name
                template = self._templates.of(spec) or self._learned(view, index)
                if template is not None and _UID.fullmatch(uid) and _pod_and_node_uid_are_sound(spec):
                    found.append(PlainClaim(uid, spec, template))
                    continue
            found.append(_whole(view, index))
        return found

    def _learned(self, view: Any, index: int) -> Template | None:
        claim = _whole(view, index)
        return None if claim_faults(claim, "") else self._templates.learn(view.spec, claim.spec)


def _pod_and_node_uid_are_sound(spec: Any) -> bool:
    """Of what no template says; the node's name is looked at where its desk is."""
    return not names.dns_subdomain(spec.pod_name) and (not spec.node_uid or bool(_UID.fullmatch(spec.node_uid)))


def _whole(view: Any, index: int) -> CapacityClaim:
    try:
        claim = CapacityClaim.FromString(view.SerializeToString())
    except DecodeError as failure:
        raise status.bad_field(f"claims[{index}]", "cannot be parsed") from failure
    unknown = wire.has_unknown_fields(claim)
    if unknown:
        raise status.bad_field(f"claims[{index}].{unknown}", f"unknown field of {CapacityClaim.DESCRIPTOR.full_name}")
    return claim


def complete(claim: CapacityClaim) -> None:
    """Fill in what Kubernetes means by leaving it out: a port's protocol and address."""
    for port in claim.spec.host_ports:
        port.protocol = port.protocol or "TCP"
        port.host_ip = port.host_ip or WILDCARD_IP


def claim_faults(claim: CapacityClaim, path: str) -> list[Violation]:
    """``path``: of the claim in its request ("claims[3]"). Empty: nothing is wrong."""
    found: list[Violation] = []
    spec = claim.spec
    if not _UID.fullmatch(claim.metadata.name):
        found.append(Violation(f"{path}.metadata.name", _UID_RULE))
    for field, shown, rule in _TEXTS:
        text = getattr(spec, field)
        found += [Violation(f"{path}.spec.{shown}", fault) for fault in (rule(text) if text else ["Required value"])]
    if spec.node_uid and not _UID.fullmatch(spec.node_uid):
        found.append(Violation(f"{path}.spec.nodeUID", _NODE_UID_RULE))
    if spec.bind_epoch < 0:
        found.append(Violation(f"{path}.spec.bindEpoch", "must not be negative"))
    found += _request_faults(spec, path)
    if spec.host_ports:
        found += _port_faults(spec, path)
    if spec.replaces:
        found += _replaces_faults(claim, path)
    return found


def _request_faults(spec: Any, path: str) -> list[Violation]:
    found = []
    if len(spec.requests) > RESOURCES_MAX:
        found.append(Violation(f"{path}.spec.requests", f"more than {RESOURCES_MAX} resources"))
    for resource, amount in spec.requests.items():
        if resource == PODS or not resource:
            why = "every claim counts one pod" if resource else "a resource has a name"
            found.append(Violation(f"{path}.spec.requests[{resource}]", why))
        elif not 0 <= amount <= INT64_MAX // 2:
            found.append(Violation(f"{path}.spec.requests[{resource}]", f"must be from 0 to {INT64_MAX // 2}"))
    return found


def _port_faults(spec: Any, path: str) -> list[Violation]:
    found = []
    if len(spec.host_ports) > PORTS_MAX:
        found.append(Violation(f"{path}.spec.hostPorts", f"more than {PORTS_MAX} ports"))
    for index, port in enumerate(spec.host_ports):
        if not 0 < port.host_port < 65536:
            found.append(Violation(f"{path}.spec.hostPorts[{index}].hostPort", "must be from 1 to 65535"))
        if port.protocol not in PROTOCOLS:
            found.append(Violation(f"{path}.spec.hostPorts[{index}].protocol", f"must be one of {PROTOCOLS}"))
    return found


def _replaces_faults(claim: CapacityClaim, path: str) -> list[Violation]:
    found = []
    if len(claim.spec.replaces) > REPLACES_MAX:
        found.append(Violation(f"{path}.spec.replaces", f"more than {REPLACES_MAX} pods"))
    for index, uid in enumerate(claim.spec.replaces):
        if not _UID.fullmatch(uid):
            found.append(Violation(f"{path}.spec.replaces[{index}]", _UID_RULE))
        elif uid == claim.metadata.name:
            found.append(Violation(f"{path}.spec.replaces[{index}]", "a pod does not replace itself"))
    return found


def release_faults(release: ClaimRelease, path: str) -> list[Violation]:
    """As ``claim_faults``."""
    found: list[Violation] = []
    if not _UID.fullmatch(release.pod_uid):
        found.append(Violation(f"{path}.podUID", _UID_RULE))
    if release.fact not in _FACTS:
        found.append(Violation(f"{path}.fact", "must be ABSENT, TERMINAL, BOUND_ELSEWHERE or REVOKED"))
    if release.bind_epoch < 0:
        found.append(Violation(f"{path}.bindEpoch", "must not be negative"))
    if release.node_name and "/" in release.node_name:
        found.append(Violation(f"{path}.nodeName", "may not contain '/'"))
    return found


_FACTS = (ClaimRelease.ABSENT, ClaimRelease.TERMINAL, ClaimRelease.BOUND_ELSEWHERE, ClaimRelease.REVOKED)
