"""The driver keeps its times whatever the server does, repeats what is not settled, and says no to what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.api.pb.ursa.core.v1 import pod_pb2, pod_service_pb2
from services.api.pb.ursa.meta.v1 import meta_pb2
from services.base.clock import FakeClock
from services.base.rand import Rand
from services.bench.player import driver
from services.bench.player.driver import Driver, DriverFailed, Limits
from services.bench.player.encoding import Encoder
from services.bench.player.journal import Journal
from services.bench.player.link import Refused, refusal
from services.bench.player.requests import Request, Resource, Step, Template, Verb

UNAVAILABLE, EXISTS, INVALID = 14, 6, 3


class Server:
    """Stands for a link: answers after ``slow_s`` of the clock, by ``refuse`` (code or 0) per call."""

    def __init__(self, clock: FakeClock, slow_s: float = 0.0) -> None:
        self._clock = clock
        self.slow_s = slow_s
        self.refuse: Callable[[int, str], int] = lambda number, path: 0
        self.calls: list[tuple[str, float]] = []
        self.batch_codes: list[dict[str, int]] = []

    async def call(self, path: str, message: bytes) -> bytes:
        number = len(self.calls)
        self.calls.append((path.rpartition("/")[2], self._clock.monotonic()))
        await self._clock.sleep(self.slow_s)
        if code := self.refuse(number, path):
            raise Refused(code, "no")
        match path.rpartition("/")[2]:
            case "BatchCreate":
                pods = pod_service_pb2.BatchPodsRequest.FromString(message).objects
                codes = self.batch_codes.pop(0) if self.batch_codes else {}
                answer = meta_pb2.BatchResponse()
                for pod in pods:
                    outcome = answer.outcomes.add(name=pod.metadata.name, uid=f"uid-{pod.metadata.name}")
                    if code := codes.get(pod.metadata.name, 0):
                        outcome.status.code = code
                return answer.SerializeToString()
            case "Get" | "Delete":
                name = meta_pb2.GetRequest.FromString(message).name
            case _:
                name = pod_service_pb2.CreatePodRequest.FromString(message).object.metadata.name
        pod = pod_pb2.Pod()
        pod.metadata.uid = f"uid-{name}"
        return pod.SerializeToString()


class World:
    def __init__(self, slow_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.server = Server(self.clock, slow_s)
        self.journal = Journal()
        self.driver = Driver(
            {"t": self.server},  # type: ignore[dict-item]
            Encoder({"pause": Template()}),
            self.journal,
            Limits(at_once=2, settle_s=5.0),
            self.clock,
            Rand(1),
        )

    async def play(self, *requests: Request, paced: bool = True, for_s: float = 30.0) -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            playing = group.create_task(self.driver.play(Step("s", requests, paced)))
            while not playing.done() and self.clock.monotonic() < for_s:
                await self.clock.advance(0.05)


def pods(at_s: float, verb: Verb = Verb.CREATE, *, first: int = 0, count: int = 1) -> Request:
    template = "pause" if verb is Verb.CREATE else ""
    return Request(at_s, "s", verb, Resource.PODS, "t", "default", "a", template, first, count)


async def test_a_slow_server_delays_no_request_and_hides_nothing() -> None:
    world = World(slow_s=3.0)
    await world.play(*(pods(number * 0.5, first=number) for number in range(4)))
    assert [at for _, at in world.server.calls] == pytest.approx([0.0, 0.5, 1.0, 1.5])
    (latency,) = world.journal.latencies_s().values()
    assert latency == pytest.approx([3.0] * 4)
    assert world.journal.uids == [f"uid-a-{number:07d}" for number in range(4)]


async def test_latency_counts_from_the_due_time_over_retries() -> None:
    world = World()
    world.server.refuse = lambda number, path: UNAVAILABLE if number < 3 else 0
    await world.play(pods(1.0))
    (latency,) = world.journal.latencies_s().values()
    assert len(world.server.calls) == 4 and world.journal.retries == 3
    assert latency[0] == pytest.approx(world.server.calls[-1][1] - 1.0)


async def test_a_create_whose_answer_was_lost_is_found_by_reading() -> None:
    world = World()
    world.server.refuse = lambda number, path: (UNAVAILABLE, EXISTS, 0)[number]
    await world.play(pods(0.0))
    assert [method for method, _ in world.server.calls] == ["Create", "Create", "Get"]
    assert world.journal.uids == ["uid-a-0000000"]


async def test_of_a_batch_only_what_is_not_settled_is_sent_again() -> None:
    world = World()
    world.server.batch_codes = [{"a-0000001": UNAVAILABLE, "a-0000002": UNAVAILABLE}, {"a-0000002": EXISTS}]
    await world.play(pods(0.0, count=4))
    assert [method for method, _ in world.server.calls] == ["BatchCreate", "BatchCreate", "Get"]
    assert world.journal.uids == [f"uid-a-{number:07d}" for number in range(4)]


async def test_a_definite_refusal_ends_the_run() -> None:
    world = World()
    world.server.refuse = lambda number, path: INVALID
    with pytest.raises(ExceptionGroup) as failed:
        await world.play(pods(0.0))
    assert failed.group_contains(DriverFailed, match="create pods t/default/a: refused")
    assert world.journal.uids == []


async def test_what_cannot_be_settled_in_time_ends_the_run() -> None:
    world = World()
    world.server.refuse = lambda number, path: UNAVAILABLE
    with pytest.raises(ExceptionGroup) as failed:
        await world.play(pods(0.0))
    assert failed.group_contains(DriverFailed, match="after [0-9]+ tries")
    assert world.clock.monotonic() <= 6.0


async def test_a_delete_waits_for_the_create_of_its_pod_and_for_no_other() -> None:
    world = World(slow_s=2.0)
    await world.play(
        pods(0.0, first=1), pods(0.1, Verb.DELETE, first=1), pods(0.2, first=2), pods(0.3, Verb.DELETE, first=9)
    )
    assert [method for method, _ in world.server.calls] == ["Create", "Create", "Delete", "Delete"]
    assert [at for _, at in world.server.calls] == pytest.approx([0.0, 0.2, 0.3, 2.0])
    assert world.journal.deleted["uid-a-0000001"] == pytest.approx(0.1)
    assert list(world.journal.begun_at - world.journal.due) == pytest.approx([0.0] * 4)


async def test_a_delete_that_was_sent_late_counts_from_when_it_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "OPEN_CALLS_MAX", 1)
    world = World(slow_s=3.0)
    await world.play(pods(0.0), pods(0.5, Verb.DELETE, first=1))
    assert [at for _, at in world.server.calls] == pytest.approx([0.0, 3.0], abs=0.1)
    assert world.journal.deleted["uid-a-0000001"] == pytest.approx(0.5)


async def test_without_a_pace_so_many_calls_are_open_at_a_time() -> None:
    world = World(slow_s=1.0)
    await world.play(*(pods(0.0, first=number) for number in range(5)), paced=False)
    assert [at for _, at in world.server.calls] == pytest.approx([0.0, 0.0, 1.0, 1.0, 2.0])
    (latency,) = world.journal.latencies_s().values()
    assert latency == pytest.approx([1.0] * 5)


async def test_without_a_pace_too_a_delete_waits_for_the_create_of_its_pod() -> None:
    world = World(slow_s=2.0)
    await world.play(pods(0.0, first=1), pods(0.0, Verb.DELETE, first=1), pods(0.0, first=2), paced=False)
    assert [method for method, _ in world.server.calls] == ["Create", "Create", "Delete"]
    assert [at for _, at in world.server.calls] == pytest.approx([0.0, 2.0, 2.0])


async def test_what_was_played_is_recorded_with_its_times() -> None:
    world = World()
    given = [pods(number * 0.25, first=number) for number in range(3)]
    await world.play(*given)
    assert world.journal.played(began=0.0) == given


@pytest.mark.parametrize(
    ("trailers", "code", "message"),
    [
        pytest.param("grpc-status 8 grpc-message too many requests", 8, "too many requests", id="status first"),
        pytest.param("grpc-message no such thing grpc-status 12", 12, "no such thing", id="message first"),
        pytest.param("the connection ended: closed", UNAVAILABLE, "the connection ended: closed", id="no status"),
    ],
)
def test_what_trailers_say(trailers: str, code: int, message: str) -> None:
    found = refusal(trailers)
    assert found.code == code and message in str(found)
