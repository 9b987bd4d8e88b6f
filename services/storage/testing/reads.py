"""Scenarios: reading one key."""

from __future__ import annotations

import asyncio

from services.storage.errors import KeyNotFound, ResourceVersionTooLarge
from services.storage.interface import Match
from services.storage.testing.expect import raises
from services.storage.testing.world import World

_FAR = 1_000_000


async def get_without_revision_sees_every_acknowledged_write(world: World) -> None:
    record = await world.create("a")
    for number in range(10):
        record = await world.change(record, note=str(number))
        assert await world.store.get(record.key) == record


async def get_of_nothing_raises_key_not_found(world: World) -> None:
    for revision in (None, 0):
        with raises(KeyNotFound) as caught:
            await world.store.get(world.key("nobody"), revision)
        assert caught.value.key == world.key("nobody")


async def get_not_older_than_a_write_sees_it(world: World) -> None:
    record = await world.create("a")
    assert await world.store.get(record.key, record.revision) == record
    record = await world.change(record, note="new")
    assert await world.store.get(record.key, record.revision) == record


async def get_not_older_than_a_deletion_misses_the_key(world: World) -> None:
    record = await world.create("a")
    await world.delete(record)
    gone_at = await world.position()
    with raises(KeyNotFound):
        await world.store.get(record.key, gone_at)


async def get_at_any_age_gives_a_state_the_key_has_had(world: World) -> None:
    first = await world.create("a")
    await world.position()
    second = await world.change(first, note="new")
    assert await world.store.get(first.key, 0) in (first, second)


async def reads_ahead_of_the_store_are_told_so_after_a_wait(world: World) -> None:
    ahead = await world.position() + _FAR
    reads = await asyncio.gather(
        world.store.get(world.key("a"), ahead),
        world.list(revision=ahead),
        world.list(revision=ahead, match=Match.EXACT),
        world.watch(revision=ahead, initial_events=True),
        return_exceptions=True,
    )
    for outcome in reads:
        assert isinstance(outcome, ResourceVersionTooLarge), outcome
        assert outcome.revision == ahead
        assert outcome.retry_after_s == 1.0


async def a_read_a_little_ahead_waits_for_the_write(world: World) -> None:
    record = await world.create("a")
    reader = asyncio.gather(world.store.get(record.key, record.revision + 1), world.list(revision=record.revision + 1))
    changed = await world.change(record, note="awaited")
    got, page = await reader
    assert page.revision > record.revision
    if changed.revision == record.revision + 1:
        assert got == changed and list(page.records) == [changed]
    else:
        # A store that waits may write a marker, which then was ahead of the write: that revision still has the record.
        assert got in (record, changed) and list(page.records) in ([record], [changed])


async def peek_gives_nothing_or_a_state_the_key_has_had(world: World) -> None:
    record = await world.create("a")
    await world.position()
    assert world.store.peek(record.key) in (None, record)
    assert world.store.peek(world.key("nobody")) is None
