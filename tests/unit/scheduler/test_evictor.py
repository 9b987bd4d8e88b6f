"""Victims that cannot be deleted or asked about keep nobody else from going."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.core.v1.pod_service_pb2 import PodRevocation, RevocationOutcome
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.rpc import status
from services.scheduler.core import NodeId, PodClasses
from services.scheduler.disruption import Victim
from services.scheduler.evictor import BATCH, Evictor
from services.scheduler.releaser import Releaser
from tests.support.client_world import until
from tests.support.scheduling import make_pod

NODE = NodeId("rp-1", "node-1")


class Pods:
    """Deletes all but the ``stuck``, whose deletions or questions have no answer."""

    def __init__(self, stuck: Iterable[str] = ()) -> None:
        self.stuck = set(stuck)
        self.deletions: list[str] = []
        self.asked: list[str] = []

    async def batch_delete(self, items: Iterable[DeleteRequest], **_: Any) -> Sequence[Outcome]:
        wanted = [item.name for item in items]
        self.deletions += wanted
        lost = status.unavailable("lost")
        return [Outcome(lost if name in self.stuck else None, name, "", 7) for name in wanted]

    async def batch_revoke_bind(self, revocations: Sequence[PodRevocation], **_: Any) -> Sequence[RevocationOutcome]:
        self.asked += [one.name for one in revocations]
        unknown, absent = RevocationOutcome.STATE_UNSPECIFIED, RevocationOutcome.ABSENT
        return [RevocationOutcome(state=unknown if one.name in self.stuck else absent) for one in revocations]

    async def batch_update_status(self, objs: Iterable[Pod], **_: Any) -> Sequence[Outcome]:
        raise AssertionError("pods without a grace period are not told")


def victims(prefix: str, count: int) -> list[Victim]:
    classes = PodClasses()
    return [Victim(classes.info(make_pod(f"{prefix}-{n}", grace_s=0)), NODE, "default") for n in range(count)]


@contextlib.asynccontextmanager
async def evicting(pods: Pods, clock: FakeClock) -> AsyncIterator[tuple[Evictor, Releaser]]:
    releaser = Releaser(lambda _: None, clock=clock, timeout_s=1.0)
    evictor = Evictor(pods, releaser, clock=clock, rand=Rand(1), timeout_s=1.0)  # type: ignore[arg-type]
    async with Supervisor() as tasks:
        tasks.start(evictor.run(), name="evictor")
        yield evictor, releaser


async def test_one_victim_that_cannot_be_deleted_keeps_no_end_from_being_confirmed() -> None:
    clock, pods = FakeClock(), Pods({"stuck-0"})
    async with evicting(pods, clock) as (evictor, releaser):
        (stuck,), others = victims("stuck", 1), victims("web", 20)
        evictor.evict([stuck, *others])
        await clock.advance(0.05)
        evictor.ended(victim.pod.uid for victim in others)
        await clock.advance(0.05)
        assert releaser.owed == {"rp-1": 20}
        # It is tried again, after pauses; and goes at last.
        await clock.advance(30)
        assert 5 < pods.deletions.count("stuck-0") < 15
        pods.stuck.clear()
        tries = len(pods.deletions)
        await until(clock, lambda: len(pods.deletions) == tries + 1, seconds=8)
        await clock.advance(20)
        assert len(pods.deletions) == tries + 1


async def test_a_whole_batch_that_cannot_be_deleted_keeps_no_other_victim() -> None:
    clock, stuck = FakeClock(), victims("stuck", BATCH + 10)
    pods = Pods(victim.pod.name for victim in stuck)
    async with evicting(pods, clock) as (evictor, _):
        evictor.evict(stuck)
        await clock.advance(3)
        evictor.evict(victims("web", 3))
        await clock.advance(0.05)
        assert {"web-0", "web-1", "web-2"} <= set(pods.deletions)
        assert {victim.pod.name for victim in stuck} <= set(pods.deletions)


async def test_ends_that_cannot_be_confirmed_keep_no_other_one() -> None:
    clock, gone = FakeClock(), victims("gone", BATCH + 10)
    pods = Pods()
    async with evicting(pods, clock) as (evictor, releaser):
        evictor.evict(gone)
        await clock.advance(0.05)
        pods.stuck = {victim.pod.name for victim in gone[:BATCH]}
        evictor.ended(victim.pod.uid for victim in gone)
        await clock.advance(0.05)
        assert releaser.owed == {"rp-1": 10}
        pods.stuck.clear()
        await until(clock, lambda: releaser.owed == {"rp-1": BATCH + 10}, seconds=1)


async def test_whoever_is_no_leader_any_more_evicts_nobody() -> None:
    clock, pods = FakeClock(), Pods({"stuck-0"})
    async with evicting(pods, clock) as (evictor, _):
        evictor.evict(victims("stuck", 1))
        await clock.advance(0.05)
        evictor.forget()
        tries = len(pods.deletions)
        await clock.advance(20)
        assert len(pods.deletions) == tries
