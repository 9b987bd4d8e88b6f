"""What a host says to one partition: a status and a removal of one pod that fail alone are both tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import grpc

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import stop_task
from services.client.clientset import Outcome
from services.client.partitions import Connection
from services.kubelet.tenantlink import DEFER_S, TenantLink
from services.rpc.status import StatusError

BUSY = StatusError(grpc.StatusCode.UNAVAILABLE, "ServiceUnavailable", "busy")


def pod(name: str) -> Pod:
    made = Pod()
    made.metadata.name, made.metadata.uid = name, name
    return made


class Pods:
    """The partition's pods: ``bad`` fails in every batch that it is in, until it is taken out of ``failing``."""

    def __init__(self) -> None:
        self.failing = {"bad"}

    async def batch_update_status(self, batch: Sequence[Pod]) -> list[Outcome]:
        return [self._outcome(each.metadata.name) for each in batch]

    async def batch_delete(self, batch: Sequence[Any]) -> list[Outcome]:
        return [self._outcome(each.name) for each in batch]

    def _outcome(self, name: str) -> Outcome:
        return Outcome(BUSY if name in self.failing else None, name, name, 1)


class Owner:
    def __init__(self) -> None:
        self.written: list[str] = []
        self.removed: list[str] = []

    def status_of(self, uid: str) -> Pod | None:
        return pod(uid)

    def status_written(self, uid: str, error: StatusError | None) -> None:
        self.written.append(uid)

    def may_remove(self, pod: Pod) -> bool:
        return True

    def removal_answered(self, uid: str, error: StatusError | None) -> None:
        self.removed.append(uid)


async def test_a_status_that_waits_to_be_tried_again_does_not_take_the_place_of_a_removal() -> None:
    clock, pods, owner = FakeClock(), Pods(), Owner()
    connection = SimpleNamespace(name="tp-1", clientset=SimpleNamespace(pods=pods))
    link = TenantLink(cast(Connection, connection), owner, clock, Rand(1), host="host-1")
    task = asyncio.create_task(link.run())
    try:
        for name in ("bad", "good"):
            link.report(name)
            link.remove(pod(name))
        await clock.advance(0.1)
        assert (owner.written, owner.removed) == (["good"], ["good"])
        assert link.waiting == 2
        pods.failing.clear()
        await clock.advance(2 * DEFER_S)
        assert (owner.written, owner.removed) == (["good", "bad"], ["good", "bad"])
        assert link.waiting == 0
    finally:
        await stop_task(task)
