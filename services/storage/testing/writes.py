"""Scenarios: what becomes of writes."""

from __future__ import annotations

import asyncio

from services.storage.checks import VALUE_BYTES_MAX
from services.storage.errors import (
    InvalidQuery,
    KeyExists,
    KeyNotFound,
    PreconditionFailed,
    StorageError,
    TooLarge,
)
from services.storage.interface import Lane, Record, Write
from services.storage.testing.expect import raises
from services.storage.testing.world import World, next_events, pod


async def create_returns_what_the_key_holds_now(world: World) -> None:
    record = await world.create("a", note="hello")
    assert record.key == world.key("a")
    assert record.value == pod("a", note="hello")
    assert await world.store.get(record.key) == record


async def create_of_a_taken_key_tells_who_has_it(world: World) -> None:
    first = await world.create("a", note="first")
    with raises(KeyExists) as caught:
        await world.create("a", note="second")
    assert caught.value.record == first
    assert await world.store.get(first.key) == first


async def update_at_the_known_revision_replaces_the_record(world: World) -> None:
    first = await world.create("a")
    second = await world.change(first, note="new")
    assert second.revision > first.revision
    assert await world.store.get(first.key) == second


async def update_at_an_old_revision_fails_and_carries_the_current_record(world: World) -> None:
    first = await world.create("a")
    second = await world.change(first, note="other writer")
    with raises(PreconditionFailed) as caught:
        await world.change(first, note="late writer")
    assert caught.value.record == second
    assert await world.store.get(first.key) == second


async def update_of_a_deleted_key_fails_and_says_that_nothing_is_there(world: World) -> None:
    record = await world.create("a")
    await world.delete(record)
    with raises(PreconditionFailed) as caught:
        await world.change(record, note="late")
    assert caught.value.record is None


async def unconditional_put_creates_and_replaces(world: World) -> None:
    first = await world.put(world.key("a"), pod("a"), None)
    second = await world.put(world.key("a"), pod("a", note="again"), None)
    assert second.revision > first.revision
    assert await world.store.get(first.key) == second


async def delete_at_the_known_revision_removes_the_key(world: World) -> None:
    record = await world.create("a")
    await world.delete(record)
    with raises(KeyNotFound):
        await world.store.get(record.key)


async def delete_at_an_old_revision_fails_and_removes_nothing(world: World) -> None:
    first = await world.create("a")
    second = await world.change(first, note="new")
    with raises(PreconditionFailed) as caught:
        await world.store.write(Write(first.key, None, first.revision))
    assert caught.value.record == second
    assert await world.store.get(first.key) == second


async def unconditional_delete_removes_the_key(world: World) -> None:
    record = await world.create("a")
    assert await world.store.write(Write(record.key, None, None)) is None
    assert await world.names() == []


async def delete_of_nothing_raises_key_not_found(world: World) -> None:
    for expected in (None, 7):
        with raises(KeyNotFound):
            await world.store.write(Write(world.key("a"), None, expected))


async def a_key_can_be_created_again_after_its_deletion(world: World) -> None:
    first = await world.create("a")
    await world.delete(first)
    second = await world.create("a", note="second life")
    assert second.revision > first.revision
    with raises(PreconditionFailed):
        await world.change(first, note="from the first life")


async def revisions_grow_with_every_write(world: World) -> None:
    record = await world.create("a")
    seen = [record.revision]
    for number in range(5):
        record = await world.change(record, note=str(number))
        seen.append(record.revision)
    assert seen == sorted(set(seen))


async def outcomes_of_a_batch_are_independent_and_in_order(world: World) -> None:
    taken = await world.create("taken")
    outcomes = await world.store.write_batch(
        [
            Write(world.key("new"), pod("new"), 0),
            Write(taken.key, pod("taken", note="x"), 0),
            Write(world.key("missing"), None, None),
            Write(world.key("also-new"), pod("also-new"), 0, lane=Lane.SYSTEM),
        ]
    )
    assert isinstance(outcomes[0], Record) and outcomes[0].key == world.key("new")
    assert isinstance(outcomes[1], KeyExists) and outcomes[1].record == taken
    assert isinstance(outcomes[2], KeyNotFound)
    assert isinstance(outcomes[3], Record) and outcomes[3].key == world.key("also-new")
    assert await world.names() == ["also-new", "new", "taken"]


async def a_batch_refuses_a_key_that_occurs_twice(world: World) -> None:
    with raises(InvalidQuery):
        await world.store.write_batch(
            [Write(world.key("a"), pod("a"), 0), Write(world.key("a"), pod("a", note="x"), 0)]
        )
    assert await world.names() == []


async def an_empty_batch_has_no_outcomes(world: World) -> None:
    assert list(await world.store.write_batch([])) == []


