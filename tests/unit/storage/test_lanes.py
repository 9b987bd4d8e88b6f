"""The queue before group commit."""

from __future__ import annotations

import pytest

from services.storage.errors import QueueFull, Unavailable
from services.storage.etcd.lanes import Lanes, Outcomes, Pending, PendingTransaction
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


async def test_a_deletion_is_as_large_as_what_watches_are_told_of_it() -> None:
    lanes = Lanes(100)
    for key in "abc":
        lanes.push(Pending(Write(key, None, 7, replaced_bytes=600), Outcomes(1), 0, 10.0))
    # One that leaves a selection with its new value is a deletion to those who watch that selection.
    lanes.push(Pending(Write("d", b"v", 7, replaced_bytes=600), Outcomes(1), 0, 10.0))
    deletes = [Write(key, None, 7, replaced_bytes=600) for key in "ef"]
    lanes.push(PendingTransaction(deletes, Outcomes(1), 0, 10.0))
    lanes.push(_pending("g", value=b"v" * 300))
    taken = [_keys(lanes.take(10, 1_500)) for _ in range(4)]
    assert taken == [["a", "b"], ["c", "d"], ["e"], ["g"]]


def _write(key: str, lane: Lane = Lane.WORKLOAD) -> Write:
    return Write(key, b"v", 0, lane)


async def test_the_queue_is_bounded_lane_by_lane() -> None:
    lanes = Lanes(2)
    lanes.check_room([_write("a"), _write("a")])
    lanes.push(_pending("a"))
    lanes.push(_pending("a"))
    with pytest.raises(QueueFull):
        lanes.check_room([_write("b")])
    lanes.check_room([_write("b", Lane.SYSTEM), _write("c", Lane.HEARTBEAT)])  # a storm leaves room for binds
    with pytest.raises(QueueFull):
        lanes.check_room([_write("b", Lane.SYSTEM), _write("c")])
    for pending in lanes.take(10, 1 << 20):
        lanes.release(pending)
    lanes.check_room([_write("b")])


async def test_heartbeats_gather_until_they_are_ripe_and_hold_up_nobody() -> None:
    lanes = Lanes(10_000)
    for number in range(3_000):
        lanes.push(_pending(f"n{number}", lane=Lane.HEARTBEAT))
    assert lanes.gathering.is_set() and not lanes.filled.is_set()
    lanes.push(_pending("pod"))
    assert _keys(lanes.take(4_000, 1 << 20)) == ["pod"]
    lanes.ripen()
    assert lanes.filled.is_set() and not lanes.gathering.is_set()
    lanes.push(_pending("bind", lane=Lane.SYSTEM))
    lanes.push(_pending("pod2"))
    batch = _keys(lanes.take(4_000, 1 << 20))
    assert (batch[0], batch[1], batch[-1]) == ("bind", "n0", "pod2")
    assert len(batch) == 514  # not all heartbeats at once: the next bind comes soon
    assert [len(lanes.take(4_000, 1 << 20)) for _ in range(5)] == [512, 512, 512, 512, 440]
    assert not lanes.filled.is_set()


async def test_a_heartbeat_that_goes_again_needs_not_gather_again() -> None:
    lanes = Lanes(10)
    lanes.push(_pending("n", lane=Lane.HEARTBEAT))
    lanes.ripen()
    (pending,) = lanes.take(10, 1 << 20)
    lanes.retry(pending)
    assert lanes.take(10, 1 << 20) == [pending]


async def test_a_write_behind_another_is_answered_in_time_too() -> None:
    lanes = Lanes(10)
    first, behind, last = _pending("a"), _pending("a", deadline_s=1.0), _pending("a")
    for pending in (first, behind, last):
        lanes.push(pending)
    assert lanes.take(10, 1 << 20) == [first]
    lanes.expire(5.0, Unavailable("too late"))
    assert isinstance(behind.outcomes.results[0], Unavailable)
    lanes.release(first)
    assert lanes.take(10, 1 << 20) == [last]
    lanes.release(last)
    assert lanes.count == 0 and not lanes.occupied.is_set()


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


def _joint(*keys: str, lane: Lane = Lane.WORKLOAD, deadline_s: float = 10.0) -> PendingTransaction:
    return PendingTransaction([Write(key, b"v", 0, lane) for key in keys], Outcomes(1), 0, deadline_s)


