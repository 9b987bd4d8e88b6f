"""Scenarios: watches. Guarantees: Ordered, Unique, Atomic, Reliable, Resumable, Bookmarkable, Filterable, isolated."""

from __future__ import annotations

import asyncio

from services.api.pb.ursa.core.v1 import pod_service_pb2
from services.api.selectors import EVERYTHING
from services.storage.errors import Expired, InvalidQuery, ResourceVersionTooLarge
from services.storage.interface import Record, WatchQuery, Write
from services.storage.testing.expect import raises
from services.storage.testing.world import (
    PATIENCE_S,
    Seen,
    World,
    next_batch,
    next_events,
    pod,
    seen,
    selection,
)


async def a_watch_from_a_revision_gives_what_happened_strictly_after(world: World) -> None:
    first = await world.create("a")
    second = await world.create("b")
    changed = await world.change(first, note="x")
    watcher = await world.watch(revision=first.revision)
    assert await next_events(watcher, 2) == [
        ("ADDED", "b", second.revision),
        ("MODIFIED", "a", changed.revision),
    ]


async def a_watch_from_now_gives_only_what_comes(world: World) -> None:
    await world.create("before")
    for revision in (None, 0):
        await world.position()
        watcher = await world.watch(revision=revision, initial_events=False)
        after = await world.create(f"after-{revision}")
        assert await next_events(watcher, 1) == [("ADDED", f"after-{revision}", after.revision)]
        watcher.close()


async def a_watch_may_begin_with_the_state_and_its_end_marker(world: World) -> None:
    b = await world.create("b")
    a = await world.create("a")
    for initial_events in (None, True):
        watcher = await world.watch(initial_events=initial_events, bookmarks=True)
        state = await next_batch(watcher)
        assert [seen(event) for event in state.events] == [("ADDED", "a", a.revision), ("ADDED", "b", b.revision)]
        end = await next_batch(watcher)
        assert (end.bookmark, end.initial_events_end, list(end.events)) == (True, True, [])
        assert end.revision >= a.revision
        watcher.close()


async def the_state_of_an_empty_collection_is_its_end_marker(world: World) -> None:
    watcher = await world.watch(bookmarks=True)
    end = await next_batch(watcher)
    assert (end.bookmark, end.initial_events_end) == (True, True)
    record = await world.create("a")
    assert await next_events(watcher, 1) == [("ADDED", "a", record.revision)]


async def without_bookmarks_there_is_no_end_marker(world: World) -> None:
    a = await world.create("a")
    watcher = await world.watch(initial_events=True)
    state = await next_batch(watcher)
    assert [seen(event) for event in state.events] == [("ADDED", "a", a.revision)]
    assert state.revision >= a.revision
    b = await world.create("b")
    live = await next_batch(watcher)
    assert ([seen(event) for event in live.events], live.bookmark) == ([("ADDED", "b", b.revision)], False)


async def a_watch_without_revision_begins_with_every_acknowledged_write(world: World) -> None:
    for number in range(5):
        await world.create(f"p{number}")
        watcher = await world.watch(bookmarks=True)
        state = await next_batch(watcher)
        assert [event.record.key for event in state.events] == [world.key(f"p{n}") for n in range(number + 1)]
        watcher.close()


async def the_state_can_be_asked_for_at_least_at_a_revision(world: World) -> None:
    first = await world.create("a")
    second = await world.create("b")
    watcher = await world.watch(revision=second.revision, initial_events=True, bookmarks=True)
    assert await next_events(watcher, 2) == [("ADDED", "a", first.revision), ("ADDED", "b", second.revision)]
    assert (await next_batch(watcher)).revision >= second.revision


async def a_large_state_comes_in_parts_that_are_no_resume_points(world: World) -> None:
    await world.store.write_batch([Write(world.key(f"p{n:02}"), pod(f"p{n:02}"), 0) for n in range(20)])
    watcher = await world.watch(bookmarks=True)
    found: list[str] = []
    while True:
        batch = await next_batch(watcher, limit_bytes=40)
        if batch.initial_events_end:
            break
        assert batch.revision == 0
        found += [event.record.key for event in batch.events]
    assert found == [world.key(f"p{n:02}") for n in range(20)]


