"""Status writes to pods of one tenant partition, node by node: read from the server's cache, written if still so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from services.client.clientset import Listing, Outcome

# An update of a pod's status, or None where there is nothing to write.
Change = Callable[[Pod, float], Pod | None]


class PodApi(Protocol):
    """As much of ``services.client.clientset.PodClient`` as the node controllers need."""

    async def list(
        self, *, tenant: str = "", field_selector: str = "", resource_version: int | None = None
    ) -> Listing[Pod]: ...

    async def batch_update_status(
        self, objs: Iterable[Pod], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...

    async def batch_delete(
        self, items: Iterable[DeleteRequest], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]: ...


class Marked:
    """What became of a node's pods: those whose status was ``written``, and the UIDs of those where it ``failed``."""

    def __init__(self) -> None:
        self.written: list[Pod] = []
        self.failed: set[str] = set()


async def mark(
    pods: PodApi,
    node: str,
    resource_partition: str,
    change: Change,
    *,
    now_s: float,
    batch: int,
    timeout_s: float,
    only: frozenset[str] | None = None,
) -> Marked:
    """Apply ``change`` to the pods of ``node`` (``only``: to these UIDs). A pod that has changed meanwhile counts as
    failed, one that is gone does not. Raises ``StatusError``: the partition does not answer."""
    where = f"spec.nodeName={node},spec.resourcePartition={resource_partition}"
    listed = await pods.list(tenant="*", field_selector=where, resource_version=0)
    wanted = [pod for pod in listed.items if only is None or pod.metadata.uid in only]
    updates = [update for pod in wanted if (update := change(pod, now_s)) is not None]
    done = Marked()
    for start in range(0, len(updates), batch):
        part = updates[start : start + batch]
        outcomes = await pods.batch_update_status(part, timeout_s=timeout_s)
        for update, outcome in zip(part, outcomes, strict=True):
            if outcome.status is None:
                done.written.append(update)
            elif outcome.status.code is not grpc.StatusCode.NOT_FOUND:
                done.failed.add(update.metadata.uid)
    return done
