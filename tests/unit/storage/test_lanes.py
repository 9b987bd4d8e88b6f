"""The queue before group commit."""

from __future__ import annotations

import pytest

from services.storage.errors import QueueFull, Unavailable
from services.storage.etcd.lanes import Lanes, Outcomes, Pending
from services.storage.interface import Lane, Write


def _pending(key: str, *, lane: Lane = Lane.WORKLOAD, value: bytes = b"v", deadline_s: float = 10.0) -> Pending:
    return Pending(Write(key, value, 0, lane), Outcomes(1), 0, deadline_s)


def _keys(batch: list[Pending]) -> list[str]:
    return [pending.write.key for pending in batch]


async def test_the_system_lane_goes_first_and_each_lane_in_order() -> None:
    lanes = Lanes(100)
    for key, lane in (("a", Lane.WORKLOAD), ("b", Lane.SYSTEM), ("c", Lane.WORKLOAD), ("d", Lane.SYSTEM)):
        lanes.push(_pending(key, lane=lane))
    assert _keys(lanes.take(3, 1 << 20)) == ["b", "d", "a"]
    assert _keys(lanes.take(3, 1 << 20)) == ["c"]
    assert not lanes.filled.is_set()


async def test_a_key_is_never_twice_under_way_and_keeps_its_order() -> None:
    lanes = Lanes(100)
    first, second, third = (_pending("a", value=value) for value in (b"1", b"2", b"3"))
    for pending in (first, second, third, _pending("b")):
        lanes.push(pending)
    assert lanes.take(10, 1 << 20)[0] is first
    assert lanes.take(10, 1 << 20) == []
    lanes.release(first)
    assert lanes.take(10, 1 << 20) == [second]
    lanes.retry(second)
    assert lanes.take(10, 1 << 20) == [second]
    lanes.release(second)
    assert lanes.take(10, 1 << 20) == [third]


async def test_a_batch_ends_at_the_limit_of_bytes_but_is_never_empty() -> None:
    lanes = Lanes(100)
    lanes.push(_pending("a", value=b"x" * 5_000))
    lanes.push(_pending("b", value=b"x" * 100))
    lanes.push(_pending("c", value=b"x" * 100))
    assert _keys(lanes.take(10, 1_000)) == ["a"]
    assert _keys(lanes.take(10, 1_000)) == ["b", "c"]


async def test_the_queue_is_bounded() -> None:
    lanes = Lanes(2)
    lanes.check_room(2)
    lanes.push(_pending("a"))
    lanes.push(_pending("a"))
    with pytest.raises(QueueFull):
        lanes.check_room(1)
    for pending in lanes.take(10, 1 << 20):
        lanes.release(pending)
    lanes.check_room(1)


async def test_what_was_never_sent_in_time_is_answered_and_makes_way() -> None:
    lanes = Lanes(100)
    late, next_of_key, other = (
        _pending("a", deadline_s=1.0),
        _pending("a", deadline_s=9.0),
        _pending("b", deadline_s=9.0),
    )
    for pending in (late, next_of_key, other):
        lanes.push(pending)
    lanes.expire(5.0, Unavailable("too late"))
    assert isinstance(late.outcomes.results[0], Unavailable)
    assert not next_of_key.settled
    assert sorted(_keys(lanes.take(10, 1 << 20))) == ["a", "b"]
    assert lanes.count == 2


async def test_a_write_whose_caller_went_away_is_not_sent() -> None:
    lanes = Lanes(100)
    abandoned, behind = _pending("a"), _pending("a")
    lanes.push(abandoned)
    lanes.push(behind)
    abandoned.outcomes.done.cancel()
    assert lanes.take(10, 1 << 20) == [behind]
    assert lanes.count == 1


async def test_outcomes_come_together_and_only_the_first_counts() -> None:
    outcomes = Outcomes(2)
    writes = [Pending(Write(key, b"", 0), outcomes, index, 1.0) for index, key in enumerate("ab")]
    writes[1].settle(None)
    writes[1].settle(Unavailable("again"))
    assert not outcomes.done.done()
    failure = Unavailable("no")
    writes[0].settle(failure)
    assert outcomes.done.done()
    assert outcomes.results == [failure, None]