async def test_a_transaction_waits_for_all_its_keys_and_keeps_all_of_them_from_others() -> None:
    lanes = Lanes(100)
    first, both, second, third = _pending("a"), _joint("a", "b"), _pending("b"), _pending("a")
    for pending in (first, both, second, third):
        lanes.push(pending)
    assert lanes.take(10, 1 << 20) == [first]
    lanes.release(first)
    assert lanes.take(10, 1 << 20) == [both]
    lanes.release(both)
    assert set(lanes.take(10, 1 << 20)) == {second, third}
    lanes.release(second)
    lanes.release(third)
    assert lanes.count == 0 and not lanes.occupied.is_set()


async def test_a_batch_with_a_transaction_in_it_counts_the_operations_inside() -> None:
    lanes = Lanes(100)
    for name in "abcde":
        lanes.push(_joint(f"{name}1", f"{name}2", f"{name}3"))
    lanes.push(_pending("single"))
    assert [len(lanes.take(4, 1 << 20)) for _ in range(3)] == [2, 2, 2]  # 2 items + 3 inside - 1


async def test_a_transaction_that_waited_too_long_leaves_its_keys_to_the_next() -> None:
    lanes = Lanes(100)
    first, both, last = _pending("a"), _joint("a", "b", deadline_s=1.0), _pending("b")
    for pending in (first, both, last):
        lanes.push(pending)
    assert lanes.take(10, 1 << 20) == [first]
    lanes.expire(2.0, Unavailable("late"))
    assert both.settled
    lanes.release(first)
    assert lanes.take(10, 1 << 20) == [last]


async def test_the_room_of_a_lane_counts_the_writes_of_transactions() -> None:
    lanes = Lanes(3)
    lanes.push(_joint("a", "b"))
    with pytest.raises(QueueFull):
        lanes.check_room([_write("c"), _write("d")])


async def test_plenty_is_what_may_be_taken_now() -> None:
    lanes = Lanes(1000)
    for number in range(15):
        lanes.push(_pending(f"w{number}"))
    lanes.push(_pending("w0"))  # behind the first
    for number in range(40):
        lanes.push(_pending(f"h{number}", lane=Lane.HEARTBEAT))
    assert not lanes.plenty.is_set(), "what waits for another write, or gathers, may not be taken yet"
    lanes.push(_pending("s", lane=Lane.SYSTEM))
    assert lanes.plenty.is_set()
    assert len(lanes.take(1000, 1 << 20)) == 16
    assert not lanes.plenty.is_set()
    lanes.ripen()
    assert lanes.plenty.is_set()
    lanes.drain()
    assert not lanes.plenty.is_set()


async def test_writers_who_wait_for_their_answers_are_not_waited_for_longer_than_until_all_are_back() -> None:
    lanes = Lanes(1000)
    for turn in range(3):
        for writer in range(5):
            assert not lanes.plenty.is_set()
            lanes.push(_pending(f"{turn}-{writer}"))
        assert lanes.plenty.is_set() is (turn > 0)
        assert len(lanes.take(1000, 1 << 20)) == 5


async def test_of_many_writers_who_wait_for_their_answers_some_go_while_others_are_answered() -> None:
    lanes = Lanes(1000)
    for writer in range(30):  # all at once, as after a start
        lanes.push(_pending(f"0-{writer}"))
    lanes.take(1000, 1 << 20)
    for writer in range(15):
        lanes.push(_pending(f"1-{writer}"))
    assert not lanes.plenty.is_set()
    lanes.push(_pending("1-15"))
    assert lanes.plenty.is_set(), "the other 14 are not waited for"


async def test_a_transaction_waits_for_nobody() -> None:
    lanes = Lanes(100)
    lanes.push(_pending("a"))
    assert not lanes.plenty.is_set()
    lanes.push(PendingTransaction([Write("b", b"v", 0), Write("c", b"v", 0)], Outcomes(1), 0, 10.0))
    lanes.push(_pending("d"))
    assert lanes.plenty.is_set()
    lanes.take(10, 1 << 20)
    lanes.push(_pending("e"))
    assert not lanes.plenty.is_set()
