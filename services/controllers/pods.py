"""A pod as the controllers of a resource partition keep it: a small tuple, as there are hundreds of thousands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.api.excerpts import excerpt
from services.api.pb.ursa.core.v1.pod_pb2 import Pod, PodCondition, Toleration
from services.client.informer import Accessors
from services.placement.tolerations import NO_EXECUTE

_TERMINAL = ("Succeeded", "Failed")

# Different sets of tolerations that are kept once; far beyond what templates make.
TOLERATIONS_MAX = 65_536


class SeenPod(NamedTuple):
    """A pod that is bound to a node of this resource partition. ``over``: its phase is terminal; ``ending``: it is
    being deleted; ``tolerations``: those that can match a NoExecute taint, shared by all pods that have the same;
    ``ready``: it says so."""

    uid: str
    node: str
    over: bool
    version: int
    tenant: str = ""
    namespace: str = ""
    name: str = ""
    ending: bool = False
    tolerations: tuple[Toleration, ...] = ()
    ready: bool = False


_Excerpt = excerpt(
    Pod,
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.tenant",
        "metadata.uid",
        "metadata.resource_version",
        "metadata.deletion_timestamp",
        "spec.node_name",
        "spec.tolerations",
        "status.phase",
        "status.conditions.type",
        "status.conditions.status",
    ),
)

_tolerations: dict[tuple[bytes, ...], tuple[Toleration, ...]] = {}


def read_pod(data: bytes) -> SeenPod:
    """From a Pod's bytes. Texts that many share are kept once."""
    message = _Excerpt.FromString(data)
    metadata, spec = message.metadata, message.spec
    return SeenPod(
        metadata.uid,
        sys.intern(spec.node_name),
        message.status.phase in _TERMINAL,
        metadata.resource_version,
        sys.intern(metadata.tenant),
        sys.intern(metadata.namespace),
        metadata.name,
        metadata.HasField("deletion_timestamp"),
        _shared(tuple(spec.tolerations)),
        _ready(message.status.conditions),
    )


def _ready(conditions: Sequence[PodCondition]) -> bool:
    # Kubelets write it last: to find it costs little then.
    for condition in reversed(conditions):
        if condition.type == "Ready":
            return bool(condition.status == "True")
    return False


def _shared(encoded: tuple[bytes, ...]) -> tuple[Toleration, ...]:
    found = _tolerations.get(encoded)
    if found is None:
        if len(_tolerations) >= TOLERATIONS_MAX:
            _tolerations.clear()
        found = _tolerations[encoded] = of_no_execute(Toleration.FromString(one) for one in encoded)
    return found


def of_no_execute(tolerations: Iterable[Toleration]) -> tuple[Toleration, ...]:
    """Those that can match a NoExecute taint."""
    return tuple(one for one in tolerations if one.effect in ("", NO_EXECUTE))


def _uid(pod: SeenPod) -> str:
    return pod.uid


def _version(pod: SeenPod) -> int:
    return pod.version


# By UID: a claim and its pod have it in common, and a name may be used again.
POD_ACCESSORS: Accessors[SeenPod] = Accessors(_uid, _uid, _version)
