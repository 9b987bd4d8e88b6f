"""A replica set takes the pods that it selects and that belong to nobody, and lets go those that it selects no more.

Source: kube-controller-manager ``pkg/controller/controller_ref_manager.go``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.client.clientset import Clientset
from services.controllers.replicasets import metrics
from services.controllers.replicasets.facts import Wanted
from services.controllers.replicasets.template import reference
from services.controllers.replicasets.writing import Written
from services.controllers.tenantpods import TenantPod
from services.rpc.status import StatusError

READS_AT_ONCE = 16

Change = Callable[[Pod], bool]


class Ownership:
    """Writes owner references. Nothing is written over: each write names the version that it saw."""

    def __init__(self, clients: Clientset) -> None:
        self._pods = clients.pods
        self._sets = clients.replica_sets

    async def adopt(self, wanted: Wanted, pods: Sequence[TenantPod]) -> Written:
        """Only while the replica set itself is there, which a consistent read tells: else garbage collection would
        take the pods after it."""
        try:
            live = await self._sets.get(wanted.name, tenant=wanted.tenant, namespace=wanted.namespace)
        except StatusError as failure:
            gone = failure.code is grpc.StatusCode.NOT_FOUND
            return Written() if gone else Written(failure=failure)
        if live.metadata.uid != wanted.uid or live.metadata.HasField("deletion_timestamp"):
            return Written()

        def take(pod: Pod) -> bool:
            metadata = pod.metadata
            if metadata.HasField("deletion_timestamp") or any(one.controller for one in metadata.owner_references):
                return False
            if not wanted.selector.matches(metadata.labels):
                return False
            metadata.owner_references.append(reference(wanted))
            return True

        written = await self._change(pods, take, "adopt")
        metrics.ADOPTED.inc(len(written.names))
        return written

    async def release(self, wanted: Wanted, pods: Sequence[TenantPod]) -> Written:
        def let_go(pod: Pod) -> bool:
            kept = [one for one in pod.metadata.owner_references if one.uid != wanted.uid]
            if len(kept) == len(pod.metadata.owner_references) or wanted.selector.matches(pod.metadata.labels):
                return False
            del pod.metadata.owner_references[:]
            pod.metadata.owner_references.extend(kept)
            return True

        written = await self._change(pods, let_go, "release")
        metrics.RELEASED.inc(len(written.names))
        return written

    async def _change(self, pods: Sequence[TenantPod], change: Change, verb: str) -> Written:
        """Read the pods, change those that are still the same ones and that ``change`` changes, write them at once."""
        written = Written()
        limit = asyncio.Semaphore(READS_AT_ONCE)

        async def read(pod: TenantPod) -> Pod | None:
            async with limit:
                try:
                    live = await self._pods.get(pod.name, tenant=pod.tenant, namespace=pod.namespace)
                except StatusError as failure:
                    if failure.code is not grpc.StatusCode.NOT_FOUND:
                        written.failure = failure
                    return None
                return live if live.metadata.uid == pod.uid else None

        live = await asyncio.gather(*map(read, pods))
        changed = [pod for pod in live if pod is not None and change(pod)]
        if not changed:
            return written
        try:
            outcomes = await self._pods.batch_update(changed)
        except StatusError as failure:
            metrics.FAILURES.labels(verb).inc(len(changed))
            return Written(failure=failure)
        for outcome in outcomes:
            if outcome.status is None:
                written.names.append(outcome.name)
                written.version = max(written.version, outcome.resource_version)
            elif outcome.status.code is not grpc.StatusCode.NOT_FOUND:
                written.failure = outcome.status
                metrics.FAILURES.labels(verb).inc()
        return written
