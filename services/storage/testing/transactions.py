"""Scenarios: writes that take effect together or not at all."""

from __future__ import annotations

import asyncio

from services.storage.errors import (
    InvalidQuery,
    KeyExists,
    KeyNotFound,
    PreconditionFailed,
    TooLarge,
    TooManyWrites,
)
from services.storage.interface import Record, Write
from services.storage.testing.expect import raises
from services.storage.testing.world import World, next_events, pod


async def a_transaction_over_two_collections_has_one_revision(world: World) -> None:
    first, second = await world.transactor.transact(
        [Write(world.key("a"), pod("a"), 0), Write(world.other_key("b"), pod("b"), 0)]
    )
    assert first is not None and second is not None
    assert (first.key, second.key) == (world.key("a"), world.other_key("b"))
    assert first.revision == second.revision
    assert await world.store.get(first.key) == first
    assert await world.other.get(second.key) == second


async def a_transaction_creates_changes_and_deletes_at_once(world: World) -> None:
    changed, doomed = await world.create("changed"), await world.create("doomed")
    outcomes = await world.transactor.transact(
        [
            Write(world.key("new"), pod("new"), 0),
            Write(changed.key, pod("changed", note="x"), changed.revision),
            Write(doomed.key, None, doomed.revision),
        ]
    )
    assert [outcome is None for outcome in outcomes] == [False, False, True]
    page = await world.list()
    assert list(page.records) == [outcomes[1], outcomes[0]]
    assert {record.revision for record in page.records} == {page.records[0].revision}


async def of_a_transaction_that_fails_nothing_is_written_and_the_first_failure_is_told(world: World) -> None:
    taken = await world.create("taken")
    late = await world.change(await world.create("late"), note="new")
    before = await world.list()
    with raises(KeyExists) as exists:
        await world.transactor.transact(
            [
                Write(world.other_key("b"), pod("b"), 0),
                Write(taken.key, pod("taken", note="mine"), 0),
                Write(late.key, pod("late", note="mine"), late.revision - 1),
            ]
        )
    assert exists.value.record == taken
    with raises(PreconditionFailed) as changed:
        await world.transactor.transact(
            [Write(late.key, pod("late", note="mine"), late.revision - 1), Write(taken.key, pod("taken"), 0)]
        )
    assert (changed.value.key, changed.value.record) == (late.key, late)
    with raises(PreconditionFailed) as gone:
        await world.transactor.transact([Write(world.key("c"), pod("c"), 0), Write(world.key("d"), pod("d"), 9)])
    assert (gone.value.key, gone.value.record) == (world.key("d"), None)
    with raises(KeyNotFound) as nothing:
        await world.transactor.transact([Write(world.key("c"), pod("c"), 0), Write(world.key("d"), None, 9)])
    assert nothing.value.key == world.key("d")
    assert list((await world.list()).records) == list(before.records)
    with raises(KeyNotFound):
        await world.other.get(world.other_key("b"))


async def outcomes_of_transactions_in_one_batch_are_independent_and_in_order(world: World) -> None:
    taken = await world.create("taken")
    first, second, third = await world.transactor.transact_batch(
        [
            [Write(world.key("a"), pod("a"), 0), Write(world.other_key("a"), pod("a"), 0)],
            [Write(world.key("b"), pod("b"), 0), Write(taken.key, pod("taken"), 0)],
            [Write(world.key("c"), pod("c"), 0)],
        ]
    )
    assert not isinstance(first, Exception) and len(first) == 2
    assert isinstance(second, KeyExists)
    assert not isinstance(third, Exception)
    assert await world.names() == ["a", "c", "taken"]


async def transactions_that_share_a_key_take_effect_in_their_order(world: World) -> None:
    shared = world.other_key("shared")
    first, second = await world.transactor.transact_batch(
        [
            [Write(world.key("a"), pod("a"), 0), Write(shared, pod("shared"), 0)],
            [Write(world.key("b"), pod("b"), 0), Write(shared, pod("shared", note="second"), 0)],
        ]
    )
    assert not isinstance(first, Exception)
    assert isinstance(second, KeyExists) and second.record == first[1]
    assert await world.names() == ["a"]


