"""Pods that a container runtime still has and their partition no longer: deleted, or moved, while no kubelet was here.

A watch that has told all its pods only raises the suspicion. Containers are ended after a consistent read of the pod's
own partition has confirmed it; a partition that cannot be reached confirms nothing, and they run on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.clientset import Clientset
from services.kubelet.kubelet import DEFAULT_GRACE_S
from services.kubelet.machine import Machine
from services.kubelet.runtime import Leftover, RuntimeEvent, RuntimeEventType
from services.placement.pods import is_terminal
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

RETRY_INITIAL_S, RETRY_MAX_S = 0.5, 30.0


class Leftovers:
    """Those of all nodes of a host. ``ending`` by UID: whether nothing of it is to be kept."""

    def __init__(self, clock: Clock, rand: Rand) -> None:
        self._clock = clock
        self._rand = rand
        self._ending: dict[str, tuple[Machine, bool]] = {}
        self._asked: set[str] = set()

    def suspects(self, machine: Machine, partition: str) -> list[Leftover]:
        """The machine's watch has told all its pods of ``partition``: those of the runtime that were not among them, or
        are over."""
        if machine.containers is None:
            return []
        found = [
            left
            for left in machine.containers.leftovers()
            if (left.partition, left.node) == (partition, str(machine.kubelet.facts))
            and left.uid not in machine.kubelet.workers
            and left.uid not in self._asked
        ]
        self._asked.update(left.uid for left in found)
        return found

    async def settle(self, machine: Machine, suspects: Sequence[Leftover], clients: Callable[[], Clientset]) -> None:
        """Ask about each until there is an answer; end those that nobody wants. ``clients``: of their partition as it
        is reached now, which may change meanwhile."""
        backoff = Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)
        waiting = {left.uid for left in suspects}
        try:
            for left in suspects:
                while True:
                    try:
                        pod = await _read(clients(), left)
                        break
                    except StatusError as failure:
                        _log.warning("cannot ask about a pod", extra={**_fields(left), "cause": failure.message})
                        await self._clock.sleep(backoff.next())
                backoff.reset()
                waiting.discard(left.uid)
                self._asked.discard(left.uid)
                self._decide(machine, left, pod)
        finally:
            # Should the partition be left before it has answered, it may be asked when it is back.
            self._asked -= waiting

    def hear(self, event: RuntimeEvent) -> bool:
        """A runtime tells of a pod that no kubelet knows; False: it is none of these either."""
        known = self._ending.get(event.uid)
        if known is None:
            return False
        machine, forget = known
        if event.type is RuntimeEventType.STOPPED:
            del self._ending[event.uid]
            if forget and machine.containers is not None:
                machine.containers.forget(event.uid)
        return True

    def _decide(self, machine: Machine, left: Leftover, pod: Pod | None) -> None:
        if machine.containers is None or left.uid in machine.kubelet.workers:
            return  # The watch has told of it meanwhile.
        gone = pod is None or f"{pod.spec.resource_partition}/{pod.spec.node_name}" != left.node
        if not gone and pod is not None and not is_terminal(pod):
            return  # It is this node's and will be told of.
        if gone:
            _log.warning("ending the containers of a pod that is gone", extra=_fields(left))
        self._ending[left.uid] = (machine, gone)
        machine.containers.stop(left.uid, DEFAULT_GRACE_S)


async def _read(clients: Clientset, left: Leftover) -> Pod | None:
    """The pod as it is now, None if it is gone. Raises ``StatusError`` when that cannot be told."""
    try:
        pod = await clients.pods.get(left.name, tenant=left.tenant, namespace=left.namespace)
    except StatusError as failure:
        if failure.code is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    return pod if pod.metadata.uid == left.uid else None


def _fields(left: Leftover) -> dict[str, str]:
    return {"uid": left.uid, "tenant": left.tenant, "pod": f"{left.namespace}/{left.name}", "node": left.node}
