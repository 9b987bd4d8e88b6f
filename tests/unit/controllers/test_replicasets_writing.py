"""Answers that are lost, names that are taken, refusals: each pod is made once or told as a failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.api.pb.ursa.meta.v1.meta_pb2 import DeleteRequest
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.base.tasks import Supervisor
from services.client.clientset import Outcome
from services.controllers.batching import BatchLane
from services.controllers.replicasets.writing import NAMES_MAX, TRIES_MAX, PodWriter, Written
from services.controllers.tenant_config import ReplicaSetsConfig
from services.rpc import status
from services.rpc.status import StatusError
from tests.unit.controllers.tenant_pods import tenant_pod
from tests.unit.controllers.test_replicasets import wanted

LOST = status.unavailable("connection lost")


class Server:
    """Pods by name. ``mishaps``: what happens to the next requests; it gets the request's work and does it or not."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.version = 0
        self.sizes: list[int] = []
        self.mishaps: list[Callable[[], None]] = []
        self.refuse: StatusError | None = None

    async def batch_create(self, objs: Iterable[Pod], *, timeout_s: float | None = None) -> Sequence[Outcome]:
        pods = list(objs)
        self.sizes.append(len(pods))
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap is before:
            raise LOST
        outcomes = [self._create(pod) for pod in pods]
        if mishap is after:
            raise LOST
        return outcomes

    def _create(self, pod: Pod) -> Outcome:
        name = pod.metadata.name
        if self.refuse is not None:
            return Outcome(self.refuse, name, "", 0)
        if name in self.pods:
            return Outcome(StatusError(grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists", name), name, "", 0)
        self.version += 1
        kept = Pod()
        kept.CopyFrom(pod)
        kept.metadata.uid, kept.metadata.resource_version = f"uid-{self.version}", self.version
        self.pods[name] = kept
        return Outcome(None, name, kept.metadata.uid, self.version)

    async def batch_delete(
        self, items: Iterable[DeleteRequest], *, timeout_s: float | None = None
    ) -> Sequence[Outcome]:
        requests = list(items)
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap is before:
            raise LOST
        outcomes = []
        for request in requests:
            gone = self.pods.pop(request.name, None)
            failure = None if gone is not None else status.not_found("pods", request.name)
            outcomes.append(Outcome(failure, request.name, request.preconditions.uid, 0))
        if mishap is after:
            raise LOST
        return outcomes

    async def get(self, name: str, *, tenant: str, namespace: str) -> Pod:
        if name not in self.pods:
            raise status.not_found("pods", name)
        return self.pods[name]


def before() -> None:
    """The request is lost."""


def after() -> None:
    """The answer is lost."""


@contextlib.asynccontextmanager
async def writer(server: Server, rand: Any = None) -> AsyncIterator[tuple[PodWriter, FakeClock]]:
    clock = FakeClock()
    clients: Any = SimpleNamespace(pods=server, replica_sets=SimpleNamespace(batch_update_status=None))
    made = PodWriter(clients, ReplicaSetsConfig(batches_in_flight=1), clock, rand or Rand(3))
    async with Supervisor() as tasks:
        tasks.start(made.run(), name="writer")
        yield made, clock


async def finished(work: Any, clock: FakeClock) -> Written:
    """The result of ``work``, whose pauses pass at once."""
    task = asyncio.ensure_future(work)
    for _ in range(10_000):
        if task.done():
            break
        await asyncio.sleep(0)
        await clock.advance(0.5)
    result: Written = task.result()
    return result


async def test_pods_are_made_in_batches_that_double() -> None:
    server = Server()
    async with writer(server) as (made, clock):
        written = await finished(made.create(wanted(), 20), clock)
    assert server.sizes == [1, 2, 4, 8, 5]
    assert set(written.names) == server.pods.keys() and len(server.pods) == 20
    assert written.version == 20 and written.failure is None


@pytest.mark.parametrize("mishaps", [[before], [after], [after, after, before], [before] * (TRIES_MAX - 1)])
async def test_a_lost_answer_makes_no_second_pod(mishaps: list[Callable[[], None]]) -> None:
    server = Server()
    server.mishaps = list(mishaps)
    async with writer(server) as (made, clock):
        written = await finished(made.create(wanted(), 7), clock)
    assert len(server.pods) == 7 == len(written.names)
    assert written.failure is None and written.version == 7


async def test_a_server_that_never_answers_is_a_failure_in_the_end() -> None:
    server = Server()
    server.mishaps = [before] * TRIES_MAX
    async with writer(server) as (made, clock):
        written = await finished(made.create(wanted(), 3), clock)
    assert written.failure is LOST and not server.pods and len(server.sizes) == TRIES_MAX


async def test_a_refusal_is_met_once_and_not_for_every_pod() -> None:
    server = Server()
    server.refuse = status.forbidden("quota")
    async with writer(server) as (made, clock):
        written = await finished(made.create(wanted(), 500), clock)
    assert server.sizes == [1] and written.failure is server.refuse


async def test_a_namespace_that_is_going_is_no_failure() -> None:
    server = Server()
    server.refuse = status.forbidden("going", metadata={"cause": "NamespaceTerminating"})
    async with writer(server) as (made, clock):
        written = await finished(made.create(wanted(), 500), clock)
    assert server.sizes == [1] and written.failure is None and not written.names


class Repeating(Rand):
    """Each suffix comes ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self._times, self._drawn = times, 0

    def name_suffix(self, length: int = 5) -> str:
        self._drawn += 1
        return f"{(self._drawn - 1) // self._times:0{length}d}"


async def test_a_name_that_is_taken_is_replaced_by_another() -> None:
    server = Server()
    async with writer(server, Repeating(3)) as (made, clock):
        written = await finished(made.create(wanted(), 6), clock)
    assert len(server.pods) == 6 == len(set(written.names))
    assert all(count == 1 for count in Counter(written.names).values()) and written.failure is None


async def test_another_sets_pod_of_the_name_in_doubt_is_not_taken_for_ours() -> None:
    server = Server()
    server._create(Pod(metadata={"name": "web-00000"}))
    server.mishaps = [before]
    async with writer(server, Repeating(1)) as (made, clock):
        written = await finished(made.create(wanted(), 1), clock)
    assert written.names == ["web-00001"] and len(server.pods) == 2


async def test_names_do_not_run_out_unnoticed() -> None:
    server = Server()
    for number in range(NAMES_MAX + 2):
        server._create(Pod(metadata={"name": f"web-{number:05d}"}))
    async with writer(server, Repeating(1)) as (made, clock):
        written = await finished(made.create(wanted(), 1), clock)
    assert written.failure is not None and written.failure.code is grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize("mishaps", [[], [before], [after], [after, before]])
async def test_a_deletion_without_an_answer_is_sent_again_for_the_same_pods(mishaps: list[Callable[[], None]]) -> None:
    server = Server()
    for name in ("a", "b", "c"):
        server._create(Pod(metadata={"name": name}))
    server.mishaps = list(mishaps)
    async with writer(server) as (made, clock):
        written = await finished(made.delete([tenant_pod("a"), tenant_pod("b")]), clock)
    assert server.pods.keys() == {"c"}
    assert sorted(written.removed) == ["a", "b"] and written.failure is None


async def test_what_many_ask_for_goes_out_together_and_everybody_gets_his_own() -> None:
    sent: list[list[int]] = []
    begun, free = asyncio.Event(), asyncio.Event()

    async def send(items: Sequence[int]) -> Sequence[Outcome]:
        sent.append(list(items))
        begun.set()
        await free.wait()
        if 13 in items:
            raise LOST
        return [Outcome(None, str(item), "", item) for item in items]

    lane: BatchLane[int] = BatchLane(send, items_max=4)
    async with Supervisor() as tasks:
        tasks.start(lane.run(), name="lane")
        asked = [tasks.start(lane.submit(items), name="asks") for items in ([1], [2, 3], [4, 5, 6], [13])]
        await begun.wait()
        free.set()
        answers = [await one for one in asked]
    assert sent == [[1, 2, 3, 4], [5, 6, 13]]
    assert [[one.resource_version for one in answer] for answer in answers[:2]] == [[1], [2, 3]]
    assert [one.status for one in answers[2]] == [None, LOST, LOST]
    assert await lane.submit([]) == []


async def test_whoever_is_cancelled_wants_nothing_any_more() -> None:
    sent: list[list[int]] = []

    async def send(items: Sequence[int]) -> Sequence[Outcome]:
        sent.append(list(items))
        return [Outcome(None, "", "", 0) for _ in items]

    lane: BatchLane[int] = BatchLane(send, items_max=4)
    async with Supervisor() as tasks:
        gone = tasks.start(lane.submit([1]), name="gone")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        tasks.start(lane.run(), name="lane")
        await lane.submit([2])
    assert sent == [[2]]
