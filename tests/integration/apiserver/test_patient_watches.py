"""Watches that let their events gather see what all others see, in fewer messages."""

from __future__ import annotations

import time

from services.api import kinds
from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.watch.v1.watch_pb2 import ADDED, WatchBatch
from services.base.clock import SystemClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.informer import Informer
from services.client.partitions import Connection
from services.rpc.status import from_status
from tests.integration.apiserver.test_watches import Mux, mux
from tests.integration.apiserver.world import World, binding, eventually, pod

PODS = 40
Seen = list[tuple[int, bytes]]


async def play(world: World, tenant: str) -> int:
    """Write single pods, batches of pods (one revision) and changes of both; the last revision."""
    for number in range(PODS):
        await world.pods.create(pod(tenant, f"single-{number}"))
    await world.pods.batch_create([pod(tenant, f"batch-{number}") for number in range(PODS)])
    for number in range(PODS):
        await world.pods.bind(binding(tenant, f"single-{number}", f"n-{number}"))
    for number in range(0, PODS, 2):
        await world.pods.delete(f"batch-{number}", tenant=tenant, namespace="default")
    last = await world.pods.create(pod(tenant, "last"))
    return int(last.metadata.resource_version)


async def followed(stream: Mux, watch_id: int, until: int) -> list[WatchBatch]:
    """The batches of one watch up to revision ``until``."""
    batches = [await stream.next(watch_id)]
    while batches[-1].resource_version < until:
        batches.append(await stream.next(watch_id))
    return batches


def revisions(batch: WatchBatch) -> list[int]:
    return [Pod.FromString(event.object).metadata.resource_version for event in batch.events]


async def test_a_patient_watch_sees_exactly_what_an_impatient_one_sees(world: World, acme: str) -> None:
    async with mux(world) as impatient, mux(world) as patient:
        await impatient.create(1, "pods", tenant=acme)
        await patient.create(1, "pods", tenant=acme, gather_ms=500)
        await patient.create(2, "pods", tenant=acme, gather_ms=500, field_selector="spec.nodeName=n-3")
        for stream, watch_id in ((impatient, 1), (patient, 1), (patient, 2)):
            assert (await stream.next(watch_id)).created
        began, before = time.monotonic(), patient.messages
        last = await play(world, acme)
        at_once, gathered = await followed(impatient, 1, last), await followed(patient, 1, last)
        took_s = time.monotonic() - began
        assert [event for batch in gathered for event in batch.events] == [
            event for batch in at_once for event in batch.events
        ]
        for batches in (gathered, at_once):
            shown = [revision for batch in batches for revision in revisions(batch)]
            assert shown == sorted(shown)
            assert len(shown) == 2 * PODS + PODS + PODS // 2 + 1
            ends = [set(revisions(batch)) for batch in batches]
            assert sum(map(len, ends)) == len(set(shown)), "no revision is in two batches"
        assert [event.type for event in (await patient.next(2)).events] == [ADDED]
        # One at once, one per half second, and one for each watch's answer that came alone.
        assert patient.messages - before <= took_s / 0.5 + 2
        assert patient.messages < impatient.messages / 2


async def test_an_initial_state_and_an_error_do_not_wait(world: World, acme: str) -> None:
    await world.pods.create(pod(acme, "a"))
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, gather_ms=1000)
        assert (await watches.next(1)).created
        assert await watches.events(1, 1) == [(ADDED, "a")]
        began = time.monotonic()
        for number in range(2, 22):
            await watches.create(number, "pods", tenant=acme if number % 2 else "nobody", gather_ms=1000)
            answer = await watches.next(number)
            assert answer.created is bool(number % 2)
            if answer.created:
                assert await watches.events(number, 1) == [(ADDED, "a")]
        # Paced, these would be twenty messages at least, a second apart.
        assert time.monotonic() - began < 10


async def test_what_is_more_than_one_message_is_not_paced(world: World, acme: str) -> None:
    async with mux(world) as watches:
        await watches.create(1, "pods", tenant=acme, gather_ms=1000)
        assert (await watches.next(1)).created
        fat = [pod(acme, f"web-{number:02}") for number in range(60)]
        for item in fat:
            item.metadata.annotations["padding"] = "x" * 100_000
        for start in range(0, len(fat), 20):
            await world.pods.batch_create(fat[start : start + 20])
        began, before = time.monotonic(), watches.messages
        assert [name for _, name in await watches.events(1, len(fat))] == [item.metadata.name for item in fat]
        messages = watches.messages - before
        assert messages >= 3, "6 MB, at about 1 MB and whole revisions of 2 MB each"
        assert time.monotonic() - began < messages


async def test_a_time_that_cannot_be_is_refused(world: World, acme: str) -> None:
    async with mux(world) as watches:
        for watch_id, gather_ms in ((1, -1), (2, 1001)):
            await watches.create(watch_id, "pods", tenant=acme, gather_ms=gather_ms)
            batch = await watches.next(watch_id)
            error = from_status(batch.error)
            assert batch.canceled
            assert (error.reason, [violation.field for violation in error.violations]) == (
                "BadRequest",
                ["create.gather_ms"],
            )
            assert str(gather_ms) in error.message
        await watches.create(1, "pods", tenant=acme, gather_ms=1000)
        assert (await watches.next(1)).created


async def test_a_patient_client_ends_up_with_what_is_there(world: World, acme: str) -> None:
    connection = Connection("tp-1", [world.tp.endpoint], SystemClock(), Rand(1), gather_s=0.2)
    informer = Informer(connection.mux, kinds.PODS, tenant=acme).start()
    try:
        async with Supervisor() as tasks:
            running = tasks.start(connection.run(), name="connection")
            await informer.synced.wait()
            last = await play(world, acme)

            async def caught_up() -> bool:
                return (informer.resource_version or 0) >= last

            await eventually(caught_up)
            there = (await world.pods.list(tenant=acme, namespace="default")).items
            assert {one.metadata.uid: one for one in informer.store.values()} == {
                one.metadata.uid: one for one in there
            }
            running.cancel()
    finally:
        informer.close()
