"""Batches of binds in flight to each partition: how many, how large, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.base.clock import FakeClock
from services.scheduler.attempt import Attempt
from services.scheduler.carrier import Slot
from services.scheduler.lanes import BatchSize, Lanes


def pods(count: int, first: int = 0) -> list[Attempt]:
    """Lanes never look at an attempt."""
    return cast("list[Attempt]", [f"pod-{first + number}" for number in range(count)])


class Partition:
    """Serves batches one after another, ``per_second`` pods, each batch ``fixed_s`` more; and what it was sent."""

    def __init__(self, per_second: float, fixed_s: float = 0.0, *, slots: int = 2, within_s: float = 0.5) -> None:
        self.clock = FakeClock()
        self.per_second = per_second
        self.fixed_s = fixed_s
        self.lanes = Lanes(self._start, clock=self.clock, slots=slots, size=256, within_s=within_s)
        self.queue: list[tuple[Sequence[Attempt], Slot, float]] = []
        self.sizes: list[int] = []
        self.waited_s: list[float] = []

    def _start(self, _: str, attempts: Sequence[Attempt], slot: Slot) -> None:
        self.queue.append((attempts, slot, self.clock.monotonic()))
        self.sizes.append(len(attempts))

    async def serve(self, batches: int) -> None:
        for _ in range(batches):
            attempts, slot, since = self.queue.pop(0)
            await self.clock.advance(len(attempts) / self.per_second + self.fixed_s)
            self.waited_s.append(self.clock.monotonic() - since)
            slot.release()


@pytest.mark.parametrize(("per_second", "slots"), [(1_200, 2), (2_000, 2), (3_000, 2), (2_500, 4)])
async def test_what_is_in_flight_is_what_is_answered_in_time(per_second: float, slots: int) -> None:
    partition = Partition(per_second, slots=slots)
    partition.lanes.send("rp-1", pods(100_000))
    await partition.serve(40)
    assert [len(batch) for batch, _, _ in partition.queue] == [pytest.approx(per_second * 0.5 / slots, rel=0.1)] * slots
    assert max(partition.waited_s[-10:]) == pytest.approx(0.5, rel=0.1)
    assert partition.lanes.sizes() == {"rp-1": pytest.approx(per_second * 0.5 / slots, rel=0.1)}


@pytest.mark.parametrize(("per_second", "size"), [(10, 256), (100_000, 1024)])
async def test_a_batch_is_never_smaller_than_the_first_nor_larger_than_four_times_that(
    per_second: float, size: int
) -> None:
    partition = Partition(per_second)
    partition.lanes.send("rp-1", pods(100_000))
    await partition.serve(40)
    assert partition.sizes[0] == 256 and partition.sizes[-1] == size


async def test_after_a_moment_of_standstill_batches_are_soon_as_large_as_before() -> None:
    partition = Partition(3_000)
    partition.lanes.send("rp-1", pods(100_000))
    await partition.serve(30)
    before = partition.sizes[-1]
    partition.fixed_s = 2.0
    await partition.serve(1)
    partition.fixed_s = 0.0
    assert partition.sizes[-1] == pytest.approx(0.7 * before, abs=2)
    await partition.serve(10)
    assert partition.sizes[-1] == pytest.approx(before, rel=0.1)


async def test_batches_that_are_not_full_do_not_make_larger_ones() -> None:
    partition = Partition(100_000)
    for number in range(50):
        partition.lanes.send("rp-1", pods(10, number * 10))
        await partition.serve(1)
    assert partition.lanes.sizes() == {"rp-1": 256}


async def test_without_a_time_every_batch_has_the_same_size() -> None:
    partition = Partition(100.0, within_s=0.0)
    partition.lanes.send("rp-1", pods(5_000))
    await partition.serve(17)
    assert set(partition.sizes) == {256}


async def test_a_partition_that_was_closed_begins_anew() -> None:
    partition = Partition(100_000)
    partition.lanes.send("rp-1", pods(100_000))
    await partition.serve(20)
    assert partition.lanes.sizes() == {"rp-1": 1024}
    left = partition.lanes.close("rp-1")
    assert len(left) + sum(partition.sizes) == 100_000 and not partition.lanes.sizes()
    # What was in flight gives its slots back to nobody.
    sent = len(partition.sizes)
    await partition.serve(2)
    assert len(partition.sizes) == sent
    partition.lanes.send("rp-1", pods(1_000))
    assert partition.sizes[sent:] == [256, 256]


@given(
    st.lists(
        st.tuples(st.integers(1, 5_000), st.floats(0, 100, allow_nan=False), st.booleans()), min_size=1, max_size=50
    ),
    st.integers(1, 1_000),
)
def test_no_answer_moves_a_size_by_more_than_a_step_or_out_of_its_bounds(
    answers: Sequence[tuple[int, float, bool]], first: int
) -> None:
    size = BatchSize(first, 0.5)
    for count, after_s, full in answers:
        before = size.pods
        size.answered(count, after_s, full=full)
        assert first <= size.pods <= first * 4
        assert int(0.7 * before) <= size.pods <= 1.25 * (before + 1)
        if after_s > 0.5:
            assert size.pods <= before or count > before
