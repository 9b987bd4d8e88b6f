"""The pods of a tenant partition as its controllers see them: one watch, one small tuple for each pod.

250,000 pods are held at once. So only what is needed is kept, and what many pods have in common is kept once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from services.api import kinds
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodCondition
from services.api.pb.ursa.meta.v1.meta_pb2 import OwnerReference
from services.client.informer import Accessors, Informer
from services.client.mux import WatchMux

TERMINAL: Final = ("Succeeded", "Failed")
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_EVICTED = "Evicted"
_COST = re.compile(r"0|-?[1-9][0-9]{0,9}")
_COST_RANGE = range(-(1 << 31), 1 << 31)

Labels = tuple[tuple[str, str], ...]


class TenantPod(NamedTuple):
    """``owner``: the UID of its controller, "": none. ``labels`` in order of their keys. ``ready_since``: Unix seconds,
    0 while it is not ready. ``created``: Unix seconds. ``ending``: it has a deletion timestamp. ``held``: it has
    finalizers. ``evicted``: it failed by eviction. ``cost``: its deletion cost. ``restarts``: the most of any
    container."""

    uid: str
    name: str
    tenant: str
    namespace: str
    version: int
    partition: str
    node: str
    phase: str
    ready_since: int
    created: int
    owner: str
    labels: Labels
    restarts: int
    cost: int
    ending: bool
    held: bool
    evicted: bool

    @property
    def finished(self) -> bool:
        return self.phase in TERMINAL

    @property
    def active(self) -> bool:
        """It counts as a replica: neither finished nor being deleted."""
        return not self.ending and self.phase not in TERMINAL


def read_pod(data: bytes) -> TenantPod:
    """From a Pod's bytes."""
    message = Pod.FromString(data)
    metadata, spec, status = message.metadata, message.spec, message.status
    intern = sys.intern
    return TenantPod(
        metadata.uid,
        metadata.name,
        intern(metadata.tenant),
        intern(metadata.namespace),
        metadata.resource_version,
        intern(spec.resource_partition),
        intern(spec.node_name),
        intern(status.phase),
        _ready_since(status.conditions),
        metadata.creation_timestamp.seconds,
        _controller(metadata.owner_references),
        _shared(tuple(sorted(metadata.labels.items()))),
        max((one.restart_count for one in status.container_statuses), default=0),
        _cost(metadata.annotations),
        metadata.HasField("deletion_timestamp"),
        bool(metadata.finalizers),
        status.reason == _EVICTED,
    )


def _ready_since(conditions: Iterable[PodCondition]) -> int:
    for condition in conditions:
        if condition.type == "Ready":
            # Ready without a time is ready since ever.
            return max(condition.last_transition_time.seconds, 1) if condition.status == "True" else 0
    return 0


def _controller(references: Iterable[OwnerReference]) -> str:
    for reference in references:
        if reference.controller:
            return sys.intern(reference.uid)
    return ""


@lru_cache(maxsize=65_536)
def _shared(labels: Labels) -> Labels:
    """Those of all pods of a template are kept once."""
    return tuple((sys.intern(key), sys.intern(value)) for key, value in labels)


def _cost(annotations: Mapping[str, str]) -> int:
    """What is no 32-bit number counts as 0 (upstream ``GetDeletionCostFromPodAnnotations``)."""
    text = annotations.get(DELETION_COST)
    if text is None or not _COST.fullmatch(text):
        return 0
    cost = int(text)
    return cost if cost in _COST_RANGE else 0


def _uid(pod: TenantPod) -> str:
    return pod.uid


def _version(pod: TenantPod) -> int:
    return pod.version


# By UID: a name may be used again.
ACCESSORS: Accessors[TenantPod] = Accessors(_uid, _uid, _version)


def follow(mux: WatchMux) -> Informer[TenantPod]:
    """All pods of the partition behind ``mux``; not started."""
    return Informer(mux, kinds.PODS, tenant="*", decode=read_pod, accessors=ACCESSORS)
