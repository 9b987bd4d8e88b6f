"""What a scheduler says to a resource partition's ledger, and what the answers mean. Pure."""

from __future__ import annotations

import enum
from weakref import WeakKeyDictionary

from services.api.pb.ursa.core.v1.pod_service_pb2 import RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import (
    CapacityClaim,
    CapacityClaimSpec,
    ClaimedPort,
    ClaimOutcome,
    ClaimRelease,
)
from services.rpc.status import StatusError, from_status
from services.scheduler.attempt import Attempt
from services.scheduler.core import NodeId, PodClass
from services.scheduler.core.pods import PODS

HELD_ELSEWHERE = "HeldElsewhere"
EPOCH_PASSED = "EpochPassed"
# The node is not what the plan took it for: a lost race or an old view. A new plan may find another.
LOST_RACE = frozenset(
    ("Insufficient", "PortConflict", "NodeChanged", "NodeNotFound", "VictimPromised", EPOCH_PASSED, "NotFound")
)


class Verdict(enum.Enum):
    """What became of a claim."""

    HELD = "held"
    PROMISED = "promised"
    LOST = "lost"
    HELD_ELSEWHERE = "held_elsewhere"
    REFUSED = "refused"  # for a reason that no other node will change: tried again later
    UNKNOWN = "unknown"  # not answered: the claim may have been made


class Claims:
    """Makes claim messages; what is the same for all pods of a class is made once."""

    def __init__(self, tenant_partition: str) -> None:
        self._tenant_partition = tenant_partition
        self._templates: WeakKeyDictionary[PodClass, CapacityClaimSpec] = WeakKeyDictionary()

    def of(self, attempt: Attempt) -> CapacityClaim:
        """The claim of ``attempt``; every try to send it gives the same one."""
        pod = attempt.pod
        template = self._templates.get(pod.kind)
        if template is None:
            template = self._templates[pod.kind] = self._template(pod.kind)
        claim = CapacityClaim(spec=template)
        claim.metadata.name = pod.uid
        spec = claim.spec
        spec.node_name = attempt.node.name
        spec.tenant = pod.tenant
        spec.namespace = pod.namespace
        spec.pod_name = pod.name
        if attempt.node_uid:
            spec.node_uid = attempt.node_uid
        if attempt.epoch:
            spec.bind_epoch = attempt.epoch
        if attempt.replaces:
            spec.replaces.extend(attempt.replaces)
        return claim

    def _template(self, kind: PodClass) -> CapacityClaimSpec:
        return CapacityClaimSpec(
            tenant_partition=self._tenant_partition,
            requests={resource: amount for resource, amount in kind.requests.items() if resource != PODS},
            host_ports=[
                ClaimedPort(protocol=protocol, host_ip=address, host_port=port)
                for protocol, address, port in sorted(kind.host_ports)
            ],
        )


def verdict_of(outcome: ClaimOutcome) -> tuple[Verdict, StatusError | None]:
    """What an answer says, and the error in it."""
    if outcome.state == ClaimOutcome.HELD:
        return Verdict.HELD, None
    if outcome.state == ClaimOutcome.PROMISED:
        return Verdict.PROMISED, None
    error = from_status(outcome.status)
    if outcome.state != ClaimOutcome.REFUSED:
        return Verdict.UNKNOWN, error
    if error.reason == HELD_ELSEWHERE:
        return Verdict.HELD_ELSEWHERE, error
    return (Verdict.LOST if error.reason in LOST_RACE else Verdict.REFUSED), error


class Fact(enum.Enum):
    """What is irreversibly so about a pod, as its tenant partition says it (linearizable)."""

    ABSENT = "absent"
    TERMINAL = "terminal"
    BOUND_HERE = "bound"  # to the node of the attempt
    BOUND_ELSEWHERE = "bound_elsewhere"
    REVOKED = "revoked"  # unbound, and no bind of the attempt's epoch can commit any more
    UNKNOWN = "unknown"


_FACTS = {
    RevocationOutcome.ABSENT: Fact.ABSENT,
    RevocationOutcome.TERMINAL: Fact.TERMINAL,
    RevocationOutcome.REVOKED: Fact.REVOKED,
}


def fact_of(outcome: RevocationOutcome, node: NodeId) -> Fact:
    """The fact in ``outcome`` about a pod that was to go to ``node``."""
    if outcome.state == RevocationOutcome.BOUND:
        here = (outcome.resource_partition, outcome.node_name) == node
        return Fact.BOUND_HERE if here else Fact.BOUND_ELSEWHERE
    return _FACTS.get(outcome.state, Fact.UNKNOWN)


def release_of(uid: str, fact: Fact, outcome: RevocationOutcome, partition: str) -> ClaimRelease | None:
    """What ends the claim of pod ``uid`` in ``partition`` on ``fact``; None where it must stay."""
    match fact:
        case Fact.ABSENT:
            return ClaimRelease(pod_uid=uid, fact=ClaimRelease.ABSENT)
        case Fact.TERMINAL:
            return ClaimRelease(pod_uid=uid, fact=ClaimRelease.TERMINAL)
        case Fact.REVOKED:
            return ClaimRelease(pod_uid=uid, fact=ClaimRelease.REVOKED, bind_epoch=outcome.bind_epoch - 1)
        case Fact.BOUND_ELSEWHERE:
            # A node of that name in another resource partition is another node: then nothing here is to stay.
            name = outcome.node_name if outcome.resource_partition == partition else ""
            return ClaimRelease(pod_uid=uid, fact=ClaimRelease.BOUND_ELSEWHERE, node_name=name)
        case _:
            return None
