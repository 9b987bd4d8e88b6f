"""Sends binds, and says for each what its answer means.

A bind is a compare-and-swap on "unbound, and of this bind epoch", so that sending it again is harmless: bound to the
same node already is success. An answer that is lost leaves the outcome *unknown*: the very same bind is sent again.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Binding
from services.client.clientset import Outcome
from services.rpc.status import StatusError
from services.scheduler.attempt import Attempt
from services.scheduler.metrics import BIND_OUTCOMES

_log = logging.getLogger(__name__)


class Fate(enum.Enum):
    """What the answer to a bind says."""

    BOUND = "bound"
    # Not bound by this bind. Whether its epoch can still bind is asked of the tenant partition before anything is
    # released (``carrier``): a refusal says what was so, not always what stays so.
    REFUSED = "refused"
    UNKNOWN = "unknown"


class BindApi(Protocol):
    """As much of ``services.client.clientset.PodClient`` as binding needs."""

    async def batch_bind(self, bindings: Sequence[Binding], *, timeout_s: float) -> Sequence[Outcome]: ...


_DEFINITE = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)


def fate_of(error: StatusError | None) -> Fate:
    """Definite codes are an answer; every other one (UNAVAILABLE, DEADLINE_EXCEEDED, …) leaves the outcome open."""
    if error is None:
        return Fate.BOUND
    return Fate.REFUSED if error.code in _DEFINITE else Fate.UNKNOWN


def binding_of(attempt: Attempt) -> Binding:
    """The Binding of ``attempt``, which holds a claim; the pod's UID and bind epoch are preconditions."""
    pod, node = attempt.pod, attempt.node
    # Field by field: half the time of nested constructors.
    binding = Binding(resource_partition=node.partition, bind_epoch=attempt.epoch, capacity_claimed=True)
    metadata, target = binding.metadata, binding.target
    metadata.tenant, metadata.namespace, metadata.name, metadata.uid = pod.tenant, pod.namespace, pod.name, pod.uid
    target.kind, target.name, target.uid = "Node", node.name, attempt.node_uid
    return binding


class Binder:
    """``send`` is one try."""

    def __init__(self, pods: BindApi, *, timeout_s: float) -> None:
        self._pods = pods
        self._timeout_s = timeout_s

    async def send(self, attempts: Sequence[Attempt]) -> list[Fate]:
        """Bind a batch: what became of each, in order. Raises nothing of the transport's."""
        try:
            outcomes = await self._pods.batch_bind([binding_of(a) for a in attempts], timeout_s=self._timeout_s)
        except StatusError as failure:
            _log.warning("a batch of binds failed", extra={"pods": len(attempts), "cause": failure.message})
            fates = [fate_of(failure)] * len(attempts)
        else:
            fates = [self._fate(a, outcome.status) for a, outcome in zip(attempts, outcomes, strict=True)]
        for fate, count in Counter(fates).items():
            BIND_OUTCOMES.labels(fate.value).inc(count)
        return fates

    @staticmethod
    def _fate(attempt: Attempt, error: StatusError | None) -> Fate:
        if error is None:
            return Fate.BOUND
        fate = fate_of(error)
        if fate is Fate.REFUSED:
            pod = attempt.pod
            _log.info("bind refused", extra={"tenant": pod.tenant, "pod": str(pod), "cause": error.message})
        return fate
