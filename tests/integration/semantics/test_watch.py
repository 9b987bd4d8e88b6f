"""SEMANTICS, table WATCH, and the rules under it, on streams of their own and on the multiplexed one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.api import kinds
from services.api.kinds import Kind
from services.api.pb.ursa.meta.v1.meta_pb2 import WatchRequest
from services.api.pb.ursa.watch.v1.watch_pb2 import ADDED, DELETED, MODIFIED
from tests.integration.apiserver.world import named
from tests.integration.semantics.world import (
    ALL_KINDS,
    SORTS,
    History,
    Multiplexed,
    Servers,
    Subject,
    Watch,
    by_name,
    history_of,
)
from tests.support.tenants import make_tenant

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio(loop_scope="session")]

INITIAL = {"send_initial_events": True, "resource_version_match": "NotOlderThan"}
FROM_NOW = {"send_initial_events": False, "resource_version_match": "NotOlderThan"}


async def state_and_stream(history: History, sort: str, **selection: Any) -> None:
    """The state as ADDED in key order, the bookmark that ends it, then the stream."""
    subject = history.subject
    async with subject.watch(sort, allow_watch_bookmarks=True, **selection) as watch:
        names, end = await until_the_end_of_state(watch)
        assert names == [(ADDED, name) for name in history.now]
        assert (end.bookmark, end.events) == (True, [])
        changed = await subject.relabel("a5", turn=str(end.revision))
        assert changed.metadata.resource_version > end.revision
        (event,) = await watch.seen(1)
        assert (event.type, event.name, event.revision) == (MODIFIED, "a5", changed.metadata.resource_version)


async def until_the_end_of_state(watch: Watch) -> tuple[list[tuple[int, str]], Any]:
    names: list[tuple[int, str]] = []
    while True:
        batch = await watch.next()
        names += [(event.type, event.name) for event in batch.events]
        if batch.initial_events_end:
            return names, batch
        assert batch.revision == 0, "a part of a state is nothing to resume from"


async def unset(history: History, sort: str) -> None:
    written = await history.subject.relabel("a0", turn=f"6-{sort}")
    await state_and_stream(history, sort)
    async with history.subject.watch(sort) as watch:
        first = (await watch.seen(len(history.now)))[0]
        assert first.revision == written.metadata.resource_version, "the state must be most recent"


async def unset_with_initial_events(history: History, sort: str) -> None:
    await state_and_stream(history, sort, **INITIAL)


async def zero(history: History, sort: str) -> None:
    await state_and_stream(history, sort, resource_version=0)


async def zero_with_initial_events(history: History, sort: str) -> None:
    await state_and_stream(history, sort, resource_version=0, **INITIAL)


async def n_with_initial_events(history: History, sort: str) -> None:
    written = await history.subject.relabel("a4", turn=f"7-{sort}")
    version = written.metadata.resource_version
    async with history.subject.watch(sort, resource_version=version, allow_watch_bookmarks=True, **INITIAL) as watch:
        names, end = await until_the_end_of_state(watch)
        assert names == [(ADDED, name) for name in history.now]
        assert end.revision >= version


async def n_is_strictly_after_n(history: History, sort: str) -> None:
    subject = history.subject
    first = await subject.relabel("a3", turn=f"8-{sort}")
    second = await subject.relabel("a4", turn=f"8-{sort}")
    third = await subject.relabel("a3", turn=f"9-{sort}")
    for more in ({}, FROM_NOW):
        async with subject.watch(sort, resource_version=first.metadata.resource_version, **more) as watch:
            found = await watch.seen(2)
            assert [(event.name, event.revision) for event in found] == [
                ("a4", second.metadata.resource_version),
                ("a3", third.metadata.resource_version),
            ]


async def a_future_n_is_waited_for(history: History, sort: str) -> None:
    subject = history.subject
    future = (await subject.list()).resource_version + 3
    async with subject.watch(sort, resource_version=future) as watch:
        await watch.opened()
        written = [
            (await subject.relabel("a4", future=f"{number}-{future}")).metadata.resource_version for number in range(6)
        ]
        expected = [version for version in written if version > future]
        assert [event.revision for event in await watch.seen(len(expected))] == expected


async def from_now(history: History, sort: str) -> None:
    subject = history.subject
    for version in (None, 0):
        async with subject.watch(sort, resource_version=version, **FROM_NOW) as watch:
            await watch.opened()
            # Any age is allowed for 0: what the cache has yet to see may still come. A change of ours settles it.
            written = await subject.relabel("a5", now=f"{version}-{sort}")
            found: list[Any] = []
            while not found or found[-1].revision < written.metadata.resource_version:
                found += (await watch.next()).events
            assert (found[-1].type, found[-1].name) == (MODIFIED, "a5")
            assert {event.type for event in found} == {MODIFIED}
            if version is None:
                assert len(found) == 1


async def a_selector_turns_a_change_into_added_or_deleted(history: History, sort: str) -> None:
    subject = history.subject
    await subject.relabel("a3", group=f"x-{sort}")
    x, y = f"{subject.selector},group=x-{sort}", f"{subject.selector},group=y-{sort}"
    async with subject.watch(sort, label_selector=x) as leaves, subject.watch(sort, label_selector=y) as enters:
        assert await leaves.events(1) == [(ADDED, "a3")]
        await enters.opened()
        moved = await subject.relabel("a3", group=f"y-{sort}")
        version = moved.metadata.resource_version
        (gone,) = await leaves.seen(1)
        (here,) = await enters.seen(1)
        assert (gone.type, gone.name, gone.revision) == (DELETED, "a3", version)
        assert (here.type, here.name, here.revision) == (ADDED, "a3", version)
        again = await subject.relabel("a3", still=f"y-{sort}")
        assert await enters.events(1) == [(MODIFIED, "a3")]
        back = await subject.relabel("a3", group=f"x-{sort}")
        assert again.metadata.resource_version < back.metadata.resource_version
        assert await leaves.events(1) == [(ADDED, "a3")]
        assert await enters.events(1) == [(DELETED, "a3")]


async def a_revision_is_never_split(history: History, sort: str) -> None:
    subject = history.subject
    async with subject.watch(sort, **FROM_NOW) as watch:
        await watch.opened()
        current = [await subject.get(name) for name in ("a0", "a1", "a3")]
        for item in current:
            item.metadata.labels["together"] = sort
        outcomes = await subject.client.batch_update(current)
        assert all(outcome.status is None for outcome in outcomes)
        versions = [outcome.resource_version for outcome in outcomes]
        seen = 0
        while seen < 3:
            batch = await watch.next()
            revisions = [event.revision for event in batch.events]
            for version in set(versions):
                assert revisions.count(version) in (0, versions.count(version))
            assert batch.revision >= max(revisions)
            seen += len(batch.events)


ROWS = {
    "RV unset: state, bookmark, stream": unset,
    "RV unset, initial events: state, bookmark, stream": unset_with_initial_events,
    "RV 0: state, bookmark, stream": zero,
    "RV 0, initial events: state, bookmark, stream": zero_with_initial_events,
    "RV N, initial events: a state not older than N": n_with_initial_events,
    "RV N: strictly after N": n_is_strictly_after_n,
    "RV N in the future: events above N only": a_future_n_is_waited_for,
    "RV unset or 0, no initial events: from now": from_now,
    "a selector turns a change into ADDED or DELETED": a_selector_turns_a_change_into_added_or_deleted,
    "a revision is never split": a_revision_is_never_split,
}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_watch(servers: Servers, kind: Kind, sort: str, row: Callable[[History, str], Awaitable[None]]) -> None:
    await row(await history_of(servers, kind), sort)


async def of_every_kind(servers: Servers, row: Callable[[History], Awaitable[None]]) -> None:
    """Rows that take seconds are tried on all kinds at once."""
    histories = [await history_of(servers, kind) for kind in ALL_KINDS]
    failures = await asyncio.gather(*map(row, histories), return_exceptions=True)
    found = {
        history.subject.kind.resource: repr(failure)
        for history, failure in zip(histories, failures, strict=True)
        if failure is not None
    }
    assert not found


@pytest.mark.parametrize("sort", SORTS)
async def test_a_bookmark_comes_two_seconds_before_the_timeout(servers: Servers, sort: str) -> None:
    async def row(history: History) -> None:
        now = (await history.subject.list()).resource_version
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with history.subject.watch(
            sort, resource_version=now, allow_watch_bookmarks=True, timeout_seconds=3
        ) as watch:
            told_s: list[float] = []
            with pytest.raises(StopAsyncIteration):
                while True:
                    bookmark = await watch.next()
                    told_s.append(loop.time() - started)
                    assert bookmark.bookmark and bookmark.revision >= now
            # One that comes once in a period may be among them; it is not due then for every kind.
            assert any(0.7 < told < 2.5 for told in told_s), f"bookmarks came after {told_s} s"
            assert 2.7 < loop.time() - started < 6

    await of_every_kind(servers, row)


async def test_bookmarks_come_every_period_to_those_who_ask_and_never_overtake(servers: Servers) -> None:
    async def row(history: History) -> None:
        subject = history.subject
        now = (await subject.list()).resource_version
        quiet = subject.watch("typed", resource_version=now)
        asked = subject.watch("multiplexed", resource_version=now, allow_watch_bookmarks=True)
        async with quiet as silent, asked as told:
            await silent.opened()
            await told.opened()
            first = await told.next()
            assert first.bookmark and not first.events
            written = await subject.relabel("a4", marked="1")
            version = written.metadata.resource_version
            # Whatever bookmarks come before the event are below it, those after it at or above.
            while not (batch := await told.next()).events:
                assert batch.revision < version
            assert batch.events[0].revision == version
            while not (batch := await told.next()).bookmark:
                pass
            assert batch.revision >= version
            assert not (await silent.next()).bookmark

    await of_every_kind(servers, row)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=by_name)
async def test_nothing_follows_an_error(servers: Servers, kind: Kind) -> None:
    """Of two watches on one stream, one is refused; what happens after reaches the other alone."""
    subject = (await history_of(servers, kind)).subject
    request = WatchRequest(**subject.place, label_selector="a in (")
    refused = Multiplexed(subject.partition.channel, kind, request, subject.prefix)
    try:
        error = await refused.refused()
        assert error.code.name == "INVALID_ARGUMENT"
        good = Multiplexed(subject.partition.channel, kind, WatchRequest(**subject.place), subject.prefix)
        good.call.cancel()
        good.call = refused.call
        good.watch_id = 2
        await good.opened()
        await subject.relabel("a5", after=f"{servers.mode}-error")
        found: list[str] = []
        while "a5" not in found:
            batch = await good.next()  # fails if a batch is for anyone else
            found += [event.name for event in batch.events]
    finally:
        refused.close()


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.tenant_scoped], ids=by_name)
async def test_no_event_of_another_tenant_or_namespace(servers: Servers, kind: Kind, sort: str) -> None:
    subject = await servers.subject(kind)
    longer = subject.tenant + "b"
    await make_tenant(servers.tp.clients, longer)
    theirs = Subject(servers, kind, subject.partition, longer, subject.namespace, subject.prefix)
    elsewhere = Subject(servers, kind, subject.partition, subject.tenant, "defaults", subject.prefix)
    if kind.namespaced:
        await servers.tp.clients.namespaces.create(named(kinds.NAMESPACES, "defaults", tenant=subject.tenant))
    async with subject.watch(sort, **FROM_NOW) as watch:
        await watch.opened()
        await theirs.create("theirs")
        if kind.namespaced:
            await elsewhere.create("elsewhere")
        await subject.create("mine")
        assert await watch.events(1) == [(ADDED, "mine")]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "kind", [kind for kind in ALL_KINDS if kind.resource not in ("namespaces", "tenants")], ids=by_name
)
async def test_a_deletion_has_its_own_revision(servers: Servers, kind: Kind, sort: str) -> None:
    subject = (await history_of(servers, kind)).subject
    async with subject.watch(sort, **FROM_NOW) as watch:
        await watch.opened()
        created = await subject.create("z0")
        await subject.delete("z0")
        after = (await subject.list()).resource_version
        added, deleted = await watch.seen(2)
        assert (added.type, deleted.type, deleted.name) == (ADDED, DELETED, "z0")
        assert created.metadata.resource_version < deleted.revision <= after