async def changes_while_the_state_is_read_come_after_it(world: World) -> None:
    records = [await world.create(f"p{n}") for n in range(4)]
    watcher = await world.watch(bookmarks=True)
    part = await next_batch(watcher, limit_bytes=1)
    assert len(part.events) == 1
    changed = await world.change(records[3], note="changed meanwhile")
    created = await world.create("p9")
    events = await next_events(watcher, 5, limit_bytes=1)
    assert events == [
        *(("ADDED", f"p{n}", records[n].revision) for n in (1, 2, 3)),
        ("MODIFIED", "p3", changed.revision),
        ("ADDED", "p9", created.revision),
    ]


async def a_deletion_carries_the_last_state_at_the_deletions_revision(world: World) -> None:
    record = await world.create("a", note="last words")
    watcher = await world.watch(revision=record.revision)
    await world.delete(record)
    gone_at = await world.position()
    event = (await next_batch(watcher)).events[0]
    assert event.type.name == "DELETED"
    assert event.record == Record(record.key, record.value, gone_at)


async def a_selection_turns_entering_into_added_and_leaving_into_deleted(world: World) -> None:
    watcher = await world.watch(selection("app=web"), revision=await world.position())
    record = await world.create("a")
    entered = await world.change(record, labels={"app": "web"})
    stayed = await world.change(entered, labels={"app": "web"}, note="x")
    left = await world.change(stayed, labels={"app": "db"})
    await world.delete(left)
    other = await world.create("b", labels={"app": "web"})
    events = await next_events(watcher, 4)
    assert events == [
        ("ADDED", "a", entered.revision),
        ("MODIFIED", "a", stayed.revision),
        ("DELETED", "a", left.revision),
        ("ADDED", "b", other.revision),
    ]


async def what_leaves_a_selection_is_shown_as_it_was_inside(world: World) -> None:
    record = await world.create("a", labels={"app": "web"})
    watcher = await world.watch(selection("app=web"), revision=record.revision)
    left = await world.change(record, labels={"app": "db"})
    event = (await next_batch(watcher)).events[0]
    assert event.record == Record(record.key, record.value, left.revision)


async def a_pod_that_is_bound_appears_to_its_node_and_leaves_the_unbound(world: World) -> None:
    start = await world.position()
    mine = await world.watch(selection(fields="spec.nodeName=n1"), revision=start)
    other = await world.watch(selection(fields="spec.nodeName=n2"), revision=start)
    unbound = await world.watch(selection(fields="spec.nodeName="), revision=start)
    record = await world.create("a")
    bound = await world.change(record, node="n1")
    moved = await world.change(bound, node="n2")
    assert await next_events(mine, 2) == [("ADDED", "a", bound.revision), ("DELETED", "a", moved.revision)]
    assert await next_events(other, 1) == [("ADDED", "a", moved.revision)]
    assert await next_events(unbound, 2) == [("ADDED", "a", record.revision), ("DELETED", "a", bound.revision)]


async def a_field_watch_from_an_old_revision_catches_up(world: World) -> None:
    start = await world.position()
    bound = [await world.create(f"p{n}", node=f"n{n % 2}") for n in range(6)]
    watcher = await world.watch(selection(fields="spec.nodeName=n1"), revision=start)
    assert await next_events(watcher, 3) == [("ADDED", f"p{n}", bound[n].revision) for n in (1, 3, 5)]


async def a_watch_sees_no_other_tenant_or_namespace(world: World) -> None:
    start = await world.position()
    tenant = await world.watch(below="acme/", revision=start)
    namespace = await world.watch(below="acme/ns/", revision=start)
    await world.create("x", "ns", "beta")
    await world.create("y", "nsx", "acmex")
    a = await world.create("a", "other", "acme")
    b = await world.create("b", "ns", "acme")
    assert await next_events(tenant, 2) == [("ADDED", "a", a.revision), ("ADDED", "b", b.revision)]
    assert await next_events(namespace, 1) == [("ADDED", "b", b.revision)]


