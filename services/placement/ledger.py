"""The arithmetic of a node's capacity ledger: which claims a node can hold, and what becomes of it as they end.

Pure: a ``Ledger`` is never changed, each move returns another one (or the same object, when nothing changed). A server
commits what a move returns in one transaction with the claims that it concerns (docs/adr/0011).

Amounts are ``{resource: int64}`` in canonical units (``services.placement.resources``), "pods" among them.

Rules, for every resource that a claim asks for, and for pods:

- *room*: a claim is held only if ``sum(held) + sum(reserved by promises) + claim <= allocatable``, and none of its host
  ports is held or promised. So the sum of the held claims is over allocatable only where allocatable itself has shrunk.
- A claim that *replaces* others is promised: as they end, what they free is its own, and with the last it is held.
  A promise reserves ``max(0, promise - its victims that are still held)``: the victims' own room is counted already.
- A promise whose victims have all ended while the node shrank waits on, and is held as soon as there is room.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, CapacityLedger, ClaimedPort, ClaimRelease
from services.placement import nodes
from services.placement.pods import HostPort, ports_conflict
from services.placement.resources import PODS, Amounts

EPOCH_PASSED = "EpochPassed"
HELD_ELSEWHERE = "HeldElsewhere"
NODE_NOT_FOUND = "NodeNotFound"
NODE_CHANGED = "NodeChanged"
INSUFFICIENT = "Insufficient"
PORT_CONFLICT = "PortConflict"
VICTIM_PROMISED = "VictimPromised"
VICTIM_FOREIGN = "VictimForeign"

_NOTHING: Amounts = MappingProxyType({})
_NO_PORTS: frozenset[HostPort] = frozenset()

Recorded = Callable[[str], CapacityClaim | None]
"""The claim that a pod UID has in this partition, held or promised; None: it has none."""


class State(enum.Enum):
    """What becomes of a claim; the values are those of ``ClaimOutcome.State``."""

    HELD = 1
    PROMISED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Victim:
    """A held claim that a promise waits for. ``requests`` include "pods"."""

    pod_uid: str
    requests: Amounts
    host_ports: frozenset[HostPort] = _NO_PORTS


@dataclass(frozen=True, slots=True)
class Promise:
    """A claim that is held as soon as ``waits_for`` is empty and the node has room. ``requests`` include "pods"."""

    pod_uid: str
    tenant_partition: str
    requests: Amounts
    host_ports: frozenset[HostPort]
    waits_for: tuple[Victim, ...]

    @property
    def reserved(self) -> Amounts:
        """What it needs beyond its victims that are still held."""
        waiting: dict[str, int] = {}
        for victim in self.waits_for:
            _add(waiting, victim.requests)
        return {
            resource: amount - waiting.get(resource, 0)
            for resource, amount in self.requests.items()
            if amount > waiting.get(resource, 0)
        }


@dataclass(slots=True)
class Ledger:
    """A node's claims in sum; a value, not frozen for speed.

    ``node_uid`` "": there is no such Node (any more). ``claimed``: what each tenant
    partition's held claims take, "pods" among it; ``used``: all held claims and what promises reserve beyond them.
    """

    node_uid: str = ""
    allocatable: Amounts = field(default_factory=dict)
    claimed: Mapping[str, Amounts] = field(default_factory=dict)
    host_ports: frozenset[HostPort] = _NO_PORTS
    promises: tuple[Promise, ...] = ()
    used: Amounts = field(default_factory=dict)

    @classmethod
    def of(cls, message: CapacityLedger) -> Ledger:
        """As it is stored."""
        claimed = {}
        for total in message.claimed:
            amounts = dict(total.requests)
            amounts[PODS] = total.pods
            claimed[total.tenant_partition] = amounts
        promises = tuple(
            Promise(
                promise.pod_uid,
                promise.tenant_partition,
                {**promise.requests, PODS: 1},
                ports_of(promise.host_ports),
                tuple(
                    Victim(victim.pod_uid, {**victim.requests, PODS: 1}, ports_of(victim.host_ports))
                    for victim in promise.waits_for
                ),
            )
            for promise in message.promises
        )
        return _with_used(
            cls(message.node_uid, dict(message.allocatable), claimed, ports_of(message.host_ports), promises)
        )

    def write_to(self, message: CapacityLedger) -> None:
        """Set everything of ``message`` but its metadata; equal ledgers give equal messages."""
        for name in ("allocatable", "claimed", "host_ports", "promises"):
            message.ClearField(name)
        message.node_uid = self.node_uid
        message.allocatable.update(self.allocatable)
        self.write_totals_to(message)
        _set_ports(message.host_ports, self.host_ports)
        for promise in self.promises:
            told = message.promises.add(pod_uid=promise.pod_uid, tenant_partition=promise.tenant_partition)
            _set_requests(told.requests, promise.requests)
            _set_ports(told.host_ports, promise.host_ports)
            for victim in promise.waits_for:
                waiting = told.waits_for.add(pod_uid=victim.pod_uid)
                _set_requests(waiting.requests, victim.requests)
                _set_ports(waiting.host_ports, victim.host_ports)

    def write_totals_to(self, message: CapacityLedger) -> None:
        """Set the claimed totals of ``message``, which is right in everything else."""
        message.ClearField("claimed")
        for partition, amounts in sorted(self.claimed.items()):
            total = message.claimed.add(tenant_partition=partition, pods=amounts.get(PODS, 0))
            _set_requests(total.requests, amounts)

    def differs_in_totals_only(self, other: Ledger) -> bool:
        """``other`` is this ledger after claims that are held, or the end of some: most moves are no more than that."""
        return (
            self.allocatable is other.allocatable
            and self.node_uid == other.node_uid
            and self.host_ports is other.host_ports
            and self.promises is other.promises
        )

    @property
    def obsolete(self) -> bool:
        """There is neither a Node nor a claim: nothing to remember."""
        return not self.node_uid and not self.claimed and not self.promises

    def promise_of(self, pod_uid: str) -> Promise | None:
        """The promise made to a pod."""
        return next((promise for promise in self.promises if promise.pod_uid == pod_uid), None)

    def shortage(self, requests: Amounts, without: Amounts = _NOTHING) -> str:
        """The first resource of ``requests`` that is short once ``without`` has left; "": there is room."""
        used, allocatable = self.used, self.allocatable
        for resource, amount in requests.items():
            if amount + used.get(resource, 0) - without.get(resource, 0) > allocatable.get(resource, 0):
                return resource
        return ""


class Decision(NamedTuple):
    """What becomes of a claim. ``ledger``: the next one. ``record``: the claim to store with it, without metadata but
    its name; None: nothing is to be stored (refused, or recorded so already). ``node_name``, ``bind_epoch``: of the
    claim that the pod now has (of the one that it has elsewhere, for HeldElsewhere)."""

    ledger: Ledger | None
    record: CapacityClaim | None
    state: State
    node_name: str
    bind_epoch: int
    reason: str = ""
    message: str = ""


def claim(ledger: Ledger | None, wanted: CapacityClaim, recorded: Recorded) -> Decision:
    """Decide on ``wanted``, given the ledger of its node (None: there is none) and the claims that are recorded.

    A claim that is recorded for that node already is granted again as it is, its epoch raised to a newer one. A promise
    is decided anew: with other victims if ``replaces`` names some, else held if there is room by now; it stays if not.
    """
    spec = wanted.spec
    known = recorded(wanted.metadata.name)
    if known is not None:
        if known.spec.node_name != spec.node_name:
            where = f"the pod's claim is on node {known.spec.node_name}"
            return Decision(
                ledger, None, State.REFUSED, known.spec.node_name, known.spec.bind_epoch, HELD_ELSEWHERE, where
            )
        if spec.bind_epoch < known.spec.bind_epoch:
            passed = f"the claim's bind epoch is {known.spec.bind_epoch} already"
            return Decision(ledger, None, State.REFUSED, spec.node_name, known.spec.bind_epoch, EPOCH_PASSED, passed)
        return _claim_again(ledger, wanted, known, recorded)
    if ledger is None or not ledger.node_uid:
        return _refused(ledger, wanted, NODE_NOT_FOUND, f"there is no node {spec.node_name}")
    if spec.node_uid and spec.node_uid != ledger.node_uid:
        return _refused(
            ledger, wanted, NODE_CHANGED, f"node {spec.node_name} has UID {ledger.node_uid}, not {spec.node_uid}"
        )
    decision = _decide(ledger, wanted, recorded)
    if decision.state is State.REFUSED:
        return decision
    return decision._replace(record=_record(wanted))


def hold(ledger: Ledger | None, node_uid: str, partition: str, requests: Amounts) -> Ledger | None:
    """What ``claim`` makes of the ledger where it holds a claim without ports and victims, of a pod that has none yet.

    None: it may not be held; ``claim`` says why. ``requests``: as of ``requests_of``. Nearly all are such.
    """
    if ledger is None or not ledger.node_uid or (node_uid and node_uid != ledger.node_uid):
        return None
    allocatable = ledger.allocatable
    used = dict(ledger.used)
    for resource, amount in requests.items():
        taken = used.get(resource, 0) + amount
        if taken > allocatable.get(resource, 0):
            return None
        used[resource] = taken
    before = ledger.claimed
    if not ledger.promises and (not before or (len(before) == 1 and partition in before)):
        claimed: Mapping[str, Amounts] = {partition: used}
    else:
        total = dict(before.get(partition, _NOTHING))
        _add(total, requests)
        claimed = {**before, partition: total}
    return Ledger(ledger.node_uid, allocatable, claimed, ledger.host_ports, ledger.promises, used)


def ends(recorded_claim: CapacityClaim, release: ClaimRelease) -> bool:
    """Does the fact end this claim? ``release.node_name`` is a node of this partition: "" where the pod is bound in
    another one. An unspecified fact ends nothing."""
    fact, spec = release.fact, recorded_claim.spec
    if fact == ClaimRelease.REVOKED:
        return spec.bind_epoch <= release.bind_epoch
    if fact == ClaimRelease.BOUND_ELSEWHERE:
        return spec.node_name != release.node_name
    return fact in (ClaimRelease.ABSENT, ClaimRelease.TERMINAL)


def release(ledger: Ledger, ended: CapacityClaim) -> Ledger | None:
    """Without the claim ``ended``, held or promised; promises that waited for it alone are held now.

    None: the ledger is to be deleted, as there is neither a Node nor a claim left."""
    uid, spec = ended.metadata.name, ended.spec
    if ledger.promise_of(uid) is not None:
        promises = tuple(promise for promise in ledger.promises if promise.pod_uid != uid)
        return _settled(replace(ledger, promises=promises))
    requests = requests_of(ended)
    claimed = dict(ledger.claimed)
    left = _without(claimed.pop(spec.tenant_partition, _NOTHING), requests)
    if left.get(PODS, 0) > 0:
        claimed[spec.tenant_partition] = left
    ports = ledger.host_ports - ports_of(spec.host_ports) if spec.host_ports else ledger.host_ports
    if ledger.promises:
        promises = tuple(_no_longer_waiting(promise, uid) for promise in ledger.promises)
        return _settled(replace(ledger, claimed=claimed, host_ports=ports, promises=promises))
    used = _without(ledger.used, requests)
    after = Ledger(ledger.node_uid, ledger.allocatable, claimed, ports, (), used)
    return None if after.obsolete else after


def node_changed(ledger: Ledger | None, node: Node | None) -> Ledger | None:
    """The ledger as the Node is created, reports another allocatable, or is deleted (None). None: no ledger is left.

    The claims stay whatever becomes of the Node. Raises ``QuantityError`` for a node that was not validated."""
    before = ledger or Ledger()
    uid = node.metadata.uid if node is not None else ""
    allocatable = nodes.allocatable(node) if node is not None else _NOTHING
    if ledger is not None and uid == ledger.node_uid and allocatable == ledger.allocatable:
        return ledger
    return _settled(replace(before, node_uid=uid, allocatable=allocatable))


def requests_of(message: CapacityClaim) -> Amounts:
    """What a claim takes, with its one pod; a resource of which it wants nothing is absent."""
    requests = {resource: amount for resource, amount in message.spec.requests.items() if amount > 0}
    requests[PODS] = 1
    return requests


def ports_of(ports: Iterable[ClaimedPort]) -> frozenset[HostPort]:
    """As a set of (protocol, address, number)."""
    return frozenset((port.protocol, port.host_ip, port.host_port) for port in ports)


def _claim_again(ledger: Ledger | None, wanted: CapacityClaim, known: CapacityClaim, recorded: Recorded) -> Decision:
    uid, spec = known.metadata.name, known.spec
    record = None
    if wanted.spec.bind_epoch > spec.bind_epoch:
        record = _record(known)
        record.spec.bind_epoch = wanted.spec.bind_epoch
    state = State.HELD
    promise = ledger.promise_of(uid) if ledger is not None else None
    if ledger is not None and promise is not None:
        state = State.PROMISED
        rest = tuple(other for other in ledger.promises if other.pod_uid != uid)
        again = _record(known)
        again.spec.bind_epoch = wanted.spec.bind_epoch
        again.spec.replaces[:] = wanted.spec.replaces
        anew = _decide(_with_used(replace(ledger, promises=rest)), again, recorded)
        if anew.ledger is not None and anew.ledger.promise_of(uid) != promise and anew.state is not State.REFUSED:
            ledger, state, record = anew.ledger, anew.state, again
    return Decision(ledger, record, state, spec.node_name, wanted.spec.bind_epoch)


def _decide(ledger: Ledger, wanted: CapacityClaim, recorded: Recorded) -> Decision:
    """Room, ports and victims of a claim that the ledger does not count yet."""
    spec = wanted.spec
    requests = requests_of(wanted)
    victims: Sequence[Victim] = ()
    if spec.replaces:
        found = _victims(ledger, wanted, recorded)
        if isinstance(found, Decision):
            return found
        victims = found
    freed: dict[str, int] = {}
    for victim in victims:
        _add(freed, victim.requests)
    short = ledger.shortage(requests, freed)
    if short:
        return _refused(ledger, wanted, INSUFFICIENT, "Too many pods" if short == PODS else f"Insufficient {short}")
    ports = ports_of(spec.host_ports) if spec.host_ports else _NO_PORTS
    if ports and ports_conflict(ports, _taken_ports(ledger, victims)):
        return _refused(ledger, wanted, PORT_CONFLICT, "node(s) didn't have free ports for the requested pod ports")
    if victims:
        promise = Promise(wanted.metadata.name, spec.tenant_partition, requests, ports, tuple(victims))
        after = _with_used(replace(ledger, promises=(*ledger.promises, promise)))
        return Decision(after, None, State.PROMISED, spec.node_name, spec.bind_epoch)
    after = _holding(ledger, spec.tenant_partition, requests, ports)
    return Decision(after, None, State.HELD, spec.node_name, spec.bind_epoch)


def _victims(ledger: Ledger, wanted: CapacityClaim, recorded: Recorded) -> list[Victim] | Decision:
    """The claims to wait for; one that is not on this node (any more) has nothing to give."""
    spec, uid = wanted.spec, wanted.metadata.name
    taken = {victim.pod_uid for promise in ledger.promises for victim in promise.waits_for}
    taken.update(promise.pod_uid for promise in ledger.promises)
    found = []
    for name in dict.fromkeys(spec.replaces):
        victim = recorded(name)
        if victim is None or name == uid or victim.spec.node_name != spec.node_name:
            continue
        if victim.spec.tenant_partition != spec.tenant_partition:
            return _refused(ledger, wanted, VICTIM_FOREIGN, f"pod {name} is of another tenant partition")
        if name in taken:
            return _refused(ledger, wanted, VICTIM_PROMISED, f"pod {name} is promised to another claim, or a promise")
        found.append(Victim(name, requests_of(victim), ports_of(victim.spec.host_ports)))
    return found


def _refused(ledger: Ledger | None, wanted: CapacityClaim, reason: str, message: str) -> Decision:
    return Decision(ledger, None, State.REFUSED, wanted.spec.node_name, wanted.spec.bind_epoch, reason, message)


def _holding(ledger: Ledger, partition: str, requests: Amounts, ports: frozenset[HostPort]) -> Ledger:
    claimed = dict(ledger.claimed)
    total = dict(claimed.get(partition, _NOTHING))
    _add(total, requests)
    claimed[partition] = total
    used = dict(ledger.used)
    _add(used, requests)
    held = ledger.host_ports | ports if ports else ledger.host_ports
    return Ledger(ledger.node_uid, ledger.allocatable, claimed, held, ledger.promises, used)


def _settled(ledger: Ledger) -> Ledger | None:
    """With every promise held that waits for nobody and fits beside what is held; the eldest first."""
    for promise in ledger.promises:
        if promise.waits_for:
            continue
        held = _with_used(replace(ledger, promises=()))
        if held.shortage(promise.requests):
            continue
        rest = tuple(other for other in ledger.promises if other is not promise)
        ledger = replace(_holding(held, promise.tenant_partition, promise.requests, promise.host_ports), promises=rest)
    ledger = _with_used(ledger)
    return None if ledger.obsolete else ledger


def _no_longer_waiting(promise: Promise, uid: str) -> Promise:
    left = tuple(victim for victim in promise.waits_for if victim.pod_uid != uid)
    return promise if len(left) == len(promise.waits_for) else replace(promise, waits_for=left)


def _with_used(ledger: Ledger) -> Ledger:
    used: dict[str, int] = {}
    for amounts in ledger.claimed.values():
        _add(used, amounts)
    for promise in ledger.promises:
        _add(used, promise.reserved)
    return replace(ledger, used=used)


def _taken_ports(ledger: Ledger, victims: Sequence[Victim]) -> frozenset[HostPort]:
    taken = ledger.host_ports.difference(*(victim.host_ports for victim in victims))
    return taken.union(*(promise.host_ports for promise in ledger.promises))


def _record(message: CapacityClaim) -> CapacityClaim:
    record = CapacityClaim()
    record.metadata.name = message.metadata.name
    record.spec.CopyFrom(message.spec)
    return record


def _add(into: dict[str, int], more: Amounts) -> None:
    """Exact: unlike ``resources.add``, a sum that was cut off could not be taken back."""
    for resource, amount in more.items():
        into[resource] = into.get(resource, 0) + amount


def _without(amounts: Amounts, less: Amounts) -> dict[str, int]:
    left = dict(amounts)
    for resource, amount in less.items():
        rest = left.get(resource, 0) - amount
        if rest > 0:
            left[resource] = rest
        else:
            left.pop(resource, None)
    return left


def _set_requests(into: Mapping[str, int], amounts: Amounts) -> None:
    into.update({resource: amount for resource, amount in amounts.items() if resource != PODS})  # type: ignore[attr-defined]


def _set_ports(into: object, ports: frozenset[HostPort]) -> None:
    for protocol, ip, number in sorted(ports):
        into.add(protocol=protocol, host_ip=ip, host_port=number)  # type: ignore[attr-defined]
