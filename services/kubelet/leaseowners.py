"""Whose a lease is when its node was deleted and registered again: the present node's, so that it is deleted with it.

A lease that is there already although its node is new belongs to the node of before. The partition's garbage collection
takes it away sooner or later; until then, and where none runs, it would be owned by nobody that there is. It is not
deleted and made anew but given to its new owner: a node without a lease could be taken for lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import grpc

from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.api.pb.ursa.core.v1.node_pb2 import Node
from services.base.backoff import Backoff
from services.base.clock import Clock
from services.base.rand import Rand
from services.client.calls import is_retryable
from services.client.partitions import Connection
from services.kubelet import nodelease
from services.rpc.status import StatusError

_log = logging.getLogger(__name__)

AT_ONCE = 16
RETRY_INITIAL_S, RETRY_MAX_S = 0.2, 7.0


class LeaseOwners:
    """``run`` looks at the leases of the nodes that ``suspect`` names. ``node_of``: the node as last seen."""

    def __init__(self, connection: Connection, node_of: Callable[[str], Node | None], clock: Clock, rand: Rand) -> None:
        self._partition = connection.name
        self._leases = connection.clientset.leases
        self._node_of = node_of
        self._clock = clock
        self._rand = rand
        self._suspects: dict[str, None] = {}
        self._wake = asyncio.Event()

    def suspect(self, names: Iterable[str]) -> None:
        """The leases of these nodes may be of nodes that are gone."""
        self._suspects.update(dict.fromkeys(names))
        if self._suspects:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(self._rand, initial_s=RETRY_INITIAL_S, maximum_s=RETRY_MAX_S)
        while True:
            await self._wake.wait()
            self._wake.clear()
            names, self._suspects = [*self._suspects], {}
            again: list[str] = []
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                settled = await asyncio.gather(*map(self._settle, some))
                again += [name for name, done in zip(some, settled, strict=True) if not done]
            if again:
                await self._clock.sleep(backoff.next())
                self.suspect(again)
            else:
                backoff.reset()

    async def _settle(self, name: str) -> bool:
        """Give the lease to the node that there is; False: to be tried again."""
        node = self._node_of(name)
        if node is None:
            return True  # Registered again, it is looked at again.
        try:
            lease = await self._leases.get(name, tenant=nodelease.SYSTEM_TENANT, namespace=nodelease.NAMESPACE)
            if not given(lease, node):
                return True
            await self._leases.update(lease)
        except StatusError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return True  # The next renewal makes it.
            if is_retryable(error) or error.code is grpc.StatusCode.ABORTED:
                return False
            _log.warning(
                "a lease cannot be given to its node",
                extra={"partition": self._partition, "node": name, "cause": error.message},
            )
            return True
        _log.info("lease given to its new node", extra={"partition": self._partition, "node": name})
        return True


def given(lease: Lease, node: Node) -> bool:
    """Make ``node`` the owner of its lease instead of nodes of that name before it; False: nothing is to be changed,
    as it is, or another holds the lease. References to anything else stay."""
    name, references = node.metadata.name, lease.metadata.owner_references
    if lease.spec.holder_identity != name:
        return False
    kept = [one for one in references if (one.kind, one.name) != ("Node", name)]
    if len(kept) == len(references) - 1 and any(one.uid == node.metadata.uid for one in references):
        return False
    del references[:]
    references.extend(kept)
    nodelease.own(lease, name, node.metadata.uid)
    return True
