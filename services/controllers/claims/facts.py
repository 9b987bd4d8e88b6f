"""What is known of a claim and its pod, when to ask about it, and what an answer means. Pure.

A claim may end only on an irreversible fact, for a bind that is under way can still arrive: its pod's UID is absent,
its phase is terminal, it is bound elsewhere, or its bind epoch has passed the claim's. Nothing that a clock, a watch or
a plain read says is one of these.
"""

from __future__ import annotations

import enum
import sys
from typing import NamedTuple

from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.scheduling.v1.capacity_pb2 import CapacityClaim, ClaimRelease
from services.client.informer import Accessors
from services.controllers.pods import SeenPod


class Claim(NamedTuple):
    """A capacity claim, as much of it as is needed here. ``uid`` is its pod's; ``created`` in Unix seconds."""

    uid: str
    node: str
    partition: str
    tenant: str
    namespace: str
    pod: str
    epoch: int
    created: float
    version: int


def read_claim(data: bytes) -> Claim:
    """From a CapacityClaim's bytes. Texts that many share are kept once."""
    message = CapacityClaim.FromString(data)
    metadata, spec = message.metadata, message.spec
    return Claim(
        metadata.name,
        sys.intern(spec.node_name),
        sys.intern(spec.tenant_partition),
        sys.intern(spec.tenant),
        sys.intern(spec.namespace),
        spec.pod_name,
        spec.bind_epoch,
        float(metadata.creation_timestamp.seconds),
        metadata.resource_version,
    )


def _uid(claim: Claim) -> str:
    return claim.uid


def _version(claim: Claim) -> int:
    return claim.version


CLAIM_ACCESSORS: Accessors[Claim] = Accessors(_uid, _uid, _version)


class Look(enum.Enum):
    """When to ask the tenant partition about a claim."""

    NOW = "now"
    LATER = "later"  # nothing is wrong yet; ask if it stays so
    NEVER = "never"  # its pod is bound where it should be; its end will be seen


def look(claim: Claim, pod: SeenPod | None, *, gone: bool) -> Look:
    """``pod``: the claim's pod as the watch of bound pods shows it, if it does; ``gone``: it did, and does no more."""
    if pod is None:
        return Look.NOW if gone else Look.LATER
    return Look.NOW if pod.over or pod.node != claim.node else Look.NEVER


def revocation(claim: Claim) -> PodRevocation:
    """The question: is there a pod that can still be bound under this claim? If so, end that."""
    return PodRevocation(
        tenant=claim.tenant, namespace=claim.namespace, name=claim.pod, uid=claim.uid, bind_epoch=claim.epoch
    )


class Stay(enum.Enum):
    """Why a claim is not released."""

    BOUND_HERE = "bound here"
    NOT_KNOWN = "not known"


def judge(claim: Claim, outcome: RevocationOutcome, resource_partition: str) -> ClaimRelease | Stay:
    """The release that ``outcome`` (of ``revocation(claim)``) justifies, or why there is none."""
    if outcome.uid != claim.uid:
        return Stay.NOT_KNOWN
    match outcome.state:
        case RevocationOutcome.ABSENT:
            return ClaimRelease(pod_uid=claim.uid, fact=ClaimRelease.ABSENT)
        case RevocationOutcome.TERMINAL:
            return ClaimRelease(pod_uid=claim.uid, fact=ClaimRelease.TERMINAL)
        case RevocationOutcome.BOUND:
            return _bound(claim, outcome, resource_partition)
        case RevocationOutcome.REVOKED if outcome.bind_epoch > claim.epoch:
            epoch = outcome.bind_epoch - 1
            return ClaimRelease(pod_uid=claim.uid, fact=ClaimRelease.REVOKED, bind_epoch=epoch)
    return Stay.NOT_KNOWN


def _bound(claim: Claim, outcome: RevocationOutcome, resource_partition: str) -> ClaimRelease | Stay:
    elsewhere = outcome.resource_partition != resource_partition
    if not elsewhere and outcome.node_name == claim.node:
        return Stay.BOUND_HERE
    # Same-named nodes of two partitions are two nodes: another partition's is not named, or it would be taken for ours.
    node = "" if elsewhere else outcome.node_name
    return ClaimRelease(pod_uid=claim.uid, fact=ClaimRelease.BOUND_ELSEWHERE, node_name=node)