async def a_revision_is_never_split_between_batches(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    for generation in range(3):
        await world.store.write_batch(
            [Write(world.key(f"{generation}-{n}"), pod(f"{generation}-{n}"), 0) for n in range(40)]
        )
    found: list[Seen] = []
    resume_points: list[int] = []
    while len(found) < 120:
        batch = await next_batch(watcher, limit_bytes=1)
        revisions = {event.record.revision for event in batch.events}
        assert batch.revision >= max(revisions)
        assert not revisions & {revision for _, _, revision in found}
        resume_points.append(batch.revision)
        found += map(seen, batch.events)
    assert len(set(found)) == 120
    assert resume_points == sorted(set(resume_points))


async def two_watches_see_the_same_events_in_the_same_order(world: World) -> None:
    start = await world.position()
    first = await world.watch(revision=start)
    await asyncio.gather(*(world.create(f"p{n:02}") for n in range(50)))
    second = await world.watch(revision=start)
    mine, theirs = await next_events(first, 50), await next_events(second, 50)
    assert mine == theirs
    assert [revision for _, _, revision in mine] == sorted(revision for _, _, revision in mine)
    assert len(set(mine)) == 50


async def a_watch_resumed_at_a_batch_loses_and_repeats_nothing(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    records = [await world.create(f"p{n}") for n in range(6)]
    found: list[Seen] = []
    while len(found) < 6:
        batch = await next_batch(watcher, limit_bytes=1)
        found += map(seen, batch.events)
        watcher.close()
        watcher = await world.watch(revision=batch.revision)
    assert found == [("ADDED", f"p{n}", records[n].revision) for n in range(6)]


async def a_watch_from_the_future_gives_nothing_up_to_its_revision(world: World) -> None:
    record = await world.create("a")
    watcher = await world.watch(revision=record.revision + 2, initial_events=False)
    for number in range(4):
        record = await world.change(record, note=str(number))
    events = await next_events(watcher, 2)
    assert events[-1] == ("MODIFIED", "a", record.revision)
    assert [revision for _, _, revision in events] == [record.revision - 1, record.revision]


async def a_watch_below_the_oldest_revision_kept_raises_expired(world: World) -> None:
    first = await world.create("a")
    for number in range(3):
        await world.create(f"p{number}")
    newest = await world.position()
    await world.forget(newest)
    with raises(Expired):
        watcher = await world.watch(revision=first.revision)
        await next_batch(watcher)
    watcher = await world.watch(revision=newest)
    record = await world.create("b")
    assert await next_events(watcher, 1) == [("ADDED", "b", record.revision)]


async def a_bookmark_on_request_comes_after_the_events(world: World) -> None:
    watcher = await world.watch(revision=await world.position(), bookmarks=True)
    record = await world.create("a")
    assert await next_events(watcher, 1) == [("ADDED", "a", record.revision)]
    watcher.request_bookmark()
    mark = await next_batch(watcher)
    assert (mark.bookmark, mark.initial_events_end, list(mark.events)) == (True, False, [])
    assert mark.revision >= record.revision
    later = await world.create("b")
    resumed = await world.watch(revision=mark.revision)
    assert await next_events(resumed, 1) == [("ADDED", "b", later.revision)]


async def a_watch_that_nobody_reads_holds_up_nobody_and_catches_up(world: World) -> None:
    start = await world.position()
    slow = await world.watch(revision=start)
    quick = await world.watch(revision=start)
    records = [await world.create(f"p{n:02}") for n in range(60)]
    expected = [("ADDED", f"p{n:02}", records[n].revision) for n in range(60)]
    assert await next_events(quick, 60) == expected
    assert await next_events(slow, 60) == expected


async def wait_returns_when_there_is_something_to_take(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    while watcher.take() is not None:
        pass
    waiting = asyncio.gather(watcher.wait(), watcher.wait())
    record = await world.create("a")
    async with asyncio.timeout(PATIENCE_S):
        await waiting
    assert await next_events(watcher, 1) == [("ADDED", "a", record.revision)]


async def wake_is_called_instead_of_a_waiting_task(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    woken = asyncio.Event()
    watcher.set_wake(woken.set)
    while watcher.take() is not None:
        pass
    woken.clear()
    record = await world.create("a")
    found: list[Seen] = []
    async with asyncio.timeout(PATIENCE_S):
        while not found:
            await woken.wait()
            woken.clear()
            while (batch := watcher.take()) is not None:
                found += map(seen, batch.events)
    assert found == [("ADDED", "a", record.revision)]


async def a_closed_watch_gives_nothing_more_and_keeps_nobody_waiting(world: World) -> None:
    watcher = await world.watch(revision=await world.position())
    while watcher.take() is not None:
        pass
    waiting = asyncio.gather(watcher.wait())
    await asyncio.sleep(0)
    watcher.close()
    watcher.close()
    async with asyncio.timeout(PATIENCE_S):
        await waiting
    await world.create("a")
    assert watcher.take() is None


async def frames_of_a_batch_join_to_a_message_with_resource_versions(world: World) -> None:
    record = await world.create("a", note="x")
    watcher = await world.watch(revision=record.revision - 1)
    await world.delete(record)
    gone_at = await world.position()
    frames = b""
    while len(pod_service_pb2.PodWatchBatch.FromString(frames).events) < 2:
        frames += (await next_batch(watcher)).wire
    message = pod_service_pb2.PodWatchBatch.FromString(frames)
    shown = [
        (event.type, event.object.metadata.name, event.object.metadata.resource_version) for event in message.events
    ]
    assert shown == [(1, "a", record.revision), (3, "a", gone_at)]


async def watches_that_contradict_themselves_name_the_field(world: World) -> None:
    for field, query in (
        ("resource_version", WatchQuery(world.prefix, EVERYTHING, revision=-5)),
        ("prefix", WatchQuery(world.prefix[:-1], EVERYTHING)),
    ):
        with raises(InvalidQuery) as caught:
            await world.store.watch(query)
        assert caught.value.field == field


async def a_key_deleted_and_created_again_is_deleted_and_added(world: World) -> None:
    first = await world.create("a")
    watcher = await world.watch(revision=first.revision)
    await world.delete(first)
    gone_at = await world.position()
    again = await world.create("a")
    assert await next_events(watcher, 2) == [("DELETED", "a", gone_at), ("ADDED", "a", again.revision)]


async def the_state_of_a_selection_is_what_it_selects(world: World) -> None:
    web = await world.create("a", labels={"app": "web"}, node="n1")
    await world.create("b", labels={"app": "db"}, node="n1")
    await world.create("c", labels={"app": "web"}, node="n2")
    for chosen in (selection("app=web", "spec.nodeName=n1"), selection("app!=db", "spec.nodeName=n1")):
        watcher = await world.watch(chosen, bookmarks=True)
        batch = await next_batch(watcher)
        assert [seen(event) for event in batch.events] == [("ADDED", "a", web.revision)]
        assert (await next_batch(watcher)).initial_events_end
        watcher.close()


async def a_state_ahead_of_the_store_is_refused_after_a_wait(world: World) -> None:
    ahead = await world.position() + 1_000
    with raises(ResourceVersionTooLarge) as caught:
        await world.watch(revision=ahead, initial_events=True)
    assert caught.value.revision == ahead


async def a_bookmark_passes_what_a_selection_did_not_see(world: World) -> None:
    watcher = await world.watch(selection("app=web"), revision=await world.position(), bookmarks=True)
    record = await world.create("a", labels={"app": "db"})
    everything = await world.watch(revision=record.revision - 1)
    await next_events(everything, 1)  # it has arrived
    for _ in range(100):
        watcher.request_bookmark()
        mark = await next_batch(watcher)
        assert mark.bookmark and not mark.events
        if mark.revision >= record.revision:
            break
        await asyncio.sleep(0.02)
    assert mark.revision >= record.revision
    seen_later = await world.create("b", labels={"app": "web"})
    assert await next_events(watcher, 1) == [("ADDED", "b", seen_later.revision)]


async def a_watch_that_is_given_up_leaves_the_others_alone(world: World) -> None:
    position = await world.position()
    given_up, kept = await world.watch(revision=position), await world.watch(revision=position)
    waiting = asyncio.gather(given_up.wait(), return_exceptions=True)
    given_up.close()
    given_up.close()
    async with asyncio.timeout(PATIENCE_S):
        await waiting
    record = await world.create("a")
    assert await next_events(kept, 1) == [("ADDED", "a", record.revision)]
    assert given_up.take() is None


async def initial_states_during_writes_join_the_stream_without_gap_or_repetition(world: World) -> None:
    async def write(number: int) -> None:
        for turn in range(8):
            record = await world.create(f"w{number}-{turn}")
            if turn % 3 == 0:
                await world.delete(record)

    async def follow() -> dict[str, int]:
        """The collection as a client keeps it."""
        watcher = await world.watch(bookmarks=True)
        held: dict[str, int] = {}
        while len(held) < 15 or any(name.endswith(("-0", "-3", "-6")) for name in held):
            for event in (await next_batch(watcher)).events:
                kind, name, revision = seen(event)
                assert (name in held) == (kind != "ADDED"), f"{kind} {name}"
                assert held.get(name, 0) < revision
                if kind == "DELETED":
                    del held[name]
                else:
                    held[name] = revision
        return held

    async with asyncio.TaskGroup() as tasks:
        followers = []
        for number in range(3):
            tasks.create_task(write(number))
            followers.append(tasks.create_task(follow()))
    wanted = {record.key.rpartition("/")[2]: record.revision for record in (await world.list()).records}
    for follower in followers:
        assert follower.result() == wanted