async def crossing_transactions_neither_wait_for_ever_nor_mix(world: World) -> None:
    """Keys in opposite order, with single writes of the same keys between them."""
    a, b = world.key("a"), world.other_key("b")
    await world.transactor.transact([Write(a, pod("a", note="0"), 0), Write(b, pod("b", note="0"), 0)])

    async def move(number: int) -> int:
        lost = 0
        while True:
            left, right = await asyncio.gather(world.store.get(a), world.other.get(b))
            writes = [Write(a, pod("a", note=str(number)), left.revision)]
            writes.append(Write(b, pod("b", note=str(number)), right.revision))
            try:
                await world.transactor.transact(writes if number % 2 else writes[::-1])
                return lost
            except PreconditionFailed:
                lost += 1

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        moves = [tasks.create_task(move(number)) for number in range(1, 9)]
        for number in range(9):
            tasks.create_task(world.store.write(Write(world.key(f"single{number}"), pod("s"), 0)))
    left, right = await world.store.get(a), await world.other.get(b)
    assert left.revision == right.revision, "they were written together, every time"
    assert all(move.done() for move in moves)


async def a_watch_sees_a_transaction_as_one_revision(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    outcomes = await world.transactor.transact(
        [Write(world.key(name), pod(name), 0) for name in ("a", "b", "c")] + [Write(world.other_key("d"), pod("d"), 0)]
    )
    assert outcomes[0] is not None
    revision = outcomes[0].revision
    assert await next_events(watcher, 3) == [("ADDED", name, revision) for name in ("a", "b", "c")]


async def a_transaction_says_what_it_expects_of_every_key_and_names_each_once(world: World) -> None:
    a, b = Write(world.key("a"), pod("a"), 0), Write(world.key("b"), pod("b"), None)
    for writes, field in (
        ([], "writes"),
        ([a, a], "key"),
        ([a, b], "expected_revision"),
        ([a, Write(world.key("b"), None, 0)], "expected_revision"),
        ([a, Write("/elsewhere/b", pod("b"), 0)], "key"),
    ):
        with raises(InvalidQuery) as caught:
            await world.transactor.transact(writes)
        assert caught.value.field == field
    assert await world.names() == []


async def a_transaction_beyond_the_limits_is_refused_and_one_of_the_largest_size_is_not(world: World) -> None:
    most = world.transactor.transaction_writes_max
    with raises(TooManyWrites) as caught:
        await world.transactor.transact([Write(world.key(f"p{n}"), b"", 0) for n in range(most + 1)])
    assert caught.value.limit == most
    with raises(TooLarge):
        half = b"\x0a\x00" * (300 << 10)  # each is a value's size, and both are more than a transaction's
        await world.transactor.transact([Write(world.key("a"), half, 0), Write(world.key("b"), half, 0)])
    assert await world.names() == []
    outcomes = await world.transactor.transact([Write(world.key(f"p{n:05}"), b"", 0) for n in range(most)])
    assert {outcome.revision for outcome in outcomes if isinstance(outcome, Record)} == {
        (await world.store.get(world.key("p00000"))).revision
    }
    assert len((await world.list()).records) == most


async def a_read_of_many_keys_shows_every_acknowledged_write(world: World) -> None:
    kept = [await world.create(f"p{number:03}") for number in range(150)]
    changed = await world.change(kept[3], note="new")
    await world.delete(kept[5])
    (other,) = await world.transactor.transact([Write(world.other_key("b"), pod("b"), 0)])
    found = await world.transactor.read(
        [*(record.key for record in reversed(kept)), world.other_key("b"), world.key("nobody"), changed.key]
    )
    expected: list[Record | None] = [*reversed(kept), other, None, changed]
    expected[149 - 3], expected[149 - 5] = changed, None
    assert list(found) == expected
    assert list(await world.transactor.read([])) == []