async def a_value_that_is_too_large_is_refused_alone(world: World) -> None:
    outcomes = await world.store.write_batch(
        [Write(world.key("big"), b"x" * (VALUE_BYTES_MAX + 1), 0), Write(world.key("small"), pod("small"), 0)]
    )
    assert isinstance(outcomes[0], TooLarge) and outcomes[0].limit_bytes == VALUE_BYTES_MAX
    assert isinstance(outcomes[1], Record)
    assert await world.names() == ["small"]


async def a_value_of_the_largest_size_is_stored(world: World) -> None:
    value = b"".join((pod("big"), b"\x0a\x00" * 400_000))
    record = await world.put(world.key("big"), value, 0)
    assert (await world.store.get(record.key)).value == value


async def a_key_outside_the_collection_is_refused(world: World) -> None:
    for key in ("/ursa/elsewhere/a", world.prefix, world.prefix[:-1] + "x/a"):
        with raises(InvalidQuery) as caught:
            await world.store.write(Write(key, b"", 0))
        assert caught.value.field == "key"


async def of_concurrent_creates_of_one_key_one_wins(world: World) -> None:
    outcomes = await asyncio.gather(
        *(world.create("a", note=str(number)) for number in range(20)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(winners) == 1
    assert all(isinstance(outcome, KeyExists) for outcome in outcomes if outcome is not winners[0])
    assert await world.store.get(world.key("a")) == winners[0]


async def concurrent_read_modify_writes_lose_nothing(world: World) -> None:
    await world.put(world.key("counter"), b"", 0)

    async def add_one() -> None:
        record = await world.store.get(world.key("counter"))
        while True:
            try:
                # A repeated empty field: still a pod, and its length counts.
                await world.put(record.key, record.value + b"\x0a\x00", record.revision)
                return
            except PreconditionFailed as lost:
                assert lost.record is not None
                record = lost.record

    await asyncio.gather(*(add_one() for _ in range(25)))
    assert len((await world.store.get(world.key("counter"))).value) == 2 * 25


async def concurrent_unconditional_puts_all_succeed(world: World) -> None:
    records = await asyncio.gather(
        *(world.put(world.key("a"), pod("a", note=str(number)), None) for number in range(10))
    )
    assert len({record.revision for record in records}) == 10
    assert await world.store.get(world.key("a")) == max(records, key=lambda record: record.revision)


async def writes_of_one_key_take_effect_in_the_order_they_were_made(world: World) -> None:
    puts = [Write(world.key("a"), pod("a", note=str(number)), None) for number in range(8)]
    async with asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(world.store.write(write)) for write in puts]
    revisions = [record.revision for task in made if (record := task.result()) is not None]
    assert revisions == sorted(revisions)
    assert (await world.store.get(world.key("a"))).value == puts[-1].value


async def many_writers_at_once_all_get_what_they_wrote(world: World) -> None:
    records = await asyncio.gather(*(world.create(f"p{number:03}", note=str(number)) for number in range(300)))
    page = await world.list()
    assert list(page.records) == records
    assert page.revision >= max(record.revision for record in records)


async def a_failed_write_leaves_no_trace(world: World) -> None:
    record = await world.create("a")
    before = await world.list()
    with raises(StorageError):
        await world.create("a")
    assert list((await world.list()).records) == list(before.records) == [record]


async def of_concurrent_deletes_of_one_revision_one_wins(world: World) -> None:
    record = await world.create("a")
    deletion = Write(record.key, None, record.revision)
    outcomes = await asyncio.gather(*(world.store.write(deletion) for _ in range(8)), return_exceptions=True)
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, KeyNotFound) for outcome in outcomes) == 7


async def create_delete_create_in_quick_succession_keeps_its_order(world: World) -> None:
    key = world.key("a")
    watcher = await world.watch(revision=await world.position())
    turns = [Write(key, pod("a", note=str(turn)) if turn % 2 == 0 else None, None) for turn in range(20)]
    outcomes = await asyncio.gather(*(world.store.write(write) for write in turns))
    assert [outcome is not None for outcome in outcomes] == [turn % 2 == 0 for turn in range(20)]
    events = await next_events(watcher, 20)
    assert [kind for kind, *_ in events] == ["ADDED", "DELETED"] * 10
    revisions = [revision for *_, revision in events]
    assert revisions == sorted(set(revisions))
    assert [revision for revision, write in zip(revisions, turns, strict=True) if write.value is not None] == [
        outcome.revision for outcome in outcomes if outcome is not None
    ]


async def a_heartbeat_is_acknowledged_when_it_is_stored(world: World) -> None:
    record = await world.create("a")
    beat = await world.store.write(Write(record.key, pod("a", note="beat"), record.revision, Lane.HEARTBEAT))
    assert beat is not None
    assert await world.store.get(record.key) == beat
