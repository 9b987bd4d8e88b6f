"""Capacity ledgers as a scheduler reads them: what its tenant partition holds of a node, and what the others take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityLedger, CapacityPromise
from services.client.informer import Accessors
from services.scheduler.core.pods import PODS
from services.scheduler.core.ports import HostPort

Amounts = Mapping[str, int]

_NO_PROMISES: Mapping[str, Sequence[str]] = MappingProxyType({})
_NO_PORTS: frozenset[HostPort] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class SeenLedger:
    """``own``: what claims of the scheduler's tenant partition hold; ``others``: what those of all other tenant
    partitions hold and what their promises reserve beyond it. Canonical int64 units, "pods" among them.

    ``ports``: of every held claim. ``promises``: for each promised pod of the own tenant partition the UIDs of the pods
    that it waits for.
    """

    name: str
    uid: str
    resource_version: int
    own: dict[str, int]
    others: dict[str, int]
    ports: frozenset[HostPort] = _NO_PORTS
    promises: Mapping[str, Sequence[str]] = field(default_factory=lambda: _NO_PROMISES)

    def frees(self, before: SeenLedger | None) -> bool:
        """Something that ``before`` counted is not counted any more."""
        if before is None:
            return False
        return (
            _less(self.own, before.own)
            or _less(self.others, before.others)
            or not before.ports <= self.ports
            or len(self.promises) < len(before.promises)
        )


LEDGER_ACCESSORS: Accessors[SeenLedger] = Accessors(
    key=lambda seen: seen.name, uid=lambda seen: seen.uid, version=lambda seen: seen.resource_version
)


class LedgerReader:
    """Decodes ledgers for the scheduler of ``tenant_partition``."""

    def __init__(self, tenant_partition: str) -> None:
        self._tenant_partition = tenant_partition

    def __call__(self, data: bytes) -> SeenLedger:
        """Raises ``google.protobuf.message.DecodeError``."""
        return self.read(CapacityLedger.FromString(data))

    def read(self, ledger: CapacityLedger) -> SeenLedger:
        own: dict[str, int] = {}
        others: dict[str, int] = {}
        for total in ledger.claimed:
            if total.tenant_partition == self._tenant_partition:
                own = dict(total.requests)
                own[PODS] = total.pods
            else:
                _add(others, total.requests)
                others[PODS] = others.get(PODS, 0) + total.pods
        ports = _NO_PORTS
        if ledger.host_ports:
            ports = frozenset((port.protocol, port.host_ip, port.host_port) for port in ledger.host_ports)
        promises = self._promises(ledger.promises, others) if ledger.promises else _NO_PROMISES
        metadata = ledger.metadata
        return SeenLedger(metadata.name, metadata.uid, metadata.resource_version, own, others, ports, promises)

    def _promises(self, promises: Sequence[CapacityPromise], others: dict[str, int]) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        for promise in promises:
            if promise.tenant_partition == self._tenant_partition:
                # The pod itself is counted as assumed, and its victims as placed.
                found[promise.pod_uid] = tuple(victim.pod_uid for victim in promise.waits_for)
                continue
            # A promise reserves what its victims, which are counted as held, do not cover.
            missing = {**promise.requests, PODS: 1 - len(promise.waits_for)}
            for victim in promise.waits_for:
                for resource, amount in victim.requests.items():
                    if resource in missing:
                        missing[resource] -= amount
            _add(others, {resource: amount for resource, amount in missing.items() if amount > 0})
        return found


def _add(into: dict[str, int], more: Mapping[str, int]) -> None:
    for resource, amount in more.items():
        into[resource] = into.get(resource, 0) + amount


def _less(now: Amounts, before: Amounts) -> bool:
    return any(now.get(resource, 0) < amount for resource, amount in before.items())
