"""Leader election: one leader at a time, on clocks that disagree, with a partition that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.kinds import LEASES
from services.api.pb.ursa.coordination.v1.lease_pb2 import Lease
from services.base.clock import Clock, FakeClock
from services.base.rand import Rand
from services.client.clientset import Clientset
from services.client.election import Election, ElectionConfig, Sighting, may_take, record, released, sight
from tests.support.client_world import fake_connection, until
from tests.support.fake_partition import FakePartition

NAME = "controller-manager"


class SkewedClock:
    """A clock that runs ``rate`` times as fast as ``base``; its wall time is wrong by hours."""

    def __init__(self, base: FakeClock, rate: float) -> None:
        self._base, self._rate = base, rate

    def time(self) -> float:
        return self._base.time() * self._rate

    def monotonic(self) -> float:
        return self._base.monotonic() * self._rate

    async def sleep(self, seconds: float) -> None:
        await self._base.sleep(seconds / self._rate)


class Candidate:
    """An ``Election`` that runs as a task; ``terms`` counts the times its work was started."""

    def __init__(
        self, partition: FakePartition, identity: str, clock: Clock, config: ElectionConfig | None = None
    ) -> None:
        leases = Clientset(fake_connection(partition, clock).channel).leases
        self.election = Election(
            leases, name=NAME, identity=identity, clock=clock, rand=Rand(ord(identity[-1])), config=config
        )
        self.working = False
        self.terms = 0
        self.over = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> Candidate:
        self.task = asyncio.create_task(self.election.run(self.lead))
        return self

    async def lead(self) -> None:
        self.working, self.terms = True, self.terms + 1
        try:
            await self.over.wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def lease(partition: FakePartition) -> Lease:
    found: Lease = partition.get(LEASES, NAME, "system", "kube-system")
    return found


async def test_a_free_lease_is_taken_and_kept() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    await clock.advance(120)
    assert a.working and a.terms == 1 and a.election.leading and a.election.leader == "a"
    spec = lease(partition).spec
    assert (spec.holder_identity, spec.lease_duration_seconds, spec.lease_transitions) == ("a", 15, 0)
    assert spec.renew_time.seconds - spec.acquire_time.seconds > 110
    await a.stop()


async def test_a_renewal_is_one_write_and_no_read() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    reads = len(partition.called("Get"))
    await clock.advance(60)
    assert len(partition.called("Get")) == reads
    assert 60 / 2.4 <= len(partition.called("Update")) <= 30
    await a.stop()


async def test_a_clean_stop_hands_over_at_once() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a, b = Candidate(partition, "a", clock).start(), Candidate(partition, "b", clock)
    await until(clock, lambda: a.working)
    b.start()
    await clock.advance(30)
    assert not b.working
    await a.stop()
    assert lease(partition).spec.holder_identity == ""
    await until(clock, lambda: b.working, seconds=2.5)
    assert lease(partition).spec.lease_transitions == 1
    await b.stop()


async def test_a_dead_holder_is_followed_after_its_lease_and_no_sooner() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    # A holder that died with no time to release.
    dead = record(Lease(), "dead", 15.0, 1.0)
    dead.metadata.name, dead.metadata.tenant, dead.metadata.namespace = NAME, "system", "kube-system"
    partition.put(LEASES, dead)
    b = Candidate(partition, "b", clock).start()
    await clock.advance(14.9)
    assert not b.working and b.election.leader == "dead"
    await until(clock, lambda: b.working, seconds=2.5)
    await b.stop()


async def test_a_holder_that_cannot_renew_stops_before_another_starts() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a, b = Candidate(partition, "a", clock).start(), Candidate(partition, "b", clock)
    await until(clock, lambda: a.working)
    b.start()
    await clock.advance(5)
    partition.go_down()
    began = clock.monotonic()
    await until(clock, lambda: not a.working, seconds=10.5)
    assert clock.monotonic() - began > 5  # a short outage does not end a term
    partition.come_back()
    await until(clock, lambda: a.working or b.working, seconds=20)
    await a.stop()
    await b.stop()


async def test_an_outage_shorter_than_the_deadline_ends_no_term() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    for _ in range(5):
        partition.go_down()
        await clock.advance(6)
        partition.come_back()
        await clock.advance(6)
    assert a.working and a.terms == 1
    await a.stop()


async def test_a_call_that_never_answers_does_not_keep_a_leader() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    answers = partition.call

    async def never(path: str, data: bytes) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    partition.call = never  # type: ignore[method-assign]
    await until(clock, lambda: not a.working, seconds=10.5)
    partition.call = answers  # type: ignore[method-assign]
    await a.stop()


async def test_a_lease_taken_by_force_ends_the_term_at_the_next_renewal() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    partition.put(LEASES, record(lease(partition), "person", 15.0, clock.time()))
    await until(clock, lambda: not a.working, seconds=2.5)
    assert a.election.leader == "person"
    await a.stop()
    assert lease(partition).spec.holder_identity == "person"  # it gives back only what is its own


async def test_a_candidate_knows_whether_it_is_in_touch() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a, b = Candidate(partition, "a", clock).start(), Candidate(partition, "b", clock)
    await until(clock, lambda: a.working)
    assert not b.election.in_touch
    b.start()
    await clock.advance(60)
    assert a.election.in_touch and b.election.in_touch and b.election.leader == "a"
    partition.go_down()
    await clock.advance(10.1)
    assert not a.election.in_touch and not b.election.in_touch
    partition.come_back()
    await until(clock, lambda: a.election.in_touch and b.election.in_touch, seconds=5)
    await a.stop()
    await b.stop()


async def test_a_deleted_lease_is_made_again() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    partition.remove(LEASES, NAME, "system", "kube-system")
    await clock.advance(20)
    assert a.working and a.terms == 1 and lease(partition).spec.holder_identity == "a"
    await a.stop()


async def test_work_that_ends_ends_the_candidacy() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    a = Candidate(partition, "a", clock).start()
    await until(clock, lambda: a.working)
    a.over.set()
    await clock.advance(1)
    assert a.task is not None and a.task.done() and a.task.exception() is None
    assert lease(partition).spec.holder_identity == ""


async def test_a_bug_in_the_work_is_not_swallowed() -> None:
    clock = FakeClock()
    partition = FakePartition("rp-1", clock=clock)
    election = Candidate(partition, "a", clock).election

    async def broken() -> None:
        raise LookupError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        await election.run(broken)
    assert caught.group_contains(LookupError)
    assert not election.leading and lease(partition).spec.holder_identity == ""


@settings(max_examples=40, deadline=None)
@given(
    rates=st.lists(st.floats(0.85, 1.15), min_size=2, max_size=4),
    outages=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 25.0)), max_size=6),
)
def test_never_two_at_once_on_clocks_of_different_speed(rates: list[float], outages: list[tuple[float, float]]) -> None:
    """Rates within 15 %: the slowest holder stops (10/0.85 s) before the fastest other begins (15/1.15 s)."""

    async def scenario() -> None:
        clock = FakeClock()
        partition = FakePartition("rp-1", clock=clock)
        candidates = [
            Candidate(partition, f"c{number}", SkewedClock(clock, rate)).start() for number, rate in enumerate(rates)
        ]

        async def pass_time(seconds: float) -> None:
            end = clock.monotonic() + seconds
            while clock.monotonic() < end:
                await clock.advance(0.25)
                assert sum(candidate.working for candidate in candidates) <= 1

        for up_s, down_s in outages:
            await pass_time(up_s)
            partition.go_down()
            await pass_time(down_s)
            partition.come_back()
        await pass_time(45)
        assert sum(candidate.working for candidate in candidates) == 1
        for candidate in candidates:
            await candidate.stop()

    asyncio.run(scenario())


def test_a_record_that_does_not_change_keeps_its_age() -> None:
    held = record(Lease(), "a", 15.0, 0.0)
    held.metadata.resource_version = 7
    first = sight(None, held, 100.0)
    assert sight(first, held, 110.0) is first
    assert not may_take(first, "b", 114.9) and may_take(first, "b", 115.0) and may_take(first, "a", 101.0)
    held.metadata.resource_version = 8
    assert not may_take(sight(first, held, 114.0), "b", 120.0)


def test_a_released_lease_is_free_at_once() -> None:
    free = released(record(Lease(), "a", 15.0, 0.0), 1.0)
    free.metadata.resource_version = 9
    assert may_take(sight(None, free, 50.0), "b", 50.0)
    assert Sighting(9, "", 1.0, 50.0).held_until() == 50.0


@pytest.mark.parametrize("wrong", [{"lease_s": 10.0}, {"renew_deadline_s": 2.1}, {"retry_s": 0.0}])
def test_times_that_allow_two_leaders_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lease_s > renew_deadline_s > retry_s"):
        ElectionConfig(**wrong)
